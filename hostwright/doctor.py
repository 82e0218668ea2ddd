"""What of a captured machine can go to a guest, and what stands in the way.

    Capture + Setting --open_case--> Case --judge--> Verdict for each device that a person may want to pass
                                       \\--examine--> Diagnosis: all of them, and what concerns the whole machine

Pure. A red finding makes the answer no; what the capture does not say is a finding of its own.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from hostwright import acpi, groups, hostuse, iommu, mmio, registers
from hostwright.base import times
from hostwright.base.errors import UserError
from hostwright.findings import Finding, Severity, find
from hostwright.formats import iommu_tables
from hostwright.groups import Advice, Machine
from hostwright.groupview import name_class
from hostwright.hostuse import DISPLAY, Use
from hostwright.inventory import Capture, PciFunction, ReservedRegion, sort_key
from hostwright.iommu import Prediction, Setting
from hostwright.mmio import Window
from hostwright.pci import ROOT

# Base classes and classes that a person may want to pass: storage, network, display, audio and video, accelerators.
_WANTED = (0x01, 0x02, DISPLAY, 0x04, 0x12)
_WANTED_CLASSES = (0x0B40, 0x0C03)
# The chipset's own: bridges, dummy functions, CXL memory (the host may run on it), SMBus, management engine, sensors.
_CHIPSET = (0x06, 0x13)
_CHIPSET_CLASSES = (0x0502, 0x0C05, 0x0780, 0x1180)
# Memory and system peripherals: the chipset's on a root bus, behind a port also cards (FPGAs, the Coral TPU).
_CHIPSET_OR_CARD = (0x05, 0x08)
# Serial buses without a kind of their own: on a root bus the firmware's flash, behind a port a card's (UCSI).
_OTHER_BUS = 0x0C80
_SD_HOST = 0x0805
# Of these, what the host can spare: Intel's thermal subsystem, which shares the slot of the USB controller.
_SPARED_CLASSES = (0x1180,)
# Classes for which there are no drivers: reserved functions of AMD's processors.
_DRIVERLESS = (0x13,)
_NEVER_PASSED = (0x06,)
_NEVER_PASSED_CLASSES = (0x0502, 0x0C05)
# Drivers that leave DMA to VFIO (driver_managed_dma), and none at all.
HARMLESS_DRIVERS = ("", "vfio-pci", "pci-stub", "pcieport")
# Who binds by class (PCI code) or by vendor and class: the kernel's own module aliases.
_FIRST_BY_VENDOR = {"10de:03": "nouveau", "1002:03": "amdgpu", "8086:03": "i915"}
_FIRST = {0x0403: "snd_hda_intel", 0x0C03: "xhci_hcd", 0x0108: "nvme", 0x0106: "ahci"}
_DISPLAYS_WITH_OUTPUT = (0x0300, 0x0380)
_FLR, _FLR_BIT = 4, 1 << 28
_ADVANCED_FEATURES, _AF_CAPABILITY, _AF_BITS = 0x13, 3, 3


class Answer(Enum):
    """Whether a device can go to a guest."""

    YES = "yes"
    COMPANIONS = "yes, with companions"
    OVERRIDE = "only with override"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Case:
    """A machine with what follows from its capture as a whole; `findings` are those about all devices."""

    capture: Capture
    machine: Machine
    setting: Setting
    known: Mapping[str, PciFunction]
    uses: Mapping[str, tuple[Use, ...]]
    gaps: Mapping[str, str]
    regions: Mapping[str, tuple[ReservedRegion, ...]]
    window: Window | None
    findings: tuple[Finding, ...] = ()
    predictions: dict[tuple[str, ...], Prediction] = field(default_factory=dict, compare=False)

    def predict(self, words: tuple[str, ...]) -> Prediction:
        """The groups under these words; devices of one group ask for the same ones."""
        if words not in self.predictions:
            self.predictions[words] = iommu.predict(self.machine.functions, words, self.setting)
        return self.predictions[words]

    @property
    def tells_drivers(self) -> bool:
        """Whether the source names drivers at all."""
        return any(one.driver for one in self.capture.functions)


@dataclass(frozen=True)
class Verdict:
    """The answer for one device: `companions` leave the host with it, `words` are those of pcie_acs_override=."""

    device: PciFunction
    answer: Answer
    companions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All that `./doit doctor` says; `chosen` and `advice` are about the device that was asked for."""

    case: Case
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    chosen: Verdict | None = None
    advice: Advice | None = None


