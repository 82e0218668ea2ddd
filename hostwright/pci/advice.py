"""What frees a device from its IOMMU group: the smallest override, and the remedies that come before it."""

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from hostwright.pci import iommu, isolation
from hostwright.pci.function import Function
from hostwright.pci.hierarchy import Hierarchy
from hostwright.pci.iommu import Prediction
from hostwright.pci.isolation import Setting

Predict = Callable[[tuple[str, ...]], Prediction]

BOTH = ("downstream", "multifunction")


@dataclass(frozen=True)
class Remedy:
    """Something that may free a device; `does` is whether the prediction says so, None where none can be made."""

    kind: str
    text: str
    does: bool | None = None


@dataclass(frozen=True)
class Advice:
    """What keeps a device from a guest, and what to try, best first; `smallest` are the fewest words that free it.

    `smallest` is None where no word does, and empty where none is needed.
    """

    device: str
    is_free: bool
    companions: tuple[str, ...]
    remedies: tuple[Remedy, ...] = ()
    smallest: tuple[str, ...] | None = None
    spared: tuple[str, ...] = field(default=())


# Advice.


def advise(machine: Hierarchy, device: str, setting: Setting) -> Advice:
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


def _strangers(machine: Hierarchy, device: str, prediction: Prediction) -> Iterator[str]:
    """Members of a device's group that would have to go with it although they are no bridges and not of its slot."""
    known = machine.capture.by_address
    for address in prediction.group_of(device):
        if not known[address].is_bridge and known[address].slot != known[device].slot:
            yield address


def is_freed(machine: Hierarchy, device: str, words: Sequence[str], setting: Setting) -> bool:
    """Whether the device is free under these words."""
    return not any(_strangers(machine, device, iommu.predict(machine.functions, words, setting)))


def find_smallest(
    machine: Hierarchy,
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
    ids = sorted({f"id:{one.id}" for one in blockers if not isolation.find_obstacle(one)})
    if not ids or not is_free(ids[: isolation.MAX_IDS]):
        return next((words for words in (("downstream",), ("multifunction",), BOTH) if is_free(words)), None)
    return _shorten(ids[: isolation.MAX_IDS], is_free)


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


def _blockers(machine: Hierarchy, device: str, prediction: Prediction) -> list[Function]:
    """Functions that do not isolate, in the device's group or above it."""
    known = {function.address: function for function in machine.functions}
    near = set(prediction.group_of(device)) | {device}
    for address in list(near):
        bridge = known.get(known[address].port)
        while bridge and bridge.address not in near:
            near.add(bridge.address)
            bridge = known.get(bridge.port)
    return [known[one] for one in sorted(near) if not prediction.judgements[one].isolates]


def _remedies(machine: Hierarchy, device: str, plain: Prediction, setting: Setting) -> Iterator[Remedy]:
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
        if one.acs and one.acs.capability & isolation.REQUIRED:
            entry = f"xx111x1@{one.address}"
            yield Remedy(
                "config_acs",
                f'"pci=config_acs={entry}" switches real isolation on at {one.address} (quoted in grub.cfg)',
                setting.knows_config_acs and _frees_by_config(machine, device, entry, setting),
            )
    ids = sorted({f"id:{one.id}" for one in blockers if one.is_port and not isolation.find_obstacle(one)})
    if ids:
        yield Remedy("id", f"pcie_acs_override={','.join(ids)}", is_freed(machine, device, ids, setting))
    for words in (("downstream",), ("multifunction",), BOTH):
        text = f"pcie_acs_override={','.join(words)}"
        yield Remedy(words[-1], text, is_freed(machine, device, words, setting))


def _frees_by_config(machine: Hierarchy, device: str, entry: str, setting: Setting) -> bool:
    return is_freed(machine, device, (), replace(setting, config_acs=entry))


def _free_slots(machine: Hierarchy, plain: Prediction) -> Iterator[str]:
    """Ports that isolate, up to the root, with nothing behind them."""
    occupied = {function.port for function in machine.functions}
    known = {function.address: function for function in machine.functions}
    for function in machine.functions:
        if not function.is_port or function.address in occupied:
            continue
        way = [function, *isolation.bridges_above(function, known)]
        if all(plain.judgements[one.address].isolates for one in way):
            yield function.address


def _firmware_text(blockers: Sequence[Function]) -> str:
    ports = [one for one in blockers if one.is_port and not one.acs]
    if any(one.vendor == 0x1022 for one in ports):
        return "AMD boards: set ACS Enable, and AER with it, in the firmware's NBIO options; the ports then show ACS"
    if ports:
        return f"look for a firmware setting named ACS or PCIe isolation: {ports[0].address} has no ACS capability now"
    return "none is known to help: what joins the group is not a port without ACS"


def _also_touched(machine: Hierarchy, words: Sequence[str], device: str, setting: Setting) -> Iterator[str]:
    """Other functions that the words speak for besides those between the device and the root."""
    known = {function.address: function for function in machine.functions}
    own = {one.address for one in (known[device], *isolation.bridges_above(known[device], known))}
    for address in sorted(iommu.predict(machine.functions, words, setting).overridden):
        if address not in own and known[address].slot != known[device].slot:
            yield address
