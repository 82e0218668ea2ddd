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


# Partition types: no partition, BIOS boot, EFI system.
NOT_ROOT = (
    uuid.UUID(int=0),
    uuid.UUID("21686148-6449-6e6f-744e-656564454649"),
    uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
)


@dataclass(frozen=True)
class Root:
    """The root partition of an image: its unique id, and its start in bytes."""

    partuuid: str
    offset: int


def find_root(image: Path) -> Root:
    """The only partition that is neither for BIOS boot nor for EFI (UEFI 2.10, 5.3).

    Raises UserError if there is not exactly one.
    """
    with image.open("rb") as disk:
        disk.seek(SECTOR)
        header = disk.read(SECTOR)
        first, count, size = struct.unpack_from("<QII", header, 72)
        if header[:8] != b"EFI PART" or size < 128:
            raise UserError(f"{image}: has no GPT", "write it again: ./doit host")
        disk.seek(first * SECTOR)
        entries = [disk.read(size) for _ in range(count)]
    roots = [entry for entry in entries if uuid.UUID(bytes_le=entry[:16]) not in NOT_ROOT]
    if len(roots) != 1:
        raise UserError(f"{image}: {len(roots)} partitions may be the root", "write it again: ./doit host")
    offset = int.from_bytes(roots[0][32:40], "little") * SECTOR
    return Root(str(uuid.UUID(bytes_le=roots[0][16:32])), offset)