@dataclass(frozen=True)
class _Placement:
    """What a device's group means for it."""

    answer: Answer
    companions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def open_case(capture: Capture, setting: Setting, console_words: str = "") -> Case:
    """What a capture says, once for all devices; `setting` and `console_words` (console=) are of the kernel to come."""
    machine = groups.describe(capture)
    case = Case(
        capture=capture,
        machine=machine,
        setting=replace(setting, platform=machine.platform),
        known=capture.by_address,
        uses=hostuse.find_uses(capture, console_words),
        gaps=hostuse.find_gaps(capture),
        regions=acpi.find_regions(capture),
        window=mmio.find_window(capture.texts.get("cpuinfo", "")),
    )
    return replace(case, findings=tuple(_find_of_machine(capture)))


def examine(capture: Capture, setting: Setting, device: str = "") -> Diagnosis:
    """Verdicts for all devices that may be wanted; UserError for a `device` that is not there."""
    case = open_case(capture, setting)
    if device and device not in case.known:
        near = difflib.get_close_matches(
            device, [one.address for one in capture.functions if is_wanted(one)], 1
        )
        hint = f"did you mean {near[0]}?" if near else "addresses are like 0000:82:00.0"
        raise UserError(f"{capture.source}: no device {device}", hint)
    chosen = judge(case, case.known[device]) if device else None
    is_open = chosen and not case.machine.obstacles and chosen.answer is not Answer.YES
    return Diagnosis(
        case=case,
        verdicts=tuple(judge(case, one) for one in capture.functions if is_wanted(one)),
        notes=(*case.machine.notes, *_find_differences(case)),
        chosen=chosen,
        advice=groups.advise(case.machine, device, case.setting) if is_open else None,
    )


def is_wanted(function: PciFunction) -> bool:
    """Whether a person may want to pass it, by its class."""
    code = function.class_code >> 8
    if code >> 8 in _CHIPSET_OR_CARD:
        return not is_chipset(function) and code != _SD_HOST
    return code >> 8 in _WANTED or code in _WANTED_CLASSES


def judge(case: Case, function: PciFunction) -> Verdict:
    """The answer, and every finding about the function, the gravest first."""
    blocking = [one for one in case.findings if one.severity is Severity.RED]
    if refused := list(find_kind(function)):
        return Verdict(function, Answer.NO, findings=(*refused, *blocking))
    placement = _place(case, function)
    found = [*find_own(case, function), *placement.findings, *blocking]
    found.sort(key=lambda one: list(Severity).index(one.severity))
    is_refused = any(one.severity is Severity.RED for one in found)
    return Verdict(
        device=function,
        answer=Answer.NO if is_refused else placement.answer,
        companions=placement.companions,
        words=placement.words,
        findings=tuple(found),
    )


# The group.


def find_companions(case: Case, device: str, group: Iterable[str]) -> tuple[str, ...]:
    """Who leaves the host with a device: all but bridges and the chipset's functions, where no driver has them.

    pcieport leaves DMA to VFIO; another driver on a bridge (shpchp) bars the group as any driver does. What is behind
    a volume manager of the group, and virtual functions of a physical one in it, are gone once those have left their
    drivers (vmd_remove(), and sriov_numvfs of 0).
    """
    members = {device, *group}
    others = (case.known[one] for one in sorted(members - {device}, key=sort_key))
    return tuple(
        one.address for one in others if not _is_bystander(one) and not members & {one.owner, one.physical}
    )


