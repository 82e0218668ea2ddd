"""Topologies of a q35 that can be booted to see the IOMMU groups of a kernel: pure.

    GOLDEN, generate(seed) -> Topology   the content of one slot of the root bus, and everything behind it
    place([Topology, ...])  -> Placed    every function with its address and QEMU's option for it

One machine contains many topologies, each in a slot of the root bus. Bus numbers are those of SeaBIOS: depth first, in
the order of slots and functions. The models are facts about QEMU 10.0; every boot checks them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hostwright.base.address import Address
from hostwright.pci.function import FULL_ACS, ROOT, Acs, Function, Kind

# The q35's own devices are in slots 00 and 1f.
FIRST_SLOT, LAST_SLOT = 0x01, 0x1E
# SeaBIOS stops without a message if the windows of bridges do not fit: 4 KiB of I/O each, below 0xa000.
MAX_BUSES, MAX_IO_WINDOWS = 100, 8

BOARD = (
    Function("0000:00:00.0", "8086:29c0", Kind.CONVENTIONAL),
    Function("0000:00:1f.0", "8086:2918", Kind.CONVENTIONAL, multifunction=True),
    Function("0000:00:1f.2", "8086:2922", Kind.CONVENTIONAL, multifunction=True),
    Function("0000:00:1f.3", "8086:2930", Kind.CONVENTIONAL, multifunction=True),
)


@dataclass(frozen=True)
class Model:
    """A device of QEMU.

    `kind` applies behind a PCIe port. `vf_id`, `vf_offset` and `vf_stride` are set if it has virtual functions.
    `has_io`: it uses I/O ports, so every bridge above it needs a window for them. `companion` is a further device of
    QEMU that it needs; `@` in either option stands for a unique name.
    """

    option: str
    id: str
    kind: Kind
    acs: Acs | None = None
    vf_id: str = ""
    vf_offset: int = 0
    vf_stride: int = 0
    has_io: bool = False
    companion: str = ""

    @property
    def is_bridge(self) -> bool:
        """Whether the device has a bus below it."""
        return self.kind not in (Kind.ENDPOINT, Kind.CONVENTIONAL) or "bridge" in self.option


PORT = Model("pcie-root-port,io-reserve=0,mem-reserve=4M", "1b36:000c", Kind.ROOT_PORT, FULL_ACS)
BAD_PORT = Model("pcie-root-port,io-reserve=0,mem-reserve=4M,disable-acs=on", "1b36:000c", Kind.ROOT_PORT)
OLD_PORT = Model("ioh3420", "8086:3420", Kind.ROOT_PORT)
UPSTREAM = Model("x3130-upstream", "104c:8232", Kind.UPSTREAM)
DOWNSTREAM = Model("xio3130-downstream", "104c:8233", Kind.DOWNSTREAM)
PCI_BRIDGE = Model("pcie-pci-bridge,msi=off", "1b36:000e", Kind.PCI_BRIDGE)
PLAIN_BRIDGE = Model("pci-bridge,shpc=off,msi=off", "1b36:0001", Kind.CONVENTIONAL)
DMI_BRIDGE = Model("i82801b11-bridge", "8086:244e", Kind.CONVENTIONAL)

NVME = Model("nvme,serial=T", "1b36:0010", Kind.ENDPOINT)
XHCI = Model("qemu-xhci", "1b36:000d", Kind.ENDPOINT)
DISPLAY = Model("bochs-display", "1234:1111", Kind.ENDPOINT)
OLD_XHCI = Model("nec-usb-xhci", "1033:0194", Kind.ENDPOINT)
NIC = Model("e1000e,romfile=", "8086:10d3", Kind.ENDPOINT, has_io=True)
# The kernel has a quirk: the functions of this device are isolated.
IGB = Model("igb,romfile=", "8086:10c9", Kind.ENDPOINT, None, "8086:10ca", 0x80, 2, has_io=True)
NVME_VFS = Model(
    "nvme,serial=T,subsys=@,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2,max_ioqpairs=6,msix_qsize=7",
    "1b36:0010", Kind.ENDPOINT, None, "1b36:0010", 1, 1, companion="nvme-subsys,id=@",
)  # fmt: skip
EDU = Model("edu", "1234:11e8", Kind.CONVENTIONAL)
SOUND = Model("intel-hda", "8086:2668", Kind.CONVENTIONAL)
SD = Model("sdhci-pci", "1b36:0007", Kind.CONVENTIONAL)

PORTS = (PORT, BAD_PORT, OLD_PORT)
ENDPOINTS = (NVME, XHCI, OLD_XHCI, DISPLAY)
CONVENTIONAL = (EDU, SOUND, SD)


@dataclass(frozen=True)
class Node:
    """One function; `below` are the slots of a bridge's bus, `vfs` is the number of virtual functions to enable."""

    model: Model
    below: tuple["Slot", ...] = ()
    vfs: int = 0


