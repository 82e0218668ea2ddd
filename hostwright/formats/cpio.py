"""The kernel's initramfs format: cpio archives in the form `newc`.

    bytes (archives one after another, each plain or compressed) --read()--> [Entry]
    [Entry] --write()--> bytes: one archive, the same for the same entries

Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

import lzma
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH

MAGIC = b"070701"
MAGIC_WITH_SUM = b"070702"
TRAILER = "TRAILER!!!"
FOLDER_MODE = stat.S_IFDIR | 0o755

_FIELDS = 13
_HEADER = len(MAGIC) + 8 * _FIELDS
_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ"
# zlib's window size plus 16: with a gzip header.
_GZIP_WINDOW = 31


@dataclass(frozen=True)
class Entry:
    """One path of an archive, without a leading slash.

    `mode` is st_mode: type and permissions. `content` is a file's bytes or a link's target. `device` is the major and
    minor number of a device node.
    """

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def is_folder(self) -> bool:
        """Whether the entry is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether the entry is a symbolic link."""
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True)
class _Header:
    """The fields of a header that describe the entry, in their order."""

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    mtime: int
    size: int
    device_major: int
    device_minor: int
    node_major: int
    node_minor: int
    name_size: int
    sum: int

    @property
    def identity(self) -> tuple[int, int, int]:
        """The same value for all names of one file."""
        return self.ino, self.device_major, self.device_minor


def read(data: bytes) -> list[Entry]:
    """The entries of all archives in `data`, without the root folder, in the order of their first appearance.

    A repeated path replaces the earlier entry, as in the kernel. Every name of a hard-linked file has its content.
    Raises UserError for damage, with the offset, and for a compression other than gzip and xz.
    """
    found: dict[str, Entry] = {}
    for archive in _archives(data):
        found |= {entry.path: entry for entry in _read_archive(archive) if entry.path}
    return list(found.values())


class _Decompressor(Protocol):
    """The common interface of zlib's and lzma's decompressors."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end of the compressed stream."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed stream was reached."""

    def decompress(self, data: bytes, /) -> bytes:
        """Decompress a block of bytes."""


def _archives(data: bytes) -> Iterator[bytes]:
    """The pieces of an initramfs: runs of plain archives, and the content of each compressed part."""
    while data := data.lstrip(b"\0"):
        if data.startswith((MAGIC, MAGIC_WITH_SUM)):
            end = _end(data)
            yield data[:end]
            data = data[end:]
        else:
            decompressor = _decompressor(data)
            yield from _archives(_decompress(decompressor, data))
            data = decompressor.unused_data


def _decompressor(data: bytes) -> _Decompressor:
    if data.startswith(_GZIP):
        return zlib.decompressobj(_GZIP_WINDOW)
    if data.startswith(_XZ):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ)
    raise UserError(
        f"not an initramfs: it begins with {data[:6].hex(' ')}",
        "it must be a cpio archive in the form newc, plain or compressed with gzip or xz",
    )


def _decompress(decompressor: _Decompressor, data: bytes) -> bytes:
    try:
        content = decompressor.decompress(data)
    except (zlib.error, lzma.LZMAError) as error:
        raise UserError(
            f"initramfs: its compressed part is damaged: {error}", "fetch or make it again"
        ) from None
    if not decompressor.eof:
        raise UserError("initramfs: its compressed part ends too early", "fetch or make it again")
    return content


def _end(data: bytes) -> int:
    """The offset of the end of the first archive in `data`, its trailer included."""
    at = 0
    while True:
        header, name, start = _header(data, at)
        at = start + _padded(header.size)
        if name == TRAILER:
            return at


def _read_archive(data: bytes) -> Iterator[Entry]:
    """The entries of one archive. Any name of a hard-linked file may carry the content."""
    pending: list[tuple[_Header, str, bytes]] = []
    shared: dict[tuple[int, int, int], bytes] = {}
    at = 0
    while True:
        header, name, start = _header(data, at)
        if name == TRAILER:
            break
        content = data[start : start + header.size]
        pending.append((header, name, content))
        if content:
            shared[header.identity] = content
        at = start + _padded(header.size)
    for header, name, content in pending:
        linked = stat.S_ISREG(header.mode) and header.nlink > 1
        yield Entry(
            _clean(name),
            header.mode,
            shared.get(header.identity, b"") if linked else content,
            (header.node_major, header.node_minor),
        )


def _header(data: bytes, at: int) -> tuple[_Header, str, int]:
    """The header at an offset, the name after it, and the offset of the content."""
    raw = data[at : at + _HEADER]
    if len(raw) < _HEADER:
        raise _damage(at, "it ends in the middle of a header")
    if raw[: len(MAGIC)] not in (MAGIC, MAGIC_WITH_SUM):
        raise _damage(at, f"no header but {raw[:6]!r}")
    try:
        header = _Header(*(int(raw[start : start + 8], 16) for start in range(len(MAGIC), _HEADER, 8)))
    except ValueError:
        raise _damage(at, "a field of the header is not a hexadecimal number") from None
    name = data[at + _HEADER : at + _HEADER + header.name_size]
    start = at + _padded(_HEADER + header.name_size)
    if len(name) < header.name_size or start + header.size > len(data):
        raise _damage(at, "it ends before the entry does")
    if raw.startswith(MAGIC_WITH_SUM) and sum(data[start : start + header.size]) & 0xFFFFFFFF != header.sum:
        raise _damage(at, "the sum of the content is wrong")
    return header, name.rstrip(b"\0").decode(errors="surrogateescape"), start


def _damage(at: int, what: str) -> UserError:
    return UserError(f"cpio archive damaged at byte {at}: {what}", "fetch or make it again")


def _padded(size: int) -> int:
    return size + -size % 4


def _clean(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def write(entries: Iterable[Entry]) -> bytes:
    """One archive: sorted, folders before their content, everything owned by root and with one time stamp.

    Missing folders are added. Raises ValueError for a path that is repeated, that leaves the root, or that lies below
    something other than a folder.
    """
    tree = with_parents(entries)
    parts = [_write_entry(number, tree[path]) for number, path in enumerate(sorted(tree), 1)]
    trailer = _write_entry(0, Entry(TRAILER, 0))
    return b"".join([*parts, trailer])


def with_parents(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entries by path, with every missing parent folder added."""
    tree: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in tree or {"", ".", ".."} & set(entry.path.split("/")):
            raise ValueError(f"{entry.path!r} comes twice or is not a path below the root")
        tree[entry.path] = entry
    for path in list(tree):
        for parent in parents(path):
            if not tree.setdefault(parent, Entry(parent, FOLDER_MODE)).is_folder:
                raise ValueError(f"{path!r} lies below {parent!r}, which is no folder")
    return tree


def parents(path: str) -> Iterator[str]:
    """The folders above a path, outermost first."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])


def _write_entry(number: int, entry: Entry) -> bytes:
    name = entry.path.encode(errors="surrogateescape") + b"\0"
    header = _Header(
        ino=number,
        mode=entry.mode,
        uid=0,
        gid=0,
        nlink=2 if entry.is_folder else 1,
        mtime=EPOCH if number else 0,
        size=len(entry.content),
        device_major=0,
        device_minor=0,
        node_major=entry.device[0],
        node_minor=entry.device[1],
        name_size=len(name),
        sum=0,
    )
    fields = b"".join(b"%08x" % value for value in vars(header).values())
    return _pad(MAGIC + fields + name) + _pad(entry.content)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