def find_needed(case: Case, device: str, group: Iterable[str], wanted: Iterable[str] = ()) -> dict[str, str]:
    """Who in a group cannot leave the host, and why: what the host uses, its chipset, what firmware keeps mapped.

    The kernel refuses a group for what firmware keeps mapped for any member, bridges and functions without a driver
    too (require_direct in drivers/iommu/iommu.c); what it lets go of (direct-relaxable) does not count. A physical
    function stays with its driver for a virtual one that is asked for: the device, or one of `wanted`.
    """
    reasons: dict[str, str] = {}
    virtual = {case.known[one].physical: one for one in (*wanted, device)}
    for address in sorted((one for one in group if one != device), key=sort_key):
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


def is_chipset(function: PciFunction) -> bool:
    """Whether it is a part of the board that nobody passes; a card has memory in a BAR."""
    code = function.class_code >> 8
    if code >> 8 in _CHIPSET_OR_CARD and not any(bar.is_memory for bar in function.bars):
        return True
    return code >> 8 in _CHIPSET or code in _CHIPSET_CLASSES or _is_chipset_by_place(function)


def _is_chipset_by_place(function: PciFunction) -> bool:
    code = function.class_code >> 8
    return (code >> 8 in _CHIPSET_OR_CARD or code == _OTHER_BUS) and _is_on_root_bus(function)


def _is_on_root_bus(function: PciFunction) -> bool:
    """Where the source does not tell the bridge, bus 0 is known to be one."""
    return function.parent == ROOT or (function.parent is None and function.bus.endswith(":00"))


def _is_bystander(function: PciFunction) -> bool:
    return is_chipset(function) and function.driver in HARMLESS_DRIVERS


def _place(case: Case, function: PciFunction) -> _Placement:
    if case.capture.has_iommu and function.group is None:
        return _Placement(Answer.NO, findings=(find("no-group", device=function.address),))
    if case.machine.obstacles:
        return _place_now(case, function)
    group = case.predict(()).group_of(function.address)
    needed = find_needed(case, function.address, group)
    return _place_apart(case, function, needed) if needed else _place_in(case, function.address, group)


def _place_in(case: Case, device: str, group: Iterable[str]) -> _Placement:
    """In a group of which nobody is needed by the host."""
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
    words = groups.find_smallest(
        *(case.machine, device, case.setting),
        suits=lambda group: not find_needed(case, device, group),
        predict=case.predict,
    )
    if words is None:
        held = find("group-host-needs", device=device, others=others, what=what)
        return _Placement(Answer.NO, findings=(held, find("group-no-override", device=device, others=others)))
    group = case.predict(words).group_of(device)
    rest = _place_in(case, device, group)
    told = find("group-override", device=device, others=others, what=what, words=",".join(words))
    return _Placement(Answer.OVERRIDE, rest.companions, words, (told, *rest.findings))


def _place_now(case: Case, function: PciFunction) -> _Placement:
    """By the groups of the kernel that was running, where the rules lack facts."""
    device, why = function.address, case.machine.obstacles[0]
    if function.group is None:
        return _Placement(Answer.UNKNOWN, findings=(find("unknown-group", device=device, what=why),))
    group = [one.address for one in case.capture.functions if one.group == function.group]
    if needed := find_needed(case, device, group):
        told = f"now it is with {' '.join(needed)}, which the host needs, and {why}"
        return _Placement(Answer.UNKNOWN, findings=(find("unknown-group", device=device, what=told),))
    if words := groups.current_words(case.capture.cmdline):
        told = f"pcie_acs_override={','.join(words)} may be all that keeps it apart now, and {why}"
        return _Placement(Answer.UNKNOWN, findings=(find("unknown-group", device=device, what=told),))
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


def _find_differences(case: Case) -> Iterator[str]:
    if not case.machine.obstacles:
        yield from groups.examine(case.machine, setting=case.setting).differs


