"""Whether one PCI function is isolated: by its hardware, by a quirk of the kernel, or by an override."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from hostwright.base.address import Address, parse_kernel_path
from hostwright.base.errors import UserError
from hostwright.pci import quirks
from hostwright.pci.function import (
    ACS_BITS,
    COMPLETION_REDIRECT,
    EGRESS_CONTROL,
    REQUEST_REDIRECT,
    SOURCE_VALIDATION,
    UPSTREAM_FORWARDING,
    Acs,
    Function,
    Kind,
)
from hostwright.pci.quirks import Platform

SERIES = ("6.1", "6.12", "7.2")

# What grouping asks of every function: REQ_ACS_FLAGS.
REQUIRED = SOURCE_VALIDATION | REQUEST_REDIRECT | COMPLETION_REDIRECT | UPSTREAM_FORWARDING
_REDIRECT = REQUEST_REDIRECT | COMPLETION_REDIRECT | EGRESS_CONTROL
MAX_IDS = 64
# No bridge is known.
ALONE: Mapping[str, Function] = {}

# What pci_dev_str_match() reads: %x of the kernel's sscanf() takes 0x as well.
_HEX = "(?:0x)?[0-9a-f]+"
_IDS = re.compile(rf"pci:({_HEX}):({_HEX})(?::({_HEX}):({_HEX}))?", re.IGNORECASE)

# Kinds of which isolation is asked only when they are one of several functions.
_SINGLE_ISOLATES = (Kind.ENDPOINT, Kind.LEGACY_ENDPOINT, Kind.UPSTREAM, Kind.ROOT_COMPLEX_ENDPOINT)
_NEVER = (Kind.CONVENTIONAL, Kind.PCI_BRIDGE, Kind.PCIE_BRIDGE, Kind.EVENT_COLLECTOR)


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
        """Whether the kernel takes the function for isolated, rightly or by an override."""
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


# Isolation of one function.


def judge(
    function: Function, override: Override, setting: Setting, known: Mapping[str, Function] = ALONE
) -> Judgement:
    """pci_acs_enabled() with all the flags that grouping requires; `known` are the bridges above, by address."""
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
        # pci_dev_specific_disable_acs_redir() refuses config_acs= as well.
        return control & ~_REDIRECT
    if flags:
        mask, values = flags
        return firmware & ~mask | values & mask
    return control


def _find_capability(function: Function, acs: Acs, setting: Setting) -> int:
    """The controls that the kernel uses: a broken one counts as one that is not there, so as hard-wired."""
    if setting.drops_broken_validation and quirks.has_broken_validation(function):
        return acs.capability & ~SOURCE_VALIDATION
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
                f"FLAGS are up to seven digits 0, 1 or x, for {render_bits(ACS_BITS)} from the right",
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
    if path := parse_kernel_path(text):
        return _is_at(function, *path, known)
    raise UserError(
        f"{text!r} names no PCI device",
        "write DOMAIN:BUS:DEVICE.FUNCTION, further /DEVICE.FUNCTION for what is behind that, or pci:VENDOR:DEVICE,"
        " all in hexadecimal",
    )


def _is_at(function: Function, start: Address, steps: Sequence[int], known: Mapping[str, Function]) -> bool:
    """pci_dev_str_match_path(): from the function's own step upwards, to the bridge that the path begins with."""
    for step in reversed(steps):
        if function.devfn != step or function.port not in known:
            return False
        function = known[function.port]
    return function.place == start


def _subsystem(function: Function) -> tuple[str, str]:
    vendor, _, device = function.subsystem.partition(":")
    return vendor, device
