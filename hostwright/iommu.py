"""IOMMU groups as Linux makes them, predicted from the topology of a machine.

    functions + Setting --> predict --> groups, why each function isolates or not, whom the override speaks for

The rules and their sources; they are the same in 6.1.176, 6.12.107 and 7.2.8 but for the two parameters of pci= and
for IDT's switches:

    grouping         drivers/iommu/iommu.c: pci_device_group(), get_pci_alias_group(), get_pci_function_alias_group()
    DMA aliases      drivers/pci/search.c: pci_for_each_dma_alias(); drivers/pci/pci.c: pci_devs_are_dma_aliases();
                     drivers/iommu/amd/iommu.c: setup_aliases(), what it adds being read in hostwright.acpi
    isolation        drivers/pci/pci.c: pci_acs_enabled(), pci_acs_path_enabled(), pci_acs_flags_enabled()
    control bits     drivers/pci/pci.c: pci_enable_acs(), __pci_config_acs(); in 6.1 pci_disable_acs_redir(); in 7.2
                     pci_disable_broken_acs_cap()
    who is meant     drivers/pci/pci.c: pci_dev_str_match(), pci_dev_str_match_path()
    quirks           drivers/pci/quirks.c, in hostwright.quirks
    override         patches/linux/SERIES/0001-pci-acs-override.patch: drivers/pci/acs-override.c

7.2 sets the control bits when it groups a function (iommu_init_device(), pci_dma_configure()), the others when they
find it: bridges come first in both. It knows a bridge that lends no id (PCI_DEV_FLAGS_PCI_BRIDGE_NO_ALIAS): what is
behind it joins the bridge's group all the same, since a bridge to conventional PCI never isolates.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from hostwright import pci, quirks
from hostwright.base.errors import UserError
from hostwright.pci import Acs, Function, Kind
from hostwright.quirks import Platform

SERIES = ("6.1", "6.12", "7.2")

# What grouping asks of every function: REQ_ACS_FLAGS.
REQUIRED = pci.SOURCE_VALIDATION | pci.REQUEST_REDIRECT | pci.COMPLETION_REDIRECT | pci.UPSTREAM_FORWARDING
_REDIRECT = pci.REQUEST_REDIRECT | pci.COMPLETION_REDIRECT | pci.EGRESS_CONTROL
MAX_IDS = 64
# No bridge is known.
ALONE: Mapping[str, Function] = {}

# What pci_dev_str_match() reads: %x of the kernel's sscanf() takes 0x as well.
_HEX = "(?:0x)?[0-9a-f]+"
_IDS = re.compile(rf"pci:({_HEX}):({_HEX})(?::({_HEX}):({_HEX}))?", re.IGNORECASE)
_STEP = rf"{_HEX}\.{_HEX}"
_PATH = re.compile(rf"(?:{_HEX}:)?{_HEX}:{_STEP}(?:/{_STEP})*", re.IGNORECASE)

# Kinds of which isolation is asked only when they are one of several functions.
_SINGLE_ISOLATES = (Kind.ENDPOINT, Kind.LEGACY_ENDPOINT, Kind.UPSTREAM, Kind.ROOT_COMPLEX_ENDPOINT)
_NEVER = (Kind.CONVENTIONAL, Kind.PCI_BRIDGE, Kind.PCIE_BRIDGE, Kind.EVENT_COLLECTOR)
# Bridges that put their own requester id, or that of their bus, on what comes from below.
_ALIASING = (Kind.CONVENTIONAL, Kind.PCI_BRIDGE, Kind.PCIE_BRIDGE)


class Isolation(Enum):
    """Why the kernel takes a function as isolated from its peers, or that it does not."""

    HARDWARE = "hardware"
    QUIRK = "quirk"
    OVERRIDE = "override"
    NONE = "none"


@dataclass(frozen=True)
class Judgement:
    """The kernel's answer for one function: pci_acs_enabled(); `reason` in words, `word` of the override."""

    isolation: Isolation
    reason: str
    word: str = ""

    @property
    def isolates(self) -> bool:
        return self.isolation is not Isolation.NONE


@dataclass(frozen=True)
class Setting:
    """The kernel series and what its command line says about isolation, as after `pci=`."""

    series: str = "6.12"
    config_acs: str = ""
    disable_acs_redir: str = ""
    platform: Platform = field(default_factory=Platform)

    @property
    def knows_config_acs(self) -> bool:
        """pci=config_acs= came with 6.11."""
        return self.series != "6.1"

    @property
    def drops_broken_validation(self) -> bool:
        """pci_disable_broken_acs_cap() came after 6.12."""
        return self.series not in ("6.1", "6.12")


# The newest kernel with known rules, and no parameter of its own.
NEWEST = Setting()