# The device.


def find_kind(function: PciFunction) -> Iterator[Finding]:
    """What vfio-pci never takes: headers of bridges (vfio_pci_core_register_device()), and the board's own parts."""
    code = function.class_code >> 8
    is_boards = code >> 8 in _NEVER_PASSED or code in _NEVER_PASSED_CLASSES or _is_chipset_by_place(function)
    if registers.is_bridge(function.config) or is_boards:
        what = f"of class {code:04x}, {name_class(function)}"
        yield find("not-passable", device=function.address, what=what)


def find_own(case: Case, function: PciFunction) -> Iterator[Finding]:
    """What concerns the function itself, whatever group it is in."""
    if function.is_silent:
        yield find("not-responding", device=function.address)
    yield from _find_virtual(case, function)
    yield from find_held(case, function.address)
    yield from _find_rivals(case, function)
    yield from _find_screen(case, function)
    yield from find_kept(case, function)
    yield from _find_bars(case, function)
    yield from _find_reset(case, function)
    if function.numa_node is not None and function.numa_node >= 0 and _has_nodes(case):
        yield find("numa-node", device=function.address, what=function.numa_node)


def _has_nodes(case: Case) -> bool:
    return len({one.numa_node for one in case.capture.functions} - {None, -1}) > 1


def _find_virtual(case: Case, function: PciFunction) -> Iterator[Finding]:
    virtual = [one.address for one in case.capture.functions if one.physical == function.address]
    if virtual:
        yield find("vfs-enabled", device=function.address, others=" ".join(virtual))
    if function.physical:
        yield find("virtual-function", device=function.address, others=function.physical)
    if function.owner:
        yield find("behind-vmd", device=function.address, others=function.owner)
    elif function.domain != "0000":
        yield find("other-domain", device=function.address, what=function.domain)


def find_held(case: Case, device: str) -> Iterator[Finding]:
    """What the host has on a device; or that this is not known."""
    for use in case.uses.get(device, ()):
        yield find(use.rule, device=device, what=use.what)
    what = case.gaps.get(device)
    if what and not case.uses.get(device):
        yield find("unknown-use", device=device, what=what)


def _find_rivals(case: Case, function: PciFunction) -> Iterator[Finding]:
    """Drivers, and devices of the same id."""
    device = function.address
    if not case.tells_drivers:
        yield find("unknown-driver", device=device)
    elif function.driver not in HARMLESS_DRIVERS:
        yield find("driver-holds", device=device, driver=function.driver)
    elif not function.driver and (driver := _find_first(function)):
        yield find("driver-first", device=device, driver=driver)
    twins = [one.address for one in case.capture.functions if one.id == function.id and one is not function]
    if twins:
        yield find("twin-ids", device=device, others=" ".join(twins), id=function.id)


def _find_first(function: PciFunction) -> str:
    vendor = f"{function.id.partition(':')[0]}:{function.class_code >> 16:02x}"
    return _FIRST_BY_VENDOR.get(vendor) or _FIRST.get(function.class_code >> 8, "")


def _find_screen(case: Case, function: PciFunction) -> Iterator[Finding]:
    code = function.class_code >> 8
    others = [one for one in case.capture.functions if one.class_code >> 8 in _DISPLAYS_WITH_OUTPUT]
    if others == [function]:
        yield find("only-display", device=function.address)
    if code >> 8 == DISPLAY and (name := hostuse.find_framebuffer(function, case.capture)):
        yield find("boot-framebuffer", device=function.address, what=name)


# Memory that firmware keeps mapped.


def find_regions(case: Case, function: PciFunction) -> tuple[ReservedRegion, ...]:
    """What stays mapped for a function: the kernel's own list for its group where there is one, else by the tables.

    The kernel's list is the group's: the tables tell whose a region is.
    """
    told = case.regions.get(function.address, ())
    group = case.capture.groups.get(function.group or "")
    if group is None or not group.regions:
        return told
    listed = tuple(one for one in group.regions if one.kind.startswith("direct"))
    members = (one.address for one in case.capture.functions if one.group == function.group)
    if not any(case.regions.get(one) for one in members):
        return listed
    return tuple(one for one in told if any(kept.start <= one.start <= kept.end for kept in listed))


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


