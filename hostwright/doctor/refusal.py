"""What host.toml asks of a machine and its capture cannot give: refused before anything is built.

    host.toml + the capture it names --open_plan--> Plan --find_refusals--> UserError, the first of them
                                                      \\--find_warnings--> lines to show

The judgements and texts are the doctor's.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright.doctor import diagnose, kinds, machine_wide, placement
from hostwright.doctor.case import Case, open_case
from hostwright.doctor.device import check_window, find_own
from hostwright.doctor.findings import Finding, Severity, find
from hostwright.doctor.kinds import HARMLESS_DRIVERS
from hostwright.machine import cmdline, local, rules, toml
from hostwright.machine import load as model
from hostwright.machine.grammar import BadValueError, Way
from hostwright.machine.model import Guest, Machine
from hostwright.pci import capture as captures
from hostwright.pci import groups
from hostwright.pci.inventory import Capture, PciFunction

_IDS_OF_MODULE = re.compile(r"(?:vfio[-_]pci|pci[-_]stub)(?: .*)? ids=(\S+)")
_IDS_WORD = re.compile(r"(?:vfio[-_]pci|pci[-_]stub)\.ids=(\S+)")
_ANY = 0xFFFFFFFF
# What is said although it refuses nothing.
_WORTH_SAYING = (
    *("unknown-use", "unknown-group", "unknown-firmware-regions", "bar-window-small", "virtual-function"),
)


@dataclass(frozen=True)
class Refusal:
    """A finding, and the way to the key of host.toml that it is about."""

    way: Way
    finding: Finding


@dataclass(frozen=True)
class Wish:
    """What host.toml wants of a captured machine; `functions` are those of its devices that are there, by address."""

    machine: Machine
    case: Case
    functions: Mapping[str, PciFunction]

    def find_group(self, device: str, words: Sequence[str]) -> frozenset[str]:
        """The group that a device will be in; the present one where no prediction can be made, or empty."""
        if self.case.machine.obstacles:
            return self._find_present(device, words)
        return self.case.predict(tuple(words)).group_of(device)

    def _find_present(self, device: str, words: Sequence[str]) -> frozenset[str]:
        capture = self.case.capture
        number = self.case.known[device].group
        if number is None or set(groups.current_words(capture.cmdline)) != set(words):
            return frozenset()
        return frozenset(one.address for one in capture.functions if one.group == number)


def check(path: Path, series: str) -> tuple[str, ...]:
    """Refuse what the machine file at `path` requests and its capture cannot give; what else is worth saying.

    `series` is that of the host's kernel. UserError names file, line, key, what and remedy.
    """
    machine = model.load(path)
    if machine.capture is None:
        return ()
    plan = open_plan(machine, captures.load(machine.capture), series)
    for refusal in find_refusals(plan):
        error = BadValueError(refusal.finding.text, refusal.finding.remedy, refusal.way)
        raise toml.explain(path, toml.read(path), error)
    return tuple(f"{one.text} ({one.remedy})" for one in find_warnings(plan))


def open_plan(machine: Machine, capture: Capture, series: str) -> Wish:
    """Both sides, as the host's own kernel will see them."""
    words = " ".join(cmdline.kernel_words(machine, passthrough=True))
    case = open_case(capture, groups.current_setting(words, series), words)
    named = (device.address for device in machine.devices)
    return Wish(machine, case, {one: case.known[one] for one in named if one in case.known})


def find_refusals(plan: Wish) -> Iterator[Refusal]:
    """Everything that will not work, or would take what the host needs."""
    yield from _check_presence(plan)
    yield from _check_iommu(plan)
    yield from _check_devices(plan)
    yield from _check_groups(plan, plan.machine.iommu.acs_override)
    yield from _check_ids(plan)
    yield from _check_guests(plan)


def find_warnings(plan: Wish) -> Iterator[Finding]:
    """What a person should know although it refuses nothing."""
    for function in plan.functions.values():
        found = diagnose.judge(plan.case, function).findings
        yield from (one for one in found if one.rule in _WORTH_SAYING)
    yield from (one.finding for one in _find_loose(plan, plan.machine.iommu.acs_override))
    yield from find_unneeded(plan)
    yield from _find_set_there(plan)


