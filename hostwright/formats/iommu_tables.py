"""The ACPI tables in which firmware describes its IOMMUs, as values: DMAR (Intel) and IVRS (AMD)."""

from collections.abc import Iterator
from dataclasses import dataclass

_HEADER, _LENGTH_AT, _DMAR_FLAGS_AT = 48, 4, 37
_INTERRUPT_REMAPPING = 0x01
_RMRR, _SCOPES_AT = 1, 24
_ENDPOINT_SCOPE, _BRIDGE_SCOPE, _PATH_AT = 1, 2, 6
_IVMD_ALL, _IVMD_ONE, _IVMD_RANGE, _IVMD_SIZE = 0x20, 0x21, 0x22, 32
# Unity map and exclusion range: init_unity_map_range() maps either one to one.
_IVMD_MAPS = 0x01 | 0x08

# Types of an IOMMU's block, and the length of its header (get_ivhd_header_size()); its entries follow.
_IVHD_HEADERS = {0x10: 24, 0x11: 40, 0x40: 40}
_LAST_BLOCK_TYPE = 0x40
_RANGE_START, _RANGE_END, _ALIAS, _ALIAS_RANGE, _EXTENDED_RANGE = 0x03, 0x04, 0x42, 0x43, 0x47
_ACPI_HID, _UID_LENGTH_AT = 0xF0, 21

Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Scope:
    """A device, or a bridge and everything below it: device and function numbers, starting at a bus."""

    bus: int
    path: Path
    is_bridge: bool = False


@dataclass(frozen=True)
class Rmrr:
    """Memory that devices of a PCI segment always reach, whatever the kernel maps; both ends included."""

    segment: int
    start: int
    end: int
    scopes: tuple[Scope, ...]


@dataclass(frozen=True)
class Ivmd:
    """Memory that a range of requester ids always reaches; both ends included."""

    segment: int
    first: int
    last: int
    start: int
    end: int


@dataclass(frozen=True)
class Alias:
    """A range of requester ids of a PCI segment, both ends included, whose DMA carries `id` instead."""

    segment: int
    first: int
    last: int
    id: int


def is_whole(table: bytes) -> bool:
    """Whether the table has all the bytes that its header declares."""
    return len(table) >= _HEADER and _number(table, _LENGTH_AT, 4) == len(table)


def remaps_interrupts(dmar: bytes) -> bool | None:
    """Whether firmware declares interrupt remapping; None if the table is truncated."""
    return bool(dmar[_DMAR_FLAGS_AT] & _INTERRUPT_REMAPPING) if len(dmar) > _DMAR_FLAGS_AT else None


def read_rmrrs(dmar: bytes) -> Iterator[Rmrr]:
    """The reserved regions of the DMAR table, up to where it is truncated."""
    at = _HEADER
    while at + 4 <= len(dmar):
        kind, length = _number(dmar, at, 2), _number(dmar, at + 2, 2)
        if length < 4 or at + length > len(dmar):
            return
        if kind == _RMRR and length >= _SCOPES_AT:
            body = dmar[at : at + length]
            yield Rmrr(
                _number(body, 6, 2), _number(body, 8, 8), _number(body, 16, 8), tuple(_read_scopes(body))
            )
        at += length


def _read_scopes(body: bytes) -> Iterator[Scope]:
    at = _SCOPES_AT
    while at + _PATH_AT <= len(body):
        kind, length = body[at], body[at + 1]
        if length < _PATH_AT:
            return
        numbers = body[at + _PATH_AT : at + length]
        path = tuple(zip(numbers[::2], numbers[1::2], strict=False))
        if kind in (_ENDPOINT_SCOPE, _BRIDGE_SCOPE) and path:
            yield Scope(body[at + 5], path, kind == _BRIDGE_SCOPE)
        at += length


def read_ivmds(ivrs: bytes) -> Iterator[Ivmd]:
    """The memory definitions of the IVRS table that the kernel maps, up to where it is truncated."""
    for block in _read_blocks(ivrs):
        kind, flags = block[0], block[1]
        if kind in (_IVMD_ALL, _IVMD_ONE, _IVMD_RANGE) and flags & _IVMD_MAPS and len(block) >= _IVMD_SIZE:
            yield _read_ivmd(block, kind)


def _read_blocks(ivrs: bytes) -> Iterator[bytes]:
    at = _HEADER
    while at + 4 <= len(ivrs):
        length = _number(ivrs, at + 2, 2)
        if length < 4 or at + length > len(ivrs):
            return
        yield ivrs[at : at + length]
        at += length


def _read_ivmd(body: bytes, kind: int) -> Ivmd:
    id, last = _number(body, 4, 2), _number(body, 6, 2)
    ids = {_IVMD_ALL: (0, 0xFFFF), _IVMD_ONE: (id, id), _IVMD_RANGE: (id, last)}[kind]
    start = _number(body, 16, 8)
    return Ivmd(_number(body, 8, 2), *ids, start, start + _number(body, 24, 8) - 1)


def read_aliases(ivrs: bytes) -> Iterator[Alias]:
    """The alias entries that the kernel reads, in its order, up to where the table is truncated.

    A later entry overrides an earlier one.
    """
    blocks = list(_read_blocks(ivrs))
    wanted = _find_block_type(blocks)
    for block in blocks:
        if block[0] == wanted and block[0] in _IVHD_HEADERS:
            yield from _read_block_aliases(block)


def _find_block_type(blocks: list[bytes]) -> int | None:
    """The last type of which a block describes the first block's IOMMU (get_highest_supported_ivhd_type())."""
    wanted = None
    for block in blocks:
        if block[0] > _LAST_BLOCK_TYPE:
            break
        if block[4:6] == blocks[0][4:6]:
            wanted = block[0]
    return wanted


def _read_block_aliases(block: bytes) -> Iterator[Alias]:
    """The aliases of one block (init_iommu_from_acpi()). The end of a range repeats nothing of its start."""
    segment, first, target = _number(block, 16, 2), 0, None
    for entry in _read_entries(block):
        kind, id = entry[0], _number(entry, 1, 2)
        if kind == _ALIAS:
            yield Alias(segment, id, id, _number(entry, 5, 2))
        elif kind == _ALIAS_RANGE:
            first, target = id, _number(entry, 5, 2)
        elif kind in (_RANGE_START, _EXTENDED_RANGE):
            target = None
        elif kind == _RANGE_END and target is not None:
            yield Alias(segment, first, id, target)


def _read_entries(block: bytes) -> Iterator[bytes]:
    """The entries of a block. The upper bits of a type give its length (ivhd_entry_length())."""
    at = _IVHD_HEADERS[block[0]]
    while at + 4 <= len(block):
        kind = block[at]
        length = 4 << (kind >> 6) if kind < 0x80 else 0
        if kind == _ACPI_HID and at + _UID_LENGTH_AT < len(block):
            length = block[at + _UID_LENGTH_AT] + _UID_LENGTH_AT + 1
        if not length or at + length > len(block):
            return
        yield block[at : at + length]
        at += length


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
