"""The IOMMU groups of a captured machine: now, and as predicted for each override; what frees a device.

    Capture --describe--> Machine (functions as the kernel sees them) --examine--> Report --advise--> Advice

Pure. A source that lacks what the kernel's rules ask for gets no prediction: `Machine.obstacles` says why.
"""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import takewhile

from hostwright import acpi, iommu, quirks, registers
from hostwright.base.errors import UserError
from hostwright.formats import iommu_tables
from hostwright.inventory import Capture, PciFunction, sort_key
from hostwright.iommu import Isolation, Prediction, Setting
from hostwright.pci import ROOT, Acs, Function, Kind
from hostwright.quirks import Platform

Predict = Callable[[tuple[str, ...]], Prediction]
COMMON = (("none", ()), ("downstream", ("downstream",)), ("multifunction", ("multifunction",)))
BOTH = ("downstream", "multifunction")
_LPC, _RCBA = "0000:00:1f.0", 0xF0


class Label(Enum):
    """What keeps a device's group apart from the others: the weakest of all that do.

    ASSUMED: the kernel parts the group where nothing isolates, such as at ports in slots of their own.
    """

    HARDWARE = "hardware"
    QUIRK = "quirk"
    ASSUMED = "assumed"
    OVERRIDE = "override (unsafe)"


@dataclass(frozen=True)
class Machine:
    """The functions of a capture as the kernel's rules see them, or why they are not known well enough."""

    capture: Capture
    functions: tuple[Function, ...]
    platform: Platform
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A prediction for some words of pcie_acs_override=, each address's group number and label."""

    name: str
    words: tuple[str, ...]
    prediction: Prediction
    numbers: Mapping[str, int]
    labels: Mapping[str, Label]


@dataclass(frozen=True)
class Report:
    """All that `./doit groups` says: `differs` are groups whose present is not as predicted for the present words."""

    machine: Machine
    series: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    advice: "Advice | None" = None


@dataclass(frozen=True)
class Remedy:
    """Something that may free a device; `does` is whether the prediction says so, None where none can be made."""

    kind: str
    text: str
    does: bool | None = None


@dataclass(frozen=True)
class Advice:
    """What stands in a device's way, and what to try, best first; `smallest` are the fewest words that free it.

    `smallest` is None where no word does, and empty where none is needed.
    """

    device: str
    is_free: bool
    companions: tuple[str, ...]
    remedies: tuple[Remedy, ...] = ()
    smallest: tuple[str, ...] | None = None
    spared: tuple[str, ...] = field(default=())


# From a capture to what the rules see.


def describe(capture: Capture) -> Machine:
    """The functions of a capture, bridges first; an obstacle for each thing that a prediction would have to guess."""
    known = capture.by_address
    platform = Platform(
        has_ivrs="IVRS" in capture.tables or any("ivhd" in name for name in capture.classes.get("iommu", ())),
        has_rcba=_find_rcba(known.get(_LPC)),
    )
    functions: dict[str, Function] = {}
    aliases = acpi.find_aliases(capture)
    for one in sorted(capture.functions, key=lambda one: _depth(one, known)):
        function = _describe_function(one, functions, capture)
        functions[one.address] = replace(function, alias=aliases.get(one.address))
    ordered = tuple(functions[one.address] for one in capture.functions)
    notes = (*_find_notes(ordered, platform), *_find_table_notes(capture, platform))
    return Machine(capture, ordered, platform, tuple(_find_obstacles(capture)), notes)


def _depth(function: PciFunction, known: Mapping[str, PciFunction]) -> int:
    depth, seen = 0, {function.address}
    while function.parent and function.parent in known and function.parent not in seen:
        seen.add(function.parent)
        function = known[function.parent]
        depth += 1
    return depth


def _find_rcba(bridge: PciFunction | None) -> bool | None:
    """None for a configuration space that was made from text, too: its vendor id is 0."""
    if not bridge or not registers.read(bridge.config, 0, 2):
        return None
    register = registers.read(bridge.config, _RCBA, 4)
    return None if register is None else bool(register & 1)


def _describe_function(one: PciFunction, above: Mapping[str, Function], capture: Capture) -> Function:
    is_virtual = bool(one.physical) or registers.is_virtual(one.config)
    parent = above.get(one.parent or ROOT)
    claims = registers.is_multifunction(one.config) or not one.address.endswith(".0")
    function = Function(
        address=one.address,
        id=one.id,
        kind=_correct_kind(registers.find_kind(one.config), parent),
        port=parent.address if parent else ROOT,
        multifunction=claims and not is_virtual,
        class_code=one.class_code,
        subsystem=one.subsystem,
        owner=one.owner,
        has_iommu=one.group is not None or not capture.has_iommu,
    )
    wide = quirks.has_wide_acs(function)
    return replace(
        function, acs=registers.find_acs(one.config, wide=wide, is_firmwares=not capture.has_iommu)
    )


