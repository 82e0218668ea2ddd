"""A capture's file, read within bounds: whatever it claims, it costs little memory and time.

file --is it regular, is it small--> bytes --unpack, as far as a capture can go--> tar or text
"""

import bz2
import gzip
import lzma
import os
import stat
import tarfile
from collections.abc import Callable
from io import BufferedIOBase, BytesIO
from pathlib import Path

from hostwright.base.errors import UserError
from hostwright.pci.inventory import HINT

# A capture is some hundred KiB; what is larger is something else, packed or not.
MAX_FILE_BYTES, MAX_MEMBERS, MAX_TOTAL_BYTES = 1 << 22, 50_000, 1 << 26
# By the bytes that a packed file begins with.
_PACKERS: dict[bytes, Callable[[BytesIO], BufferedIOBase]] = {
    b"\x1f\x8b": lambda data: gzip.GzipFile(fileobj=data),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


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
        if facts.st_size > MAX_TOTAL_BYTES:
            raise too_large(place)
        data = _unpack(file.read(MAX_TOTAL_BYTES + 1))
    if len(data) > MAX_TOTAL_BYTES:
        raise too_large(place)
    return data


def too_large(place: Path) -> UserError:
    """The refusal of what no capture can be."""
    return UserError(f"{place}: too large for a capture", HINT)


def _unpack(data: bytes) -> bytes:
    """What `data` unpacks to, one byte beyond the bound at most; bytes that are not packed as they are."""
    for magic, opened in _PACKERS.items():
        if data.startswith(magic):
            with opened(BytesIO(data)) as packed:
                return packed.read(MAX_TOTAL_BYTES + 1)
    return data


def open_tar(data: bytes) -> tarfile.TarFile | None:
    """The archive, or None for bytes that are none."""
    try:
        return tarfile.open(fileobj=BytesIO(data), mode="r:")
    except tarfile.TarError:
        return None
