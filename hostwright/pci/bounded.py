"""A capture's file, read within bounds: whatever it claims, it costs little memory and time.

file --is it regular, is it small--> bytes --unpack, as far as a capture can go--> tar or text
"""

import bz2
import io
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from hostwright.base.errors import UserError
from hostwright.pci.inventory import HINT

# A capture is some hundred KiB; what is larger is something else.
MAX_FILE_BYTES, MAX_MEMBERS, MAX_TOTAL_BYTES = 1 << 22, 50_000, 1 << 26
# What a regular file may hold, packed or not.
MAX_SOURCE_BYTES = MAX_TOTAL_BYTES
_STEP = 1 << 20


class _Unpacker(Protocol):
    """What the decompressors of bz2, lzma and zlib share."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


_PACKERS: tuple[tuple[bytes, Callable[[], _Unpacker]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
)


def read_source(place: Path) -> bytes:
    """The bytes of a file, unpacked; UserError for one that is no regular file or too large for a capture.

    Raises OSError, EOFError, or the errors of lzma and zlib for one that cannot be read.
    """
    # A fifo or a terminal would keep the reader waiting.
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UserError(f"{place}: not a regular file", HINT)
        if facts.st_size > MAX_SOURCE_BYTES:
            raise too_large(place)
        data = file.read(MAX_SOURCE_BYTES + 1)
    unpacked = b"".join(_unpack(data))
    if len(unpacked) > MAX_TOTAL_BYTES:
        raise too_large(place)
    return unpacked


def too_large(place: Path) -> UserError:
    """The refusal of what no capture can be."""
    return UserError(f"{place}: too large for a capture", HINT)


def _unpack(data: bytes) -> Iterator[bytes]:
    """What `data` unpacks to, one part after another as gzip(1) takes them, a little beyond the bound at most."""
    packer = next((make for magic, make in _PACKERS if data.startswith(magic)), None)
    if packer is None:
        yield data
        return
    total = 0
    unpacker, rest = packer(), data
    while total <= MAX_TOTAL_BYTES:
        part = unpacker.decompress(rest, _STEP)
        total += len(part)
        yield part
        rest = _left(unpacker, part)
        if unpacker.eof:
            rest = unpacker.unused_data.lstrip(b"\0")
            if not rest:
                return
            unpacker = packer()


def _left(unpacker: _Unpacker, part: bytes) -> bytes:
    """What the unpacker has not read: zlib hands it back, the others keep it. EOFError if it wants more still."""
    left: bytes = getattr(unpacker, "unconsumed_tail", b"")
    needs_input = getattr(unpacker, "needs_input", not left)
    if needs_input and not part and not unpacker.eof:
        raise EOFError("its end is missing")
    return left


def open_tar(data: bytes) -> tarfile.TarFile | None:
    """The archive, or None for bytes that are none."""
    try:
        return tarfile.open(fileobj=io.BytesIO(data), mode="r:")
    except tarfile.TarError:
        return None