def _correct_kind(kind: Kind, parent: Function | None) -> Kind:
    """drivers/pci/probe.c set_pcie_port_type(): a port whose type cannot be where it is has the other one."""
    above = parent.kind if parent else None
    if kind is Kind.DOWNSTREAM and above in (Kind.ROOT_PORT, Kind.DOWNSTREAM, Kind.PCIE_BRIDGE):
        return Kind.UPSTREAM
    if kind is Kind.UPSTREAM and above is Kind.UPSTREAM:
        return Kind.DOWNSTREAM
    return kind


def _find_obstacles(capture: Capture) -> Iterator[str]:
    for one in capture.functions:
        if one.parent is None:
            yield f"{one.address}: the bridge that it is behind is not known"
        elif one.is_silent:
            yield f"{one.address}: it does not respond"
        elif not one.config:
            yield f"{one.address}: its configuration space is not known"
        elif not one.is_whole and registers.has_capabilities(one.config):
            yield f"{one.address}: only {len(one.config)} bytes of its configuration space are known"


def _find_notes(functions: Sequence[Function], platform: Platform) -> Iterator[str]:
    for function in functions:
        if quirks.has_unknown_aliases(function):
            yield f"{function.address}: its DMA aliases are in its memory, which no capture has; they are not counted"
        if quirks.needs_rcba(function) and platform.has_rcba is None:
            yield f"{function.address}: whether the chipset lets the kernel isolate it is not known; taken as so"


def _find_table_notes(capture: Capture, platform: Platform) -> Iterator[str]:
    table = capture.tables.get("IVRS", b"")
    if platform.has_ivrs and not iommu_tables.is_whole(table):
        state = "cut off" if table else "not known"
        yield f"the table IVRS is {state}: DMA aliases that the firmware names there are not counted"


def find_series(release: str) -> str:
    """The newest series with known rules that is not newer than a release; the oldest for what is older still."""
    digits = [int(part) if part.isdigit() else 0 for part in release.split("-", maxsplit=1)[0].split(".")[:2]]
    older = [one for one in iommu.SERIES if [int(part) for part in one.split(".")] <= digits]
    return older[-1] if older else iommu.SERIES[0]


# The report.


def examine(
    machine: Machine, override: Sequence[str] = (), setting: Setting | None = None, device: str = ""
) -> Report:
    """Now and predicted, for the common overrides and the one that is asked for; advice for a device.

    Raises UserError for a device that is not there, and for parameters that the kernel could not read.
    """
    setting = replace(setting or Setting(), platform=machine.platform)
    if device and device not in machine.capture.by_address:
        raise UserError(f"{machine.capture.source}: no device {device}", _suggest(device, machine.capture))
    if machine.obstacles:
        return Report(machine, setting.series, (), machine.notes)
    named = [*COMMON, ("both", BOTH)]
    if override and tuple(override) not in [words for _, words in named]:
        named.append((",".join(override), tuple(override)))
    return Report(
        machine=machine,
        series=setting.series,
        columns=tuple(_predict(machine, name, words, setting) for name, words in named),
        notes=(*machine.notes, *_refused(override)),
        differs=tuple(_find_differences(machine, setting)),
        advice=advise(machine, device, setting) if device else None,
    )


def _suggest(device: str, capture: Capture) -> str:
    tail = device.rpartition(":")[2]
    near = [one.address for one in capture.functions if one.address.endswith(tail)]
    return f"did you mean {near[0]}?" if near else "addresses are like 0000:82:00.0"


def _refused(override: Sequence[str]) -> Iterator[str]:
    for word in iommu.parse_override(override).refused:
        yield f"pcie_acs_override={word} is without effect: words are downstream, multifunction, id:vvvv:dddd"


def _predict(machine: Machine, name: str, words: Sequence[str], setting: Setting) -> Column:
    prediction = iommu.predict(machine.functions, words, setting)
    numbers: dict[str, int] = {}
    for number, group in enumerate(sorted(prediction.groups, key=lambda one: min(map(sort_key, one)))):
        numbers |= dict.fromkeys(group, number)
    return Column(name, tuple(words), prediction, numbers, dict(_label(machine.functions, prediction)))


def _label(functions: Sequence[Function], prediction: Prediction) -> Iterator[tuple[str, Label]]:
    known = {function.address: function for function in functions}
    for group in prediction.groups:
        label = _label_group(group, known, prediction)
        yield from ((address, label) for address in group)


