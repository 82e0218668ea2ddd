"""The GUID partition table: types, sectors, and the root partition of a disk (UEFI specification, chapter 5)."""

import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from hostwright.base.errors import UserError

SECTOR = 512
SECTORS_PER_MIB = 1 << 20 >> 9

# GPT partition types: UEFI 2.10 table 5.7, GRUB's manual ("BIOS installation"), Discoverable Partitions Specification.
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX_ROOT_X86_64 = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

# The names of a host's partitions for its root and its data, which the host goes by
# (rootfs/etc/rc.d/init.d/mountvirtfs).
ROOTS = ("root-a", "root-b")
DATA_PART = "data"


@dataclass(frozen=True)
class Partition:
    """One entry of the GPT, in sectors of 512 bytes."""

    name: str
    type_guid: str
    partuuid: str
    start: int
    sectors: int

    @property
    def offset(self) -> int:
        """The start of the partition in bytes."""
        return self.start * SECTOR


@dataclass(frozen=True)
class Found:
    """A partition of an image: its unique id, its start and its size in bytes."""

    partuuid: str
    offset: int
    size: int


def find(image: Path, name: str = ROOTS[0]) -> Found:
    """The partition with that name (UEFI 2.10, 5.3). Raises UserError if there is not exactly one."""
    with image.open("rb") as disk:
        disk.seek(SECTOR)
        header = disk.read(SECTOR)
        first, count, size = struct.unpack_from("<QII", header, 72)
        if header[:8] != b"EFI PART" or size < 128:
            raise UserError(f"{image}: has no GPT", "write it again: ./doit host")
        disk.seek(first * SECTOR)
        entries = [disk.read(size) for _ in range(count)]
    found = [entry for entry in entries if _name(entry) == name]
    if len(found) != 1:
        raise UserError(f"{image}: {len(found)} partitions are named {name}", "write it again: ./doit host")
    start, last = struct.unpack_from("<QQ", found[0], 32)
    return Found(str(uuid.UUID(bytes_le=found[0][16:32])), start * SECTOR, (last + 1 - start) * SECTOR)


def _name(entry: bytes) -> str:
    return entry[56:128].decode("utf-16-le", errors="replace").rstrip("\0")
