"""TODO: doctor.placement."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hostwright.base.address import Address
from hostwright.doctor.case import Answer, Case
from hostwright.doctor.findings import Finding, find
from hostwright.doctor.kinds import HARMLESS_DRIVERS, is_chipset
from hostwright.doctor.regions import find_regions
from hostwright.pci import advice, groups
from hostwright.pci.inventory import PciFunction, name_class

# Of these, what the host can spare: Intel's thermal subsystem, which shares the slot of the USB controller.
_SPARED_CLASSES = (0x1180,)
# Classes for which there are no drivers: reserved functions of AMD's processors.
_DRIVERLESS = (0x13,)


@dataclass(frozen=True)
class _Placement:
    """What a device's group means for it."""

    answer: Answer
    companions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


# The group.


def find_companions(case: Case, device: str, group: Iterable[str]) -> tuple[str, ...]:
    """Who leaves the host with a device: all but bridges and the chipset's functions, where no driver has them.

    pcieport leaves DMA to VFIO; another driver on a bridge (shpchp) bars the group as any driver does. What is behind
    a volume manager of the group, and virtual functions of a physical one in it, are gone once those have left their
    drivers (vmd_remove(), and sriov_numvfs of 0).
    """
    members = {device, *group}
    others = (case.known[one] for one in sorted(members - {device}, key=Address.parse))
    return tuple(
        one.address for one in others if not _is_bystander(one) and not members & {one.owner, one.physical}
    )


def find_needed(case: Case, device: str, group: Iterable[str], wanted: Iterable[str] = ()) -> dict[str, str]:
    """Who in a group cannot leave the host, and why: what the host uses, its chipset, what firmware keeps mapped.

    The kernel refuses a group for what firmware keeps mapped for any member, bridges and functions without a driver
    too (require_direct in drivers/iommu/iommu.c); what it lets go of (direct-relaxable) does not count. A physical
    function stays with its driver for a virtual one that is requested: the device, or one of `wanted`.
    """
    reasons: dict[str, str] = {}
    virtual = {case.known[one].physical: one for one in (*wanted, device)}
    for address in sorted((one for one in group if one != device), key=Address.parse):
        found = [*_find_reasons(case, case.known[address])]
        if address in virtual:
            found.append(f"the physical function of {virtual[address]}")
        if found:
            reasons[address] = ", ".join(found)
    return reasons


def _find_reasons(case: Case, function: PciFunction) -> Iterator[str]:
    if not _is_bystander(function):
        yield from (use.what for use in case.uses.get(function.address, ()))
        if is_chipset(function) and function.class_code >> 8 not in _SPARED_CLASSES:
            yield f"{name_class(function)} with driver {function.driver}"
    if any(one.kind == "direct" for one in find_regions(case, function)):
        yield "firmware keeps memory mapped for it"


def _is_bystander(function: PciFunction) -> bool:
    return is_chipset(function) and function.driver in HARMLESS_DRIVERS


def place(case: Case, function: PciFunction) -> _Placement:
    """Whether a function can have a group of its own, with which companions or under which override."""
    if case.capture.has_iommu and function.group is None:
        return _Placement(Answer.NO, findings=(find("no-group", device=function.address),))
    if case.machine.obstacles:
        return _place_now(case, function)
    group = case.predict(()).group_of(function.address)
    needed = find_needed(case, function.address, group)
    return _place_apart(case, function, needed) if needed else _place_in(case, function.address, group)


def _place_in(case: Case, device: str, group: Iterable[str]) -> _Placement:
    """In a group of which the host needs no function."""
    companions = find_companions(case, device, group)
    if not companions:
        return _Placement(Answer.YES)
    shared = find("group-shared", device=device, others=" ".join(companions))
    return _Placement(Answer.COMPANIONS, companions, findings=(shared, *_find_doubts(case, companions)))


def _find_doubts(case: Case, companions: Sequence[str]) -> Iterator[Finding]:
    for address in companions:
        if what := case.gaps.get(address):
            yield find("unknown-use", device=address, what=what)


def _place_apart(case: Case, function: PciFunction, needed: Mapping[str, str]) -> _Placement:
    """Away from those that the host needs, by the fewest words that part them."""
    device = function.address
    others, what = " ".join(needed), "; ".join(needed.values())
    words = advice.find_smallest(
        *(case.machine, device, case.setting),
        suits=lambda group: not find_needed(case, device, group),
        predict=case.predict,
    )
    if words is None:
        held = find("group-host-needs", device=device, others=others, what=what)
        return _Placement(Answer.NO, findings=(held, find("group-no-override", device=device, others=others)))
    group = case.predict(words).group_of(device)
    rest = _place_in(case, device, group)
    finding = find("group-override", device=device, others=others, what=what, words=",".join(words))
    return _Placement(Answer.OVERRIDE, rest.companions, words, (finding, *rest.findings))


def _place_now(case: Case, function: PciFunction) -> _Placement:
    """By the groups of the kernel that was running, where the rules lack facts."""
    device, why = function.address, case.machine.obstacles[0]
    if function.group is None:
        return _Placement(Answer.UNKNOWN, findings=(find("unknown-group", device=device, what=why),))
    group = [one.address for one in case.capture.functions if one.group == function.group]
    if needed := find_needed(case, device, group):
        text = f"now it is with {' '.join(needed)}, which the host needs, and {why}"
        return _Placement(Answer.UNKNOWN, findings=(find("unknown-group", device=device, what=text),))
    if words := groups.current_words(case.capture.cmdline):
        text = f"pcie_acs_override={','.join(words)} may be all that keeps it apart now, and {why}"
        return _Placement(Answer.UNKNOWN, findings=(find("unknown-group", device=device, what=text),))
    if doubtful := _find_undriven(case, device, group):
        return _Placement(
            Answer.UNKNOWN, findings=tuple(find("unknown-driver", device=one) for one in doubtful)
        )
    rest = _place_in(case, device, group)
    return replace(rest, findings=(*rest.findings, find("groups-now", what=why)))


def _find_undriven(case: Case, device: str, group: Iterable[str]) -> list[str]:
    """Parts of the chipset in a group that a driver may have, which would bar it, when the source names no drivers."""
    others = (case.known[one] for one in group if one != device and not case.tells_drivers)
    return [
        one.address
        for one in others
        if is_chipset(one) and not one.is_bridge and one.class_code >> 16 not in _DRIVERLESS
    ]
