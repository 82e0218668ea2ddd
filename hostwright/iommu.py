"""IOMMU groups as Linux makes them, predicted from the topology of a machine.

    functions + words of pcie_acs_override= -> predict -> groups, and the functions that the words speak for

The rules are those of drivers/iommu/iommu.c pci_device_group() and drivers/pci/pci.c pci_acs_enabled() of Linux 6.12;
those of the override are in patches/linux/6.12/0001-pci-acs-override.patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a function is on the bus: the device/port type of its PCIe capability, or CONVENTIONAL without one."""

    CONVENTIONAL = "conventional"
    ROOT_PORT = "root port"
    UPSTREAM = "upstream port"
    DOWNSTREAM = "downstream port"
    PCI_BRIDGE = "bridge to conventional PCI"
    ENDPOINT = "endpoint"


@dataclass(frozen=True)
class Function:
    """A PCI function; `port` is the address of the bridge it sits behind, empty on the root bus.

    `has_acs`: it has an ACS capability with source validation, request and completion redirect and upstream forwarding.
    """

    address: str
    id: str
    kind: Kind
    port: str = ""
    has_acs: bool = False
    multifunction: bool = False

    @property
    def slot(self) -> str:
        """The address without the function's number."""
        return self.address.rpartition(".")[0]


@dataclass(frozen=True)
class Prediction:
    """`groups` are sets of addresses; `overridden` maps an address to the word that speaks for it."""

    groups: frozenset[frozenset[str]]
    overridden: dict[str, str]


def predict(functions: Sequence[Function], words: Sequence[str]) -> Prediction:
    """The groups of a machine booted with these words of pcie_acs_override=. Bridges come before what is behind."""
    grouping = _Grouping({function.address: function for function in functions}, tuple(words))
    for function in functions:
        grouping.add(function)
    return Prediction(frozenset(frozenset(group) for group in grouping.groups), grouping.overridden)


class _Grouping:
    """Groups in the making: each function joins an earlier one's group or begins its own."""

    def __init__(self, functions: dict[str, Function], words: tuple[str, ...]) -> None:
        self._functions, self._words = functions, words
        self._group_of: dict[str, set[str]] = {}
        self.groups: list[set[str]] = []
        self.overridden: dict[str, str] = {}

    def add(self, function: Function) -> None:
        group = self._find_group(function)
        if group is None:
            group = set()
            self.groups.append(group)
        group.add(function.address)
        self._group_of[function.address] = group

    def _find_group(self, function: Function) -> set[str] | None:
        bridge = self._functions.get(function.port)
        while bridge:
            if self._is_isolated_upward(bridge):
                break
            if bridge.address in self._group_of:
                return self._group_of[bridge.address]
            bridge = self._functions.get(bridge.port)
        return self._find_slot_group(function)

    def _is_isolated_upward(self, bridge: Function | None) -> bool:
        """pci_acs_path_enabled(): every bridge from here to the root must isolate."""
        while bridge:
            if not self._is_isolated(bridge):
                return False
            bridge = self._functions.get(bridge.port)
        return True

    def _find_slot_group(self, function: Function) -> set[str] | None:
        """get_pci_function_alias_group(): functions of one slot that do not isolate are together."""
        if not function.multifunction or self._is_isolated(function):
            return None
        for address, group in self._group_of.items():
            other = self._functions[address]
            if other.slot == function.slot and other.multifunction and not self._is_isolated(other):
                return group
        return None

    def _is_isolated(self, function: Function) -> bool:
        """pci_acs_enabled() with all the flags that grouping asks for; conventional PCI and bridges to it never are."""
        if function.has_acs:
            return True
        if word := _find_override(function, self._words):
            self.overridden[function.address] = word
            return True
        return function.kind in (Kind.ENDPOINT, Kind.UPSTREAM) and not function.multifunction


def _find_override(function: Function, words: Sequence[str]) -> str:
    """The word that speaks for a function without ACS, as the patch names it in the kernel log; empty without one."""
    if function.kind in (Kind.ROOT_PORT, Kind.DOWNSTREAM):
        word = "downstream"
    elif function.kind in (Kind.ENDPOINT, Kind.UPSTREAM) and function.multifunction:
        word = "multifunction"
    else:
        return ""
    if word in words:
        return word
    return "id" if f"id:{function.id}" in words else ""
