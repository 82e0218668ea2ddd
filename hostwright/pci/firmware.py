"""The ACPI tables of an IOMMU: memory that firmware keeps mapped for devices, and ids that their DMA carries.

Intel VT-d specification 4.1, chapter 8 (DMAR); AMD IOMMU specification 3.08, section 5.2 (IVRS).
What the kernel makes of them: drivers/iommu/intel/dmar.c, drivers/iommu/intel/iommu.c, drivers/iommu/amd/init.c.
"""

from collections.abc import Iterator, Mapping

from hostwright.formats.iommu_tables import Ivmd, Rmrr, Scope, read_aliases, read_ivmds, read_rmrrs
from hostwright.pci.function import ROOT
from hostwright.pci.inventory import Capture, PciFunction, ReservedRegion

_USB, _DISPLAY = 0x0C03, 0x03


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


def find_aliases(capture: Capture) -> Mapping[str, int]:
    """The device and function number on its own bus that firmware says a function's DMA carries, by address.

    drivers/iommu/amd/iommu.c, setup_aliases(): an id on another bus has no part in grouping.
    """
    aliases = tuple(read_aliases(capture.tables.get("IVRS", b"")))
    found = {}
    for function in capture.functions:
        own = id = function.place.requester
        for alias in aliases:
            if alias.segment == function.place.domain and alias.first <= own <= alias.last:
                id = alias.id
        if id != own and id >> 8 == own >> 8:
            found[function.address] = id & 0xFF
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
        if rmrr.segment == function.place.domain and any(
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
    if hops[0].parent == ROOT and scope.bus == hops[0].place.bus and scope.path == tuple(map(_step, hops)):
        return True
    return scope.bus == hops[-1].place.bus and scope.path == (_step(hops[-1]),)


def _step(function: PciFunction) -> tuple[int, int]:
    return function.place.device, function.place.function


def _ivmds_of(function: PciFunction, ivmds: tuple[Ivmd, ...]) -> Iterator[ReservedRegion]:
    """amd_iommu_get_resv_regions()."""
    requester = function.place.requester
    for ivmd in ivmds:
        if ivmd.segment == function.place.domain and ivmd.first <= requester <= ivmd.last:
            yield ReservedRegion(ivmd.start, ivmd.end, "direct")