# BARs and reset.


def _find_bars(case: Case, function: PciFunction) -> Iterator[Finding]:
    device = function.address
    if not any(one.bars for one in case.capture.functions):
        yield find("unknown-bars", device=device)
        return
    yield from check_window(case, [function], device)
    if function.physical:
        return
    homeless = {bar.index: bar.size for bar in function.bars if bar.is_memory and not bar.start}
    sizes = _find_refused(case, device) | homeless
    # The kernel clears what it finds no room for (drivers/pci/setup-bus.c, reset_resource()).
    cleared = set(registers.find_typed_bars(function.config)) - {bar.index for bar in function.bars}
    for index in sorted(cleared | homeless.keys()):
        size = f" ({times.name_size(sizes[index])})" if index in sizes else ""
        yield find("bar-unassigned", device=device, what=f"{index}{size}")


def _find_refused(case: Case, device: str) -> dict[int, int]:
    """Sizes of BARs that the kernel found no room for, by its log (drivers/pci/setup-res.c, pci_assign_resource())."""
    pattern = rf"{device}: BAR (\d)\b.*\[mem size 0x([0-9a-f]{{1,16}})\b"
    lines = case.capture.texts.get("dmesg", "").splitlines()
    found = (re.search(pattern, one) for one in lines if "no space" in one or "failed to assign" in one)
    return {int(match[1]): int(match[2], 16) for match in found if match}


def check_window(case: Case, devices: Sequence[PciFunction], name: str) -> Iterator[Finding]:
    """Whether the BARs of devices that go to one guest fit into its window."""
    need = mmio.measure([one.bars for one in devices])
    window = case.window or Window(mmio.CLASSIC_WINDOW, mmio.LARGEST_ASKED)
    what = times.name_size(need)
    if need > window.largest:
        yield find("bar-window", device=name, what=what, window=times.name_size(window.largest))
    elif need > window.default:
        yield find(
            "bar-window-small",
            device=name,
            what=what,
            window=times.name_size(window.default),
            need_mib=-(-need >> 20),
        )


def _find_reset(case: Case, function: PciFunction) -> Iterator[Finding]:
    """Function level reset and the like are good, and so is a bus with nothing else on it.

    The kernel names a reset of the bus for a function 0 before it has found the others (pci_device_add()); it then
    refuses it (pci_parent_bus_reset()), and VFIO resets the whole bus, if there is a bridge that can.
    """
    device = function.address
    if function.resets is None:
        if not function.physical and not _has_flr(function):
            yield find("unknown-reset", device=device)
    elif not set(function.resets) - {"bus"}:
        others = [
            one.address for one in case.capture.functions if one.bus == function.bus and one is not function
        ]
        if function.parent and others:
            yield find("reset-bus-only", device=device, others=" ".join(others))
        elif not function.resets:
            yield find("no-reset", device=device)


def _has_flr(function: PciFunction) -> bool:
    """By the PCIe capability (PCIe 5.0, 7.5.3.3) or Advanced Features, of which the kernel wants both bits
    (pci_af_flr()); the kernel knows devices whose bit is wrong.
    """
    config = function.config
    at = registers.find_capability(config, registers.EXPRESS)
    if at is not None and (registers.read(config, at + _FLR, 4) or 0) & _FLR_BIT:
        return True
    at = registers.find_capability(config, _ADVANCED_FEATURES)
    return at is not None and (registers.read(config, at + _AF_CAPABILITY, 1) or 0) & _AF_BITS == _AF_BITS


# The whole machine.


