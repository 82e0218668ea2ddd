"""TODO: doctor.regions."""

from collections.abc import Iterator

from hostwright.doctor.case import Case
from hostwright.doctor.findings import Finding, find
from hostwright.formats import iommu_tables
from hostwright.pci.inventory import PciFunction, ReservedRegion

# Memory that firmware keeps mapped.


def find_regions(case: Case, function: PciFunction) -> tuple[ReservedRegion, ...]:
    """What stays mapped for a function: the kernel's own list for its group where there is one, else by the tables.

    The kernel's list is the group's: the tables say whose a region is.
    """
    named = case.regions.get(function.address, ())
    group = case.capture.groups.get(function.group or "")
    if group is None or not group.regions:
        return named
    listed = tuple(one for one in group.regions if one.kind.startswith("direct"))
    members = (one.address for one in case.capture.functions if one.group == function.group)
    if not any(case.regions.get(one) for one in members):
        return listed
    return tuple(one for one in named if any(kept.start <= one.start <= kept.end for kept in listed))


def find_kept(case: Case, function: PciFunction) -> Iterator[Finding]:
    """RMRRs and IVMDs."""
    regions = find_regions(case, function)
    is_amd = case.machine.platform.has_ivrs and "DMAR" not in case.capture.tables
    for kind, rule in (
        ("direct", "ivmd" if is_amd else "rmrr-direct"),
        ("direct-relaxable", "rmrr-relaxable"),
    ):
        ranges = [f"{one.start:#x}-{one.end:#x}" for one in regions if one.kind == kind]
        if ranges:
            more = f" and {len(ranges) - 3} more" if len(ranges) > 3 else ""
            yield find(rule, device=function.address, what=" ".join(ranges[:3]) + more)
    if not regions and not _tells_regions(case, function):
        yield find("unknown-firmware-regions", device=function.address)


def _tells_regions(case: Case, function: PciFunction) -> bool:
    """Whether no region means that there is none."""
    group = case.capture.groups.get(function.group or "")
    if group and group.regions:
        return True
    if any(one.rule == "iommu-missing" for one in case.findings):
        return True
    tables = case.capture.tables
    return (
        bool(tables)
        and all(iommu_tables.is_whole(one) for one in tables.values())
        and function.parent is not None
    )
