"""Reading `.deb` files with Python alone.

A `.deb` is an ar archive (deb(5)) of `debian-binary`, `control.tar.*` and `data.tar.*`. Only the data member is
unpacked: no package script ever runs.
"""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from hostwright.base.errors import UserError

_MAGIC = b"!<arch>\n"
_HEADER = 60


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The name and content of each member of an ar archive; raises UserError if it is not one."""
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
    """Unpack the files of `deb` below `root`; returns the relative paths of everything but folders."""
    with opened(deb, "data") as tar:
        return [path for member in tar if (path := _place(tar, member, root))]


def read(deb: Path, part: str, under: str = "") -> Iterator[tuple[str, int, bytes]]:
    """Path, st_mode and content of each entry of the member `part`: control or data.

    The content of a link is its target. Only paths that begin with `under` are read; nothing is written to disk.
    """
    with opened(deb, part) as tar:
        for member in tar:
            path = _path(member)
            if path and path.startswith(under):
                yield path, _mode(member), _content(tar, member)


def opened(deb: Path, part: str) -> tarfile.TarFile:
    """The member `part`, control or data, as a tar archive with its owners and times."""
    for name, content in members(deb.read_bytes()):
        if name.startswith(f"{part}.tar"):
            return tarfile.open(fileobj=io.BytesIO(content))
    raise UserError(f"{deb.name}: not a .deb file: no {part} member")


def _path(member: tarfile.TarInfo) -> str:
    """The path without its prefix to the root; '' for the root itself and for a path that leaves it."""
    path = member.name.removeprefix("./").rstrip("/")
    return "" if path == "." or ".." in path.split("/") else path


def _mode(member: tarfile.TarInfo) -> int:
    if member.isdir():
        return stat.S_IFDIR | member.mode
    return (stat.S_IFLNK if member.issym() else stat.S_IFREG) | member.mode


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.issym():
        return member.linkname.encode()
    # A hard link is followed to its file.
    source = tar.extractfile(member)
    return source.read() if source else b""


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> str:
    path = _path(member)
    if not path:
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