@dataclass(frozen=True)
class Override:
    """The words of pcie_acs_override=, parsed as by acs_override_setup(); `refused` are those without effect."""

    downstream: bool = False
    multifunction: bool = False
    ids: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """`groups` are sets of addresses; `overridden` maps an address to the word that speaks for it, as the kernel logs.

    `judgements`: what the kernel takes each function for, whether it asks or not.
    """

    groups: frozenset[frozenset[str]]
    overridden: dict[str, str]
    judgements: dict[str, Judgement] = field(default_factory=dict)

    def group_of(self, address: str) -> frozenset[str]:
        """The group that an address is in; empty without an IOMMU."""
        return next((group for group in self.groups if address in group), frozenset())


def predict(
    functions: Sequence[Function], words: Sequence[str] = (), setting: Setting = NEWEST
) -> Prediction:
    """The groups of a machine booted with these words of pcie_acs_override=, its IOMMU switched on.

    Raises UserError for a parameter of `setting` that the kernel could not read.
    """
    return predict_in_order(sort_parents_first(functions), words, setting)


def predict_in_order(functions: Sequence[Function], words: Sequence[str], setting: Setting) -> Prediction:
    """As `predict`, the functions being found in this order; bridges come before what is behind them."""
    kernel = _Kernel(functions, parse_override(words), setting)
    for function in functions:
        if function.has_iommu:
            kernel.add(function)
    judgements = {function.address: kernel.judge(function) for function in functions}
    groups = frozenset(frozenset(group) for group in kernel.groups)
    return Prediction(groups, kernel.overridden, judgements)


def sort_parents_first(functions: Sequence[Function]) -> list[Function]:
    """By depth, then as addresses sort; a bridge that sits behind itself counts as one on a root bus."""
    known = {function.address: function for function in functions}

    def depth(function: Function) -> int:
        return sum(1 for _ in bridges_above(function, known))

    return sorted(functions, key=lambda one: (depth(one), one.owner != "", one.address))


def bridges_above(function: Function, known: Mapping[str, Function]) -> Iterator[Function]:
    """The bridges above a function, the nearest first; each once, whatever the ports say."""
    seen = {function.address}
    bridge = known.get(function.port)
    while bridge and bridge.address not in seen:
        seen.add(bridge.address)
        yield bridge
        bridge = known.get(bridge.port)


def parse_override(words: Sequence[str]) -> Override:
    """Words as the kernel takes them: unknown ones, malformed ids and those beyond the 64th are without effect."""
    ids: dict[str, None] = {}
    refused = []
    for word in words:
        if word in ("downstream", "multifunction", ""):
            continue
        match = re.fullmatch(r"id:([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,4})", word)
        name = ":".join(part.lower().zfill(4) for part in match.groups()) if match else ""
        if not name or (name not in ids and len(ids) == MAX_IDS):
            refused.append(word)
        else:
            ids[name] = None
    return Override("downstream" in words, "multifunction" in words, frozenset(ids), tuple(refused))


