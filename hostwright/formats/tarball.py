"""Reading files of a source tarball without unpacking it."""

import lzma
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostwright.base.errors import UserError

# A configure script of a large package has 1 MB.
_TEXT_MAX = 4 << 20
_DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)


@dataclass(frozen=True)
class Contents:
    """The files of a tarball, as paths below its single top folder, and the texts that were requested.

    `is_flat` is true if there is no such folder; the paths are then complete.
    """

    paths: frozenset[str]
    texts: dict[str, str]
    is_flat: bool = False


def look(tarball: Path, name: str, wanted: Callable[[str], bool]) -> Contents:
    """Read `tarball` once; raises UserError with its `name` if it is damaged.

    `wanted` gets each path below the top folder and returns whether its text is needed.
    """
    try:
        with tarfile.open(tarball, "r|*") as tar:
            texts = {one.name: _read(tar, one, wanted) for one in tar if not one.isdir()}
    except _DAMAGE as error:
        raise UserError(f"{name}: cannot be read as a tar archive: {error}") from None
    found = {path.removeprefix("./"): text for path, text in texts.items()}
    tops = {path.partition("/")[0] if "/" in path else "" for path in found}
    is_flat = len(tops) != 1 or "" in tops
    below = found if is_flat else {path.partition("/")[2]: text for path, text in found.items()}
    return Contents(frozenset(below), {path: t for path, t in below.items() if t is not None}, is_flat)


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: Callable[[str], bool]) -> str | None:
    if not member.isfile() or not wanted(member.name.removeprefix("./").partition("/")[2]):
        return None
    content = tar.extractfile(member)
    return content.read(_TEXT_MAX).decode(errors="replace") if content else None
