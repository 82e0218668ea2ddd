"""A captured machine as the hierarchy of functions from which groups are predicted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hostwright.formats import iommu_tables
from hostwright.pci import firmware, isolation, quirks, registers
from hostwright.pci.function import ROOT, Function, Kind
from hostwright.pci.inventory import Capture, PciFunction
from hostwright.pci.quirks import Platform

_LPC, _RCBA = "0000:00:1f.0", 0xF0


@dataclass(frozen=True)
class Hierarchy:
    """The functions of a capture as the kernel's rules see them, or why they are not known well enough."""

    capture: Capture
    functions: tuple[Function, ...]
    platform: Platform
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


# From a capture to what the rules see.


def describe(capture: Capture) -> Hierarchy:
    """The functions of a capture, bridges first; an obstacle for each thing that a prediction would have to guess."""
    known = capture.by_address
    platform = Platform(
        has_ivrs="IVRS" in capture.tables or any("ivhd" in name for name in capture.classes.get("iommu", ())),
        has_rcba=_find_rcba(known.get(_LPC)),
    )
    functions: dict[str, Function] = {}
    aliases = firmware.find_aliases(capture)
    for one in sorted(capture.functions, key=lambda one: _depth(one, known)):
        function = _describe_function(one, functions, capture)
        functions[one.address] = replace(function, alias=aliases.get(one.address))
    ordered = tuple(functions[one.address] for one in capture.functions)
    notes = (*_find_notes(ordered, platform), *_find_table_notes(capture, platform))
    return Hierarchy(capture, ordered, platform, tuple(_find_obstacles(capture)), notes)


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
    claims = registers.is_multifunction(one.config) or one.place.function != 0
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
    older = [one for one in isolation.SERIES if [int(part) for part in one.split(".")] <= digits]
    return older[-1] if older else isolation.SERIES[0]