@dataclass(frozen=True)
class Slot:
    """The functions of one slot, from 0 on; `claims_more` sets the multifunction bit of a single function."""

    functions: tuple[Node, ...]
    number: int = 0
    claims_more: bool = False

    @property
    def is_multifunction(self) -> bool:
        """Whether function 0 has the multifunction bit."""
        return len(self.functions) > 1 or self.claims_more


@dataclass(frozen=True)
class Topology:
    """A slot of the root bus with everything behind it."""

    name: str
    slot: Slot


def port(*below: Node, model: Model = PORT, claims_more: bool = False) -> Node:
    """A port with the functions of one slot behind it."""
    return Node(model, (Slot(below, 0, claims_more),) if below else ())


def switch(*downstream: Slot, more: tuple[Node, ...] = ()) -> tuple[Node, ...]:
    """The functions of a slot that holds a switch; `more` are functions beside its upstream port."""
    return (Node(UPSTREAM, downstream), *more)


def _down(*below: Node) -> Node:
    return port(*below, model=DOWNSTREAM)


def _bridge(*below: Node, model: Model = PCI_BRIDGE) -> Node:
    return Node(model, tuple(Slot((node,), number) for number, node in enumerate(below, 1)))


_END, _TWO = Node(DISPLAY), (Node(DISPLAY), Node(NVME))

GOLDEN = (
    Topology("T1", Slot((port(_END),))),
    Topology("T2", Slot((port(_END, model=BAD_PORT),))),
    Topology("T3", Slot((port(_END, model=BAD_PORT), port(Node(NVME), model=BAD_PORT)))),
    Topology("T4", Slot((port(*_TWO),))),
    Topology("T5", Slot((port(*_TWO, model=BAD_PORT),))),
    Topology("T6", Slot((port(*switch(Slot((_down(_END),), 0), Slot((_down(Node(NVME)),), 1))),))),
    Topology("T7", Slot((port(*switch(Slot((_down(_END), _down(Node(NVME))), 0))),))),
    Topology("T8", Slot((port(_bridge(Node(EDU), Node(SOUND))),))),
    # The words of T9 and T10 name the ids of these ports and functions.
    Topology("T9", Slot((port(*_TWO, model=OLD_PORT),))),
    Topology("T10", Slot((port(Node(XHCI), Node(XHCI)),))),
)


# Addresses.


@dataclass(frozen=True)
class Placed:
    """A function of the machine: QEMU's -device options, empty for the board's own; `vfs` to enable here."""

    topology: str
    function: Function
    options: tuple[str, ...] = ()
    vfs: int = 0


@dataclass
class _Counter:
    """The last assigned bus number, and the list of functions."""

    bus: int = 0
    placed: list[Placed] = field(default_factory=list)


def place(topologies: Sequence[Topology]) -> tuple[Placed, ...]:
    """Every function of a machine with these topologies in its slots from FIRST_SLOT on; the board's own come first."""
    counter = _Counter()
    for number, topology in enumerate(topologies, FIRST_SLOT):
        slot = Slot(topology.slot.functions, number, topology.slot.claims_more)
        _place_bus((slot,), _Bus(0, "pcie.0", ROOT, topology.name), counter)
    return (*(Placed("board", function) for function in BOARD), *counter.placed)