class _Kernel:
    """Groups in the making: each function joins an earlier one's group or begins its own."""

    def __init__(self, functions: Sequence[Function], override: Override, setting: Setting) -> None:
        self._functions = {function.address: function for function in functions}
        self._override, self._setting = override, setting
        self._on_bus: dict[str, list[Function]] = {}
        for function in functions:
            self._on_bus.setdefault(function.bus, []).append(function)
        self._aliases = {function.address: quirks.find_aliases(function) for function in functions}
        self._judged: dict[str, Judgement] = {}
        self._group_of: dict[str, set[str]] = {}
        self.groups: list[set[str]] = []
        self.overridden: dict[str, str] = {}

    def add(self, function: Function) -> None:
        # AMD's driver adds it when it takes the function (setup_aliases()): after those of the quirks.
        if function.alias is not None:
            self._aliases[function.address] |= {function.alias}
        group = self._find_group(function)
        if group is None:
            group = set()
            self.groups.append(group)
        group.add(function.address)
        self._group_of[function.address] = group

    def judge(self, function: Function) -> Judgement:
        """pci_acs_enabled(), without being asked by grouping."""
        if function.address not in self._judged:
            self._judged[function.address] = judge(function, self._override, self._setting, self._functions)
        return self._judged[function.address]

    def _find_group(self, function: Function) -> set[str] | None:
        """pci_device_group()."""
        if function.owner in self._group_of:
            return self._group_of[function.owner]
        top, group = self._climb_aliases(function)
        if group is None:
            top, group = self._climb_unisolated(top)
        if group is not None:
            return group
        visited: set[int] = set()
        return self._find_alias_group(top, visited) or self._find_function_group(top, visited)

    def _climb_aliases(self, function: Function) -> tuple[Function, set[str] | None]:
        """pci_for_each_dma_alias(): the last bridge that DMA is known by, and the first group on the way there."""
        top = function
        for bridge in bridges_above(function, self._functions):
            if quirks.ends_alias_walk(bridge):
                break
            if bridge.kind in _ALIASING:
                top = bridge
                if bridge.address in self._group_of:
                    return top, self._group_of[bridge.address]
        return top, None

    def _climb_unisolated(self, function: Function) -> tuple[Function, set[str] | None]:
        """Past every bridge from which the way to the root bus is not isolated, to the first that has a group."""
        top = function
        for bridge in bridges_above(function, self._functions):
            if self._is_isolated_upward(bridge):
                break
            top = bridge
            if bridge.address in self._group_of:
                return top, self._group_of[bridge.address]
        return top, None

    def _is_isolated_upward(self, bridge: Function) -> bool:
        """pci_acs_path_enabled(): every bridge from here to the root must isolate."""
        return all(self._asks(one) for one in (bridge, *bridges_above(bridge, self._functions)))

    def _find_alias_group(self, function: Function, visited: set[int]) -> set[str] | None:
        """get_pci_alias_group(): the group of whoever uses this requester id, or whose id this one uses."""
        if function.devfn in visited:
            return None
        visited.add(function.devfn)
        if function.address in self._group_of:
            return self._group_of[function.address]
        for other in self._on_bus[function.bus]:
            if other is function or not self._are_aliases(function, other):
                continue
            group = self._find_alias_group(other, visited) or self._find_function_group(other, visited)
            if group:
                return group
        return None

    def _are_aliases(self, one: Function, other: Function) -> bool:
        return other.devfn in self._aliases[one.address] or one.devfn in self._aliases[other.address]

    def _find_function_group(self, function: Function, visited: set[int]) -> set[str] | None:
        """get_pci_function_alias_group(): functions of one slot that do not isolate are together."""
        if not function.multifunction or self._asks(function):
            return None
        for other in self._on_bus[function.bus]:
            if other is function or other.slot != function.slot or self._asks(other):
                continue
            if group := self._find_alias_group(other, visited):
                return group
        return None

    def _asks(self, function: Function) -> bool:
        """pci_acs_enabled() as grouping asks it: the kernel log names whom the override speaks for."""
        judgement = self.judge(function)
        if judgement.word:
            self.overridden.setdefault(function.address, judgement.word)
        return judgement.isolates


# Isolation of one function.


def judge(
    function: Function, override: Override, setting: Setting, known: Mapping[str, Function] = ALONE
) -> Judgement:
    """pci_acs_enabled() with all the flags that grouping asks for; `known` are the bridges above, by address."""
    if verdict := quirks.find_isolation(function, setting.platform):
        says = "isolates" if verdict.isolates else "does not isolate"
        isolation = Isolation.QUIRK if verdict.isolates else Isolation.NONE
        return Judgement(isolation, f"the kernel knows that it {says} ({verdict.quirk})")
    if word := find_override(function, override):
        return Judgement(
            Isolation.OVERRIDE, f"pcie_acs_override={word}: the hardware does not isolate it", word
        )
    return _judge_hardware(function, setting, known)


def _judge_hardware(function: Function, setting: Setting, known: Mapping[str, Function]) -> Judgement:
    if function.kind in _NEVER:
        return Judgement(Isolation.NONE, f"{function.kind.value}: ACS does not apply to it")
    if function.kind in _SINGLE_ISOLATES and not function.multifunction:
        return Judgement(Isolation.HARDWARE, "a single function has no peers behind it")
    if function.kind is Kind.RESERVED:
        return Judgement(Isolation.HARDWARE, "the kernel asks nothing of a reserved type")
    if function.acs is None:
        return Judgement(Isolation.NONE, "it has no ACS capability")
    wanted = REQUIRED & _find_capability(function, function.acs, setting)
    missing = wanted & ~find_control(function, function.acs, setting, known)
    if missing:
        return Judgement(Isolation.NONE, f"its ACS is off: {render_bits(missing)}")
    return Judgement(Isolation.HARDWARE, "ACS is on")


def find_override(function: Function, override: Override) -> str:
    """The word that speaks for a function, as the patch names it in the kernel log; empty without one."""
    if find_obstacle(function):
        return ""
    if override.downstream and function.is_port:
        return "downstream"
    if override.multifunction and not function.is_port:
        return "multifunction"
    return "id" if function.id in override.ids else ""


def find_obstacle(function: Function) -> str:
    """Why a function cannot be overridden, in the words of the patch; empty if it can be."""
    if function.kind is Kind.CONVENTIONAL:
        return "a conventional PCI device shares its bus with others"
    if function.acs:
        return "it has an ACS capability"
    if function.is_port:
        return ""
    if function.kind not in _SINGLE_ISOLATES:
        return "ACS does not apply to this kind of device"
    return "" if function.multifunction else "a single function needs no ACS"


