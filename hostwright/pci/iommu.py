"""IOMMU groups as Linux makes them, predicted from the topology of a machine.

    functions + Setting --> predict --> groups, why each function isolates or not, whom the override speaks for

The rules and their sources; they are the same in 6.1.176, 6.12.107 and 7.2.8 but for the two parameters of pci= and
for IDT's switches:

    grouping         drivers/iommu/iommu.c: pci_device_group(), get_pci_alias_group(), get_pci_function_alias_group()
    DMA aliases      drivers/pci/search.c: pci_for_each_dma_alias(); drivers/pci/pci.c: pci_devs_are_dma_aliases();
                     drivers/iommu/amd/iommu.c: setup_aliases(), what it adds being read in pci.firmware
    isolation        drivers/pci/pci.c: pci_acs_enabled(), pci_acs_path_enabled(), pci_acs_flags_enabled()
    control bits     drivers/pci/pci.c: pci_enable_acs(), __pci_config_acs(); in 6.1 pci_disable_acs_redir(); in 7.2
                     pci_disable_broken_acs_cap()
    who is meant     drivers/pci/pci.c: pci_dev_str_match(), pci_dev_str_match_path()
    quirks           drivers/pci/quirks.c, in pci.quirks
    override         patches/linux/SERIES/0001-pci-acs-override.patch: drivers/pci/acs-override.c

7.2 sets the control bits when it groups a function (iommu_init_device(), pci_dma_configure()), the others when they
find it: bridges come first in both. It knows a bridge that lends no id (PCI_DEV_FLAGS_PCI_BRIDGE_NO_ALIAS): what is
behind it joins the bridge's group all the same, since a bridge to conventional PCI never isolates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hostwright.pci import quirks
from hostwright.pci.function import Function, Kind
from hostwright.pci.isolation import (
    NEWEST,
    Judgement,
    Override,
    Setting,
    bridges_above,
    judge,
    parse_override,
)

# Bridges that put their own requester id, or that of their bus, on what comes from below.
_ALIASING = (Kind.CONVENTIONAL, Kind.PCI_BRIDGE, Kind.PCIE_BRIDGE)


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

    return sorted(functions, key=lambda one: (depth(one), one.owner != "", one.place))


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