@dataclass(frozen=True)
class _Bus:
    """A bus in progress: its number, QEMU's name for it, the address of its bridge."""

    number: int
    name: str
    port: str
    topology: str
    is_conventional: bool = False


def _place_bus(slots: Sequence[Slot], bus: _Bus, counter: _Counter) -> None:
    for slot in sorted(slots, key=lambda one: one.number):
        for number, node in enumerate(slot.functions):
            _place_node(node, slot, number, bus, counter)


def _place_node(node: Node, slot: Slot, number: int, bus: _Bus, counter: _Counter) -> None:
    model = node.model
    address = str(Address(0, bus.number, slot.number, number))
    function = Function(
        address, model.id, _kind_on(model, bus), bus.port, model.acs, multifunction=slot.is_multifunction
    )
    option = f"{model.option},bus={bus.name},addr={slot.number:02x}.{number}"
    if slot.is_multifunction:
        option += ",multifunction=on"
    below = None
    if model.is_bridge:
        counter.bus += 1
        below = _Bus(counter.bus, f"b{counter.bus}", address, bus.topology, _is_conventional(model))
        option += f",id={below.name}{_chassis(model, counter.bus)}"
    name = f"s{len(counter.placed)}"
    options = tuple(one.replace("@", name) for one in (model.companion, option) if one)
    counter.placed.append(Placed(bus.topology, function, options, node.vfs))
    counter.placed += [Placed(bus.topology, one) for one in _virtual_functions(node, function)]
    if below:
        _place_bus(node.below, below, counter)


def _kind_on(model: Model, bus: _Bus) -> Kind:
    """PCIe endpoints on the root bus are integrated; on a conventional bus they have no PCIe capability."""
    if model.kind is not Kind.ENDPOINT:
        return model.kind
    if bus.is_conventional:
        return Kind.CONVENTIONAL
    return Kind.ROOT_COMPLEX_ENDPOINT if bus.port == ROOT else Kind.ENDPOINT


def _is_conventional(model: Model) -> bool:
    return model in (PCI_BRIDGE, PLAIN_BRIDGE, DMI_BRIDGE)


def _chassis(model: Model, number: int) -> str:
    if model is PLAIN_BRIDGE:
        return f",chassis_nr={number}"
    return "" if model in (PCI_BRIDGE, DMI_BRIDGE, UPSTREAM) else f",chassis={number},slot={number}"


def _virtual_functions(node: Node, physical: Function) -> Iterator[Function]:
    """The ids that First VF Offset and VF Stride of the SR-IOV capability give (PCIe 5.0, section 9.2.1.2)."""
    model = node.model
    for number in range(node.vfs):
        devfn = physical.devfn + model.vf_offset + number * model.vf_stride
        place = replace(physical.place, device=devfn >> 3, function=devfn & 7)
        yield Function(str(place), model.vf_id, physical.kind, physical.port)


def count_buses(topology: Topology) -> int:
    """The number of buses that a topology adds."""
    return sum(node.model.is_bridge for node in _nodes(topology.slot))


def count_io_windows(topology: Topology) -> int:
    """The number of its bridges that need a window for I/O ports."""
    bridges = (node for node in _nodes(topology.slot) if node.model.is_bridge)
    return sum(any(one.model.has_io for slot in bridge.below for one in _nodes(slot)) for bridge in bridges)


def _nodes(slot: Slot) -> Iterator[Node]:
    """Every node of a slot and below."""
    for node in slot.functions:
        yield node
        for below in node.below:
            yield from _nodes(below)


def fill_machines(topologies: Sequence[Topology]) -> list[tuple[Topology, ...]]:
    """The topologies in their order, in as few machines as possible."""
    machines: list[tuple[Topology, ...]] = []
    for topology in topologies:
        if machines and _fits((*machines[-1], topology)):
            machines[-1] = (*machines[-1], topology)
        else:
            machines.append((topology,))
    return machines


def _fits(machine: Sequence[Topology]) -> bool:
    return (
        len(machine) <= LAST_SLOT - FIRST_SLOT + 1
        and sum(map(count_buses, machine)) <= MAX_BUSES
        and sum(map(count_io_windows, machine)) <= MAX_IO_WINDOWS
    )