def render_bits(bits: int) -> str:
    """Names of ACS controls as lspci writes them."""
    names = ("SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl", "DirectTrans")
    return " ".join(name for place, name in enumerate(names) if bits >> place & 1)


# Control bits.


def find_control(
    function: Function, acs: Acs, setting: Setting, known: Mapping[str, Function] = ALONE
) -> int:
    """The ACS control register once the kernel has set it: firmware's, its own, then those of the command line.

    An unknown setting of the firmware counts as all off. `known` are the bridges above, by address.
    """
    firmware = acs.firmware or 0
    control = firmware | _find_capability(function, acs, setting) & REQUIRED
    wide = quirks.has_wide_acs(function)
    if _matches(function, setting.disable_acs_redir, known):
        control = _without_redirect(control, firmware, wide, setting)
    flags = _find_flags(function, setting.config_acs, known) if setting.knows_config_acs else None
    if flags and wide:
        # pci_dev_specific_disable_acs_redir() stands in the way of config_acs= too.
        return control & ~_REDIRECT
    if flags:
        mask, values = flags
        return firmware & ~mask | values & mask
    return control


def _find_capability(function: Function, acs: Acs, setting: Setting) -> int:
    """The controls that the kernel uses: a broken one counts as one that is not there, so as hard-wired."""
    if setting.drops_broken_validation and quirks.has_broken_validation(function):
        return acs.capability & ~pci.SOURCE_VALIDATION
    return acs.capability


def _without_redirect(control: int, firmware: int, wide: bool, setting: Setting) -> int:
    """From 6.11 on all other bits go back to what firmware had set, the kernel's own among them."""
    if wide or not setting.knows_config_acs:
        return control & ~_REDIRECT
    return firmware & ~_REDIRECT


def _matches(function: Function, text: str, known: Mapping[str, Function]) -> bool:
    return any(matches_device(function, one, known) for one in text.split(";") if one)


def _find_flags(function: Function, text: str, known: Mapping[str, Function]) -> tuple[int, int] | None:
    """Mask and values of the first entry of config_acs= that names the function."""
    for entry in (one for one in text.split(";") if one):
        flags, at, device = entry.partition("@")
        if not at or not re.fullmatch("[01xX]{1,7}", flags):
            raise UserError(
                f"config_acs={text}: {entry!r} is not FLAGS@DEVICE",
                f"FLAGS are up to seven digits 0, 1 or x, for {render_bits(pci.ACS_BITS)} from the right",
            )
        if matches_device(function, device, known):
            mask = int(re.sub("[01]", "1", flags.lower()).replace("x", "0"), 2)
            return mask, int(flags.lower().replace("x", "0"), 2)
    return None


def matches_device(function: Function, text: str, known: Mapping[str, Function] = ALONE) -> bool:
    """pci_dev_str_match(): whether a parameter of the kernel's command line names a function.

    `pci:VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE]`, 0 for any, or `[DOMAIN:]BUS:DEVICE.FUNCTION[/DEVICE.FUNCTION]*`: a path
    goes from a bridge down, and `known` are the bridges above the function, by address. UserError for any other form.
    """
    if match := _IDS.fullmatch(text):
        wanted = [int(number or "0", 16) & 0xFFFF for number in match.groups()]
        own = [int(number or "0", 16) for number in (*function.id.split(":"), *_subsystem(function))]
        return all(number in (0, mine) for number, mine in zip(wanted, own, strict=True))
    if _PATH.fullmatch(text):
        return _is_at(function, text, known)
    raise UserError(
        f"{text!r} names no PCI device",
        "write DOMAIN:BUS:DEVICE.FUNCTION, further /DEVICE.FUNCTION for what is behind that, or pci:VENDOR:DEVICE,"
        " all in hexadecimal",
    )


def _is_at(function: Function, path: str, known: Mapping[str, Function]) -> bool:
    """pci_dev_str_match_path(): from the function's own step upwards, to the bridge that the path begins with."""
    start, *steps = path.split("/")
    for step in reversed(steps):
        if function.devfn != _devfn(step) or function.port not in known:
            return False
        function = known[function.port]
    bus, _, step = start.rpartition(":")
    return _bus_number(function.bus) == _bus_number(bus) and function.devfn == _devfn(step)


def _bus_number(text: str) -> tuple[int, int]:
    """Domain and bus; no domain is 0."""
    domain, _, bus = text.rpartition(":")
    return int(domain or "0", 16), int(bus, 16)


def _devfn(step: str) -> int:
    """PCI_DEVFN() of DEVICE.FUNCTION, which cuts off what is too large."""
    device, _, number = step.partition(".")
    return (int(device, 16) & 0x1F) << 3 | int(number, 16) & 7


def _subsystem(function: Function) -> tuple[str, str]:
    vendor, _, device = function.subsystem.partition(":")
    return vendor, device