def _find_set_there(plan: Wish) -> Iterator[Finding]:
    """What the owner has set on the host, and host.toml does not say: it counts there, whatever is built."""
    try:
        settings = local.parse(f"{plan.case.capture.settings}\n".encode())
    except BadValueError:
        # There is none, or the host is red and says why.
        return
    for setting in settings:
        if local.apply(plan.machine, (setting,)) != plan.machine:
            yield find("set-on-host", what=setting.line)


# Devices.


def _check_presence(plan: Wish) -> Iterator[Refusal]:
    known = plan.case.known
    for index, device in enumerate(plan.machine.devices):
        if device.address not in known:
            yield Refusal(("device", index, "address"), find("device-absent", device=device.address))
        elif device.id and device.id != known[device.address].id:
            what = known[device.address].id
            finding = find("device-other-id", device=device.address, what=what, id=device.id)
            yield Refusal(("device", index, "id"), finding)


def _check_iommu(plan: Wish) -> Iterator[Refusal]:
    """What makes any device impossible, and the vendor."""
    if not plan.machine.devices:
        return
    for finding in plan.case.findings:
        if finding.severity is Severity.RED:
            yield Refusal(("device", 0, "address"), finding)
    vendor = machine_wide.find_vendor(plan.case.capture)
    if vendor and vendor != plan.machine.iommu.vendor:
        yield Refusal(("iommu", "vendor"), find("iommu-other-vendor", what=vendor))


def _check_devices(plan: Wish) -> Iterator[Refusal]:
    for way, function in _named(plan):
        for finding in list(kinds.find_kind(function)) or find_own(plan.case, function):
            # The window is a guest's, for all its devices together.
            if finding.severity is Severity.RED and finding.rule != "bar-window":
                yield Refusal(way, finding)


def _named(plan: Wish) -> Iterator[tuple[Way, PciFunction]]:
    for index, device in enumerate(plan.machine.devices):
        if device.address in plan.functions:
            yield ("device", index, "address"), plan.functions[device.address]


# Groups.


def _check_groups(plan: Wish, words: Sequence[str]) -> Iterator[Refusal]:
    """Members that keep a group from VFIO, and groups that two guests would share."""
    for way, function in _named(plan):
        device = function.address
        if plan.case.capture.has_iommu and function.group is None:
            yield Refusal(way, find("no-group", device=device))
            continue
        group = plan.find_group(device, words)
        needed = placement.find_needed(plan.case, device, group - plan.functions.keys(), plan.functions)
        if needed:
            others, what = " ".join(needed), "; ".join(needed.values())
            yield Refusal(way, find("group-host-needs", device=device, others=others, what=what))
        elif bound := [one for one in _strangers(plan, device, group) if one.driver not in HARMLESS_DRIVERS]:
            others, drivers = (
                " ".join(one.address for one in bound),
                " ".join({one.driver: None for one in bound}),
            )
            yield Refusal(way, find("group-not-viable", device=device, others=others, driver=drivers))
    yield from _check_shares(plan, words)


def _strangers(plan: Wish, device: str, group: Iterable[str]) -> Iterator[PciFunction]:
    """Companions that no [[device]] table names."""
    for address in placement.find_companions(plan.case, device, group):
        if address not in plan.functions:
            yield plan.case.known[address]


def _find_loose(plan: Wish, words: Sequence[str]) -> Iterator[Refusal]:
    """Companions that no driver had: the group works as long as none takes them."""
    for way, function in _named(plan):
        group = plan.find_group(function.address, words)
        loose = [
            one.address for one in _strangers(plan, function.address, group) if one.driver in HARMLESS_DRIVERS
        ]
        if loose:
            yield Refusal(way, find("group-shared", device=function.address, others=" ".join(loose)))


def _check_shares(plan: Wish, words: Sequence[str]) -> Iterator[Refusal]:
    """Guests that run at the same time cannot share a group."""
    owner = {
        device: guest.name for guest in plan.machine.guests if guest.autostart for device in guest.devices
    }
    for index, guest in _with_devices(plan):
        for place, device in enumerate(guest.devices):
            group = plan.find_group(device, words) if device in plan.functions else frozenset()
            others = [one for one in sorted(group) if owner.get(one, guest.name) != guest.name]
            if others:
                finding = find("group-split", device=device, others=" ".join(others))
                yield Refusal(("guest", index, "devices", place), finding)