def _label_group(group: frozenset[str], known: Mapping[str, Function], prediction: Prediction) -> Label:
    """The weakest of all boundaries: the bridges above, and the group's members towards their neighbours."""
    found = {prediction.judgements[one].isolation for one in _boundaries(group, known)}
    if Isolation.OVERRIDE in found:
        return Label.OVERRIDE
    if Isolation.NONE in found:
        return Label.ASSUMED
    return Label.QUIRK if Isolation.QUIRK in found else Label.HARDWARE


def _boundaries(group: frozenset[str], known: Mapping[str, Function]) -> Iterator[str]:
    for address in group:
        function = known[address]
        if _has_neighbours(function, group, known):
            yield address
        bridge = known.get(function.port)
        for _ in known:
            if bridge is None:
                break
            if bridge.address not in group:
                yield bridge.address
            bridge = known.get(bridge.port)


def _has_neighbours(function: Function, group: frozenset[str], known: Mapping[str, Function]) -> bool:
    """Whether others beside it on its bus are kept apart: of its slot, or of any slot for what has ports' duties."""
    wide = function.is_port or function.kind in (Kind.CONVENTIONAL, Kind.PCI_BRIDGE, Kind.PCIE_BRIDGE)
    return any(
        other.bus == function.bus and other.address not in group and (wide or other.slot == function.slot)
        for other in known.values()
    )


def _find_differences(machine: Machine, setting: Setting) -> Iterator[str]:
    """Groups that the kernel made otherwise than predicted for its own command line."""
    capture = machine.capture
    if not capture.has_iommu:
        return
    now: dict[str, set[str]] = {}
    for one in capture.functions:
        if one.group is not None:
            now.setdefault(one.group, set()).add(one.address)
    words = current_words(capture.cmdline)
    told = current_setting(capture.cmdline, find_series(capture.release))
    own = replace(_as_far_as_read(told, machine.functions[0]), platform=setting.platform)
    predicted = iommu.predict(machine.functions, words, own).groups
    for number, group in sorted(now.items()):
        if frozenset(group) not in predicted:
            yield f"group {number} is {' '.join(sorted(group))}: not as predicted for the kernel that was running"


def _as_far_as_read(setting: Setting, any_one: Function) -> Setting:
    """__pci_config_acs(): the kernel warns of the first entry that it cannot read, and leaves it and those after it."""

    def is_read(alone: Setting) -> bool:
        try:
            iommu.find_control(any_one, Acs(0), alone)
        except UserError:
            return False
        return True

    series = setting.series
    config_acs = takewhile(lambda one: is_read(Setting(series, one)), setting.config_acs.split(";"))
    redir = takewhile(lambda one: is_read(Setting(series, "", one)), setting.disable_acs_redir.split(";"))
    return replace(setting, config_acs=";".join(config_acs), disable_acs_redir=";".join(redir))


def current_words(cmdline: str) -> tuple[str, ...]:
    """The words of pcie_acs_override= on a command line."""
    found = [word.partition("=")[2] for word in cmdline.split() if word.startswith("pcie_acs_override=")]
    return tuple(part for word in found for part in word.split(","))


def current_setting(cmdline: str, series: str) -> Setting:
    """What pci= on a command line says about ACS."""
    options = [
        part
        for word in cmdline.split()
        if word.startswith("pci=")
        for part in word.removeprefix("pci=").split(",")
    ]
    values = dict(option.split("=", 1) for option in options if "=" in option)
    return Setting(series, values.get("config_acs", ""), values.get("disable_acs_redir", ""))


# Advice.


def advise(machine: Machine, device: str, setting: Setting) -> Advice:
    """What frees a device: its group has no other than bridges and functions of its own slot."""
    plain = iommu.predict(machine.functions, (), setting)
    companions = tuple(sorted(_strangers(machine, device, plain)))
    if not companions:
        return Advice(device, True, (), smallest=())
    smallest = find_smallest(machine, device, setting)
    return Advice(
        device=device,
        is_free=False,
        companions=companions,
        remedies=tuple(_remedies(machine, device, plain, setting)),
        smallest=smallest,
        spared=tuple(_also_touched(machine, smallest or (), device, setting)),
    )


def _strangers(machine: Machine, device: str, prediction: Prediction) -> Iterator[str]:
    """Members of a device's group that would have to go with it although they are no bridges and not of its slot."""
    known = machine.capture.by_address
    for address in prediction.group_of(device):
        if not known[address].is_bridge and known[address].slot != known[device].slot:
            yield address


def is_freed(machine: Machine, device: str, words: Sequence[str], setting: Setting) -> bool:
    """Whether the device is free under these words."""
    return not any(_strangers(machine, device, iommu.predict(machine.functions, words, setting)))


