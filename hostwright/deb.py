"""Reading `.deb` files with Python alone.

A `.deb` is an ar archive (deb(5)) of `debian-binary`, `control.tar.*` and `data.tar.*`. Only the data member is
unpacked: no package script ever runs.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from hostwright.errors import UserError

_MAGIC = b"!<arch>\n"
_HEADER = 60


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of an ar archive; raises UserError if it is none."""
    if not data.startswith(_MAGIC):
        raise UserError("not a .deb file: the ar signature is missing")
    at = len(_MAGIC)
    while at + _HEADER <= len(data):
        name = data[at : at + 16].decode("ascii").strip().rstrip("/")
        size = int(data[at + 48 : at + 58])
        start = at + _HEADER
        yield name, data[start : start + size]
        at = start + size + size % 2


def unpack(deb: Path, root: Path) -> list[str]:
    """Unpack the files of `deb` below `root`; the paths of what is not a folder, relative to `root`."""
    for name, content in members(deb.read_bytes()):
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                return [path for member in tar if (path := _place(tar, member, root))]
    raise UserError(f"{deb.name}: not a .deb file: no data member")


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> str:
    path = member.name.removeprefix("./").rstrip("/")
    if path in ("", ".") or ".." in path.split("/"):
        return ""
    target = root / path
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return ""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    _create(tar, member, target, root)
    return path


def _create(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, root: Path) -> None:
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        os.link(root / member.linkname.removeprefix("./"), target)
    elif member.isfile():
        content = tar.extractfile(member)
        assert content is not None
        target.write_bytes(content.read())
        # A plain user must be able to read and delete everything; set-id bits mean nothing in a build root.
        target.chmod(member.mode & 0o755 | 0o644)
