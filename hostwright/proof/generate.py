"""Random topologies for the proof of the groups."""

import random
from dataclasses import replace

from hostwright.proof.topologies import (
    CONVENTIONAL,
    DISPLAY,
    DMI_BRIDGE,
    DOWNSTREAM,
    ENDPOINTS,
    IGB,
    NIC,
    NVME_VFS,
    PCI_BRIDGE,
    PLAIN_BRIDGE,
    PORTS,
    UPSTREAM,
    XHCI,
    Model,
    Node,
    Slot,
    Topology,
)

# Random ones.


def generate(seed: int, count: int, *, virtual: bool = True) -> list[Topology]:
    """`count` topologies, the same for the same seed.

    They have no virtual functions if the kernel has no driver for them.
    """
    dice = random.Random(seed)
    made = _Maker(dice, virtual)
    return [Topology(f"R{seed}.{number}", made.make_root_slot()) for number in range(count)]


class _Maker:
    """Draws slots at random; a deeper node is less likely to have more nodes below it."""

    def __init__(self, dice: random.Random, virtual: bool) -> None:
        self._dice, self._virtual = dice, virtual

    def make_root_slot(self) -> Slot:
        """Draw the functions of one slot of the root bus, and everything behind them."""
        kind = self._dice.choices(("ports", "integrated", "mixed", "bridge"), (6, 1, 1, 1))[0]
        count = self._dice.choices((1, 2, 3, 4), (6, 3, 1, 1))[0]
        if kind == "bridge":
            return self._slot((self._make_bridge(2, (PCI_BRIDGE, DMI_BRIDGE)),))
        makers = {"ports": (self._make_port,), "integrated": (self._make_end,)}
        choice = makers.get(kind, (self._make_port, self._make_end))
        functions = [self._dice.choice(choice)(2) for _ in range(count)]
        # In a high slot the ids of virtual functions would exceed the bus.
        return self._slot(tuple(Node(NIC) if one.model.vf_id else one for one in functions))

    def _slot(self, functions: tuple[Node, ...], number: int = 0) -> Slot:
        # Behind a port that forwards alternative routing ids the first function names the next (PCIe 5.0, section
        # 7.8.7); these name none.
        # Their virtual functions depend on function 0 (Function Dependency Link, section 9.3.3.6).
        if len(functions) > 1:
            functions = tuple(replace(one, vfs=0) for one in functions)
            if functions[0].model.vf_id:
                functions = (Node(XHCI), *functions[1:])
        return Slot(functions, number, len(functions) == 1 and self._dice.random() < 0.1)

    def _make_port(self, depth: int) -> Node:
        return Node(self._dice.choice(PORTS), self._make_below(depth))

    def _make_below(self, depth: int) -> tuple[Slot, ...]:
        kind = self._dice.choices(("end", "switch", "bridge", "nothing"), (6, 3 * (depth > 0), depth > 0, 1))[
            0
        ]
        if kind == "end":
            return (self._slot(self._make_card(depth)),)
        if kind == "switch":
            return (self._slot(self._make_switch(depth - 1)),)
        return (self._slot((self._make_bridge(depth - 1, (PCI_BRIDGE,)),)),) if kind == "bridge" else ()

    def _make_card(self, depth: int) -> tuple[Node, ...]:
        count = self._dice.choices((1, 2, 3), (5, 4, 1))[0]
        return tuple(self._make_end(depth) for _ in range(count))

    def _make_end(self, _depth: int) -> Node:
        if self._dice.random() < 0.08:
            return Node(NIC)
        if self._dice.random() < 0.12:
            return Node(
                self._dice.choice((IGB, NVME_VFS)), (), self._dice.choice((0, 1, 2)) if self._virtual else 0
            )
        return Node(self._dice.choice((*ENDPOINTS, *ENDPOINTS, *CONVENTIONAL)))

    def _make_switch(self, depth: int) -> tuple[Node, ...]:
        slots = []
        for number in range(self._dice.choice((1, 2, 2))):
            count = self._dice.choice((1, 1, 2))
            ports = tuple(Node(DOWNSTREAM, self._make_below(depth)) for _ in range(count))
            slots.append(self._slot(ports, number))
        more = (self._make_end(depth),) if self._dice.random() < 0.2 else ()
        return (Node(UPSTREAM, tuple(slots)), *more)

    def _make_bridge(self, depth: int, models: tuple[Model, ...]) -> Node:
        slots = []
        for number in range(1, self._dice.choice((2, 3))):
            deeper = depth > 0 and self._dice.random() < 0.3
            node = self._make_bridge(depth - 1, (PLAIN_BRIDGE,)) if deeper else self._make_conventional()
            slots.append(Slot((node,), number))
        return Node(self._dice.choice(models), tuple(slots))

    def _make_conventional(self) -> Node:
        return Node(self._dice.choice((*CONVENTIONAL, XHCI, DISPLAY)))