def _find_of_machine(capture: Capture) -> Iterator[Finding]:
    missing = list(_find_iommu(capture))
    yield from missing
    if not any(one.rule in ("iommu-missing", "unknown-iommu") for one in missing):
        yield from _find_interrupts(capture)
    yield from _find_processor(capture.texts.get("cpuinfo", ""))
    yield from _find_hugepages(capture.texts.get("meminfo", ""))


def find_vendor(capture: Capture) -> str:
    """Whose IOMMU the machine has, or would have: intel, amd, or empty."""
    log = capture.texts.get("dmesg", "")
    if "DMAR" in capture.tables or "ACPI: DMAR" in log:
        return "intel"
    if "IVRS" in capture.tables or "ACPI: IVRS" in log:
        return "amd"
    cpuinfo = capture.texts.get("cpuinfo", "")
    bridge = capture.by_address.get("0000:00:00.0")
    vendor = bridge.id.partition(":")[0] if bridge else ""
    if "GenuineIntel" in cpuinfo or (not cpuinfo and vendor == "8086"):
        return "intel"
    return "amd" if "AuthenticAMD" in cpuinfo or (not cpuinfo and vendor == "1022") else ""


def _find_iommu(capture: Capture) -> Iterator[Finding]:
    if capture.has_iommu:
        return
    log = capture.texts.get("dmesg", "")
    vendor = find_vendor(capture)
    if capture.tables or "ACPI: DMAR" in log or "ACPI: IVRS" in log:
        words = "iommu=pt intel_iommu=on" if vendor == "intel" else "iommu=pt, and without amd_iommu=off"
        yield find("iommu-off", words=words)
    elif not capture.release:
        yield find("unknown-iommu", what="the source carries no ACPI tables")
    elif any(not one.is_whole and registers.has_capabilities(one.config) for one in capture.functions):
        yield find("unknown-iommu", what="root alone can read the ACPI tables")
    else:
        yield find("iommu-missing", what={"intel": "DMAR", "amd": "IVRS"}.get(vendor, "DMAR or IVRS"))


_REMAPPED = ("Enabled IRQ remapping in", "Interrupt remapping enabled")
_NOT_REMAPPED = (
    *("Failed to enable irq remapping", "Not enabling interrupt remapping", "Disabling interrupt remapping"),
)


def _find_interrupts(capture: Capture) -> Iterator[Finding]:
    """The kernel's own word first: drivers/iommu/intel/irq_remapping.c, drivers/iommu/amd/init.c."""
    log = capture.texts.get("dmesg", "")
    off = re.search(r"(?:^|\s)(nointremap|intremap=off)\b", capture.cmdline)
    flag = iommu_tables.remaps_interrupts(capture.tables.get("DMAR", b""))
    if any(text in log for text in _REMAPPED):
        return
    if off:
        yield find("no-interrupt-remapping", what=f"{off[1]} on the kernel command line")
    elif any(text in log for text in _NOT_REMAPPED):
        yield find("no-interrupt-remapping", what="by the kernel log")
    elif flag is False:
        yield find("no-interrupt-remapping", what="by the table DMAR")
    elif flag is None:
        yield find("unknown-interrupts", what="neither the kernel log nor a table DMAR says so")


def _find_processor(cpuinfo: str) -> Iterator[Finding]:
    flags = re.search(r"^flags\s*:(.*)", cpuinfo, re.MULTILINE)
    if not flags:
        yield find("unknown-cpu")
    elif not {"vmx", "svm"} & set(flags[1].split()):
        yield find("cpu-no-virtualization")


def _find_hugepages(meminfo: str) -> Iterator[Finding]:
    count = re.search(r"^HugePages_Total:\s+(\d{1,12})$", meminfo, re.MULTILINE)
    size = re.search(r"^Hugepagesize:\s+(\d{1,12}) kB$", meminfo, re.MULTILINE)
    if count and size and int(count[1]):
        yield find("hugepages", what=times.name_size(int(count[1]) * int(size[1]) << 10))
