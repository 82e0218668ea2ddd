"""The IOMMU groups of a captured machine: now, and as predicted for each override; what frees a device.

    Capture --describe--> Machine (functions as the kernel sees them) --examine--> Report --advise--> Advice

Pure. A source that lacks what the kernel's rules ask for gets no prediction: `Machine.obstacles` says why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import takewhile

from hostwright.base.address import Address
from hostwright.base.errors import UserError
from hostwright.pci import iommu, isolation
from hostwright.pci.advice import BOTH, Advice, advise
from hostwright.pci.function import Acs, Function, Kind
from hostwright.pci.hierarchy import Hierarchy, find_series
from hostwright.pci.inventory import Capture
from hostwright.pci.iommu import Prediction
from hostwright.pci.isolation import Isolation, Setting

COMMON = (("none", ()), ("downstream", ("downstream",)), ("multifunction", ("multifunction",)))


class Label(Enum):
    """What keeps a device's group apart from the others: the weakest of all that do.

    ASSUMED: the kernel parts the group where nothing isolates, such as at ports in slots of their own.
    """

    HARDWARE = "hardware"
    QUIRK = "quirk"
    ASSUMED = "assumed"
    OVERRIDE = "override (unsafe)"


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

    machine: Hierarchy
    series: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    advice: "Advice | None" = None


# The report.


def examine(
    machine: Hierarchy, override: Sequence[str] = (), setting: Setting | None = None, device: str = ""
) -> Report:
    """Now and predicted, for the common overrides and the requested one; advice for a device.

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
    try:
        wanted = Address.parse(device)
    except ValueError:
        return "addresses are like 0000:82:00.0"
    near = [one.address for one in capture.functions if one.place.devfn == wanted.devfn]
    return f"did you mean {near[0]}?" if near else "addresses are like 0000:82:00.0"


def _refused(override: Sequence[str]) -> Iterator[str]:
    for word in isolation.parse_override(override).refused:
        yield f"pcie_acs_override={word} is without effect: words are downstream, multifunction, id:vvvv:dddd"


def _predict(machine: Hierarchy, name: str, words: Sequence[str], setting: Setting) -> Column:
    prediction = iommu.predict(machine.functions, words, setting)
    numbers: dict[str, int] = {}
    for number, group in enumerate(sorted(prediction.groups, key=lambda one: min(map(Address.parse, one)))):
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


def _find_differences(machine: Hierarchy, setting: Setting) -> Iterator[str]:
    """Groups that the kernel made otherwise than predicted for its own command line."""
    capture = machine.capture
    if not capture.has_iommu:
        return
    now: dict[str, set[str]] = {}
    for one in capture.functions:
        if one.group is not None:
            now.setdefault(one.group, set()).add(one.address)
    words = current_words(capture.cmdline)
    setting_now = current_setting(capture.cmdline, find_series(capture.release))
    own = replace(_as_far_as_read(setting_now, machine.functions[0]), platform=setting.platform)
    predicted = iommu.predict(machine.functions, words, own).groups
    for number, group in sorted(now.items()):
        if frozenset(group) not in predicted:
            yield f"group {number} is {' '.join(sorted(group))}: not as predicted for the kernel that was running"


def _as_far_as_read(setting: Setting, any_one: Function) -> Setting:
    """__pci_config_acs(): the kernel warns of the first entry that it cannot read, and leaves it and those after it."""

    def is_read(alone: Setting) -> bool:
        try:
            isolation.find_control(any_one, Acs(0), alone)
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