def find_smallest(
    machine: Machine,
    device: str,
    setting: Setting,
    suits: Callable[[frozenset[str]], bool] | None = None,
    predict: Predict | None = None,
) -> tuple[str, ...] | None:
    """The fewest words that free a device: ids before kinds; none where it is free, None where nothing does.

    `suits` says of a group whether the device is free in it; by default there are no strangers. `predict` is what
    keeps predictions for callers that ask about many devices.
    """
    ask = predict or (lambda words: iommu.predict(machine.functions, words, setting))

    def is_free(words: Sequence[str]) -> bool:
        prediction = ask(tuple(words))
        if suits is None:
            return not any(_strangers(machine, device, prediction))
        return suits(prediction.group_of(device))

    if is_free(()):
        return ()
    blockers = _blockers(machine, device, ask(()))
    ids = sorted({f"id:{one.id}" for one in blockers if not iommu.find_obstacle(one)})
    if not ids or not is_free(ids[: iommu.MAX_IDS]):
        return next((words for words in (("downstream",), ("multifunction",), BOTH) if is_free(words)), None)
    return _shorten(ids[: iommu.MAX_IDS], is_free)


def _shorten(ids: Sequence[str], is_free: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """The ids that are left when each that can be spared is, from the first to the last.

    Words only ever part groups: how many can be left out before one is needed can be found by halving.
    """
    kept: list[str] = []
    while not is_free(kept):
        spared = bisect.bisect_left(
            range(1, len(ids)), True, key=lambda count: not is_free([*kept, *ids[count:]])
        )
        kept.append(ids[spared])
        ids = ids[spared + 1 :]
    return tuple(kept)


def _blockers(machine: Machine, device: str, prediction: Prediction) -> list[Function]:
    """Functions that do not isolate, in the device's group or above it."""
    known = {function.address: function for function in machine.functions}
    near = set(prediction.group_of(device)) | {device}
    for address in list(near):
        bridge = known.get(known[address].port)
        while bridge and bridge.address not in near:
            near.add(bridge.address)
            bridge = known.get(bridge.port)
    return [known[one] for one in sorted(near) if not prediction.judgements[one].isolates]


def _remedies(machine: Machine, device: str, plain: Prediction, setting: Setting) -> Iterator[Remedy]:
    """In the order in which they are to be tried: real isolation first."""
    blockers = _blockers(machine, device, plain)
    if slots := list(_free_slots(machine, plain)):
        yield Remedy(
            "other slot",
            f"move the card to the slot of {', '.join(slots)}: isolated, and nothing is in it",
            True,
        )
    yield Remedy("firmware", _firmware_text(blockers))
    for one in blockers:
        if one.acs and one.acs.capability & iommu.REQUIRED:
            entry = f"xx111x1@{one.address}"
            yield Remedy(
                "config_acs",
                f'"pci=config_acs={entry}" switches real isolation on at {one.address} (quoted in grub.cfg)',
                setting.knows_config_acs and _frees_by_config(machine, device, entry, setting),
            )
    ids = sorted({f"id:{one.id}" for one in blockers if one.is_port and not iommu.find_obstacle(one)})
    if ids:
        yield Remedy("id", f"pcie_acs_override={','.join(ids)}", is_freed(machine, device, ids, setting))
    for words in (("downstream",), ("multifunction",), BOTH):
        text = f"pcie_acs_override={','.join(words)}"
        yield Remedy(words[-1], text, is_freed(machine, device, words, setting))


def _frees_by_config(machine: Machine, device: str, entry: str, setting: Setting) -> bool:
    return is_freed(machine, device, (), replace(setting, config_acs=entry))


def _free_slots(machine: Machine, plain: Prediction) -> Iterator[str]:
    """Ports that isolate, up to the root, with nothing behind them."""
    occupied = {function.port for function in machine.functions}
    known = {function.address: function for function in machine.functions}
    for function in machine.functions:
        if not function.is_port or function.address in occupied:
            continue
        way = [function, *iommu.bridges_above(function, known)]
        if all(plain.judgements[one.address].isolates for one in way):
            yield function.address


def _firmware_text(blockers: Sequence[Function]) -> str:
    ports = [one for one in blockers if one.is_port and not one.acs]
    if any(one.vendor == 0x1022 for one in ports):
        return "AMD boards: set ACS Enable, and AER with it, in the firmware's NBIO options; the ports then show ACS"
    if ports:
        return f"look for a firmware setting named ACS or PCIe isolation: {ports[0].address} has no ACS capability now"
    return "none is known to help: what joins the group is not a port without ACS"


def _also_touched(machine: Machine, words: Sequence[str], device: str, setting: Setting) -> Iterator[str]:
    """Other functions that the words speak for besides those between the device and the root."""
    known = {function.address: function for function in machine.functions}
    own = {one.address for one in (known[device], *iommu.bridges_above(known[device], known))}
    for address in sorted(iommu.predict(machine.functions, words, setting).overridden):
        if address not in own and known[address].slot != known[device].slot:
            yield address
