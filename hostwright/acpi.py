"""The ACPI tables of an IOMMU: the memory that firmware keeps mapped for devices.

Intel VT-d specification 4.1, chapter 8 (DMAR); AMD IOMMU specification 3.08, section 5.2 (IVRS).
What the kernel makes of them: drivers/iommu/intel/dmar.c, drivers/iommu/intel/iommu.c, drivers/iommu/amd/init.c.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hostwright.inventory import Capture, PciFunction, ReservedRegion
from hostwright.pci import ROOT

_HEADER, _LENGTH_AT, _DMAR_FLAGS_AT = 48, 4, 37
_INTERRUPT_REMAPPING = 0x01
_RMRR, _SCOPES_AT = 1, 24
_ENDPOINT_SCOPE, _BRIDGE_SCOPE, _PATH_AT = 1, 2, 6
_IVMD_ALL, _IVMD_ONE, _IVMD_RANGE, _IVMD_SIZE = 0x20, 0x21, 0x22, 32
# Unity map and exclusion range: init_unity_map_range() makes a one-to-one mapping of either.
_IVMD_MAPS = 0x01 | 0x08
_USB, _DISPLAY = 0x0C03, 0x03

Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Scope:
    """A device, or a bridge and all behind it: device and function numbers from a bus downwards."""

    bus: int
    path: Path
    is_bridge: bool = False


@dataclass(frozen=True)
class Rmrr:
    """Memory that devices of a PCI segment reach whatever the kernel says; both ends included."""

    segment: int
    start: int
    end: int
    scopes: tuple[Scope, ...]


@dataclass(frozen=True)
class Ivmd:
    """The same for a range of requester ids, both ends included."""

    segment: int
    first: int
    last: int
    start: int
    end: int


def is_whole(table: bytes) -> bool:
    """Whether all the bytes are there that the header promises."""
    return len(table) >= _HEADER and _number(table, _LENGTH_AT, 4) == len(table)


def remaps_interrupts(dmar: bytes) -> bool | None:
    """What firmware says of the platform; None where the table is cut off."""
    return bool(dmar[_DMAR_FLAGS_AT] & _INTERRUPT_REMAPPING) if len(dmar) > _DMAR_FLAGS_AT else None


def read_rmrrs(dmar: bytes) -> Iterator[Rmrr]:
    """The reserved regions as far as the table goes."""
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
    """The memory definitions that the kernel maps, as far as the table goes."""
    at = _HEADER
    while at + 4 <= len(ivrs):
        kind, flags, length = ivrs[at], ivrs[at + 1], _number(ivrs, at + 2, 2)
        if length < 4 or at + length > len(ivrs):
            return
        if kind in (_IVMD_ALL, _IVMD_ONE, _IVMD_RANGE) and flags & _IVMD_MAPS and length >= _IVMD_SIZE:
            yield _read_ivmd(ivrs[at : at + length], kind)
        at += length


def _read_ivmd(body: bytes, kind: int) -> Ivmd:
    id, last = _number(body, 4, 2), _number(body, 6, 2)
    ids = {_IVMD_ALL: (0, 0xFFFF), _IVMD_ONE: (id, id), _IVMD_RANGE: (id, last)}[kind]
    start = _number(body, 16, 8)
    return Ivmd(_number(body, 8, 2), *ids, start, start + _number(body, 24, 8) - 1)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


# Which functions they are about.


def find_regions(capture: Capture) -> Mapping[str, tuple[ReservedRegion, ...]]:
    """What the tables keep mapped for each function: `direct`, or `direct-relaxable` where the kernel lets go of it."""
    rmrrs = tuple(read_rmrrs(capture.tables.get("DMAR", b"")))
    ivmds = tuple(read_ivmds(capture.tables.get("IVRS", b"")))
    found = {}
    for function in capture.functions:
        regions = (*_rmrrs_of(function, rmrrs, capture), *_ivmds_of(function, ivmds))
        if regions:
            found[function.address] = regions
    return found


def is_relaxable(function: PciFunction) -> bool:
    """device_rmrr_is_relaxable(): firmware is taken not to use a display's or USB controller's after the boot."""
    return function.class_code >> 8 == _USB or function.class_code >> 16 == _DISPLAY


def _rmrrs_of(function: PciFunction, rmrrs: tuple[Rmrr, ...], capture: Capture) -> Iterator[ReservedRegion]:
    """intel_iommu_get_resv_regions()."""
    if not rmrrs:
        return
    kind = "direct-relaxable" if is_relaxable(function) else "direct"
    known = capture.by_address
    above = list(_ways(function, known))
    for rmrr in rmrrs:
        if rmrr.segment == int(function.domain, 16) and any(
            _matches(scope, hops) for scope in rmrr.scopes for hops in above[: None if scope.is_bridge else 1]
        ):
            yield ReservedRegion(rmrr.start, rmrr.end, kind)


def _ways(function: PciFunction, known: Mapping[str, PciFunction]) -> Iterator[list[PciFunction]]:
    """The way from the root bus to the function, then those to the bridges above it, the nearest first."""
    hops = [function]
    seen = {function.address}
    while hops[0].parent and hops[0].parent in known and hops[0].parent not in seen:
        seen.add(hops[0].parent)
        hops.insert(0, known[hops[0].parent])
    while hops:
        yield hops
        hops = hops[:-1]


def _matches(scope: Scope, hops: list[PciFunction]) -> bool:
    """dmar_match_pci_path(): from the root bus; a path of one hop may also begin on the function's own bus."""
    if hops[0].parent == ROOT and scope.bus == _bus(hops[0]) and scope.path == tuple(map(_place, hops)):
        return True
    return scope.bus == _bus(hops[-1]) and scope.path == (_place(hops[-1]),)


def _bus(function: PciFunction) -> int:
    return int(function.bus.rpartition(":")[2], 16)


def _place(function: PciFunction) -> tuple[int, int]:
    device, _, number = function.address.rpartition(":")[2].partition(".")
    return int(device, 16), int(number, 16)


def _ivmds_of(function: PciFunction, ivmds: tuple[Ivmd, ...]) -> Iterator[ReservedRegion]:
    """amd_iommu_get_resv_regions()."""
    device, number = _place(function)
    requester = _bus(function) << 8 | device << 3 | number
    for ivmd in ivmds:
        if ivmd.segment == int(function.domain, 16) and ivmd.first <= requester <= ivmd.last:
            yield ReservedRegion(ivmd.start, ivmd.end, "direct")