def _with_devices(plan: Wish) -> Iterator[tuple[int, Guest]]:
    for index, guest in enumerate(plan.machine.guests):
        if guest.devices and guest.autostart:
            yield index, guest


def find_unneeded(plan: Wish) -> Iterator[Finding]:
    """Words of the override without which no device would be worse off."""
    words = plan.machine.iommu.acs_override
    if plan.case.machine.obstacles:
        return
    for word in words:
        fewer = [one for one in words if one != word]
        if _count_troubles(plan, fewer) <= _count_troubles(plan, words):
            yield find("override-unneeded", words=word)


def _count_troubles(plan: Wish, words: Sequence[str]) -> int:
    found = (*_check_groups(plan, words), *_find_loose(plan, words))
    return len({(one.way, one.finding.rule, one.finding.text) for one in found})


# ids=.


def _check_ids(plan: Wish) -> Iterator[Refusal]:
    kernel, iommu_table = plan.machine.kernel, plan.machine.iommu
    places = (
        *((("kernel", "modules", index), line) for index, line in enumerate(kernel.modules)),
        *((("kernel", "cmdline", index), word) for index, word in enumerate(kernel.cmdline)),
        *((("iommu", "extra", index), word) for index, word in enumerate(iommu_table.extra)),
    )
    for way, text in places:
        match = _IDS_OF_MODULE.fullmatch(text) or _IDS_WORD.fullmatch(text)
        for entry in match[1].split(",") if match else ():
            others = [one for one in plan.case.capture.functions if one.address not in plan.functions]
            taken = [_describe(plan, one) for one in others if matches_id(one, entry)]
            if taken:
                yield Refusal(way, find("ids-take-others", id=entry, others=" ".join(taken)))


def _describe(plan: Wish, function: PciFunction) -> str:
    uses = ", ".join(use.what for use in plan.case.uses.get(function.address, ()))
    return f"{function.address} ({uses})" if uses else function.address


def matches_id(function: PciFunction, entry: str) -> bool:
    """pci_match_one_device() for VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE[:CLASS[:MASK]]] (vfio_pci_fill_ids())."""
    if not re.fullmatch(r"[0-9a-fA-F]{1,8}(?::[0-9a-fA-F]{1,8}){1,5}", entry):
        return False
    numbers = [int(part, 16) for part in entry.split(":")]
    vendor, device, subvendor, subdevice, code, mask = (
        numbers + [_ANY, _ANY, _ANY, _ANY, 0, 0][len(numbers) :]
    )
    own = [int(part or "0", 16) for part in (*function.id.split(":"), *_split(function.subsystem))]
    pairs = zip((vendor, device, subvendor, subdevice), own, strict=True)
    return all(one in (_ANY, mine) for one, mine in pairs) and not (code ^ function.class_code) & mask


def _split(subsystem: str) -> tuple[str, str]:
    vendor, _, device = subsystem.partition(":")
    return vendor, device


# Guests.


def _check_guests(plan: Wish) -> Iterator[Refusal]:
    """Windows of the guests that have devices, and the memory that those lock."""
    for index, guest in enumerate(plan.machine.guests):
        devices = [plan.functions[one] for one in guest.devices if one in plan.functions]
        for finding in check_window(plan.case, devices, " ".join(one.address for one in devices)):
            if finding.severity is Severity.RED:
                yield Refusal(("guest", index, "devices"), finding)
    total = re.search(r"^MemTotal:\s+(\d{1,15}) kB$", plan.case.capture.meminfo, re.MULTILINE)
    if not total:
        return
    have, need = int(total[1]) // 1024 - rules.HOST_MEMORY_MIB, 0
    for index, guest in _with_devices(plan):
        need += guest.memory_mib
        if need > have:
            finding = find("locked-memory", need_mib=need, have_mib=max(have, 0))
            yield Refusal(("guest", index, "memory_mib"), finding)
