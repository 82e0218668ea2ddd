"""A PCI function as far as isolation and DMA depend on it, and the registers that say so.

PCI Express Base Specification 5.0, sections 7.5.3.2 (device/port type) and 7.7.8 (access control services).
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from hostwright.base.address import Address

# The port of a function on a root bus.
ROOT = ""


class Kind(Enum):
    """What a function is on the bus: the device/port type of its PCIe capability, or CONVENTIONAL without one."""

    CONVENTIONAL = "conventional"
    ENDPOINT = "endpoint"
    LEGACY_ENDPOINT = "legacy endpoint"
    ROOT_PORT = "root port"
    UPSTREAM = "upstream port"
    DOWNSTREAM = "downstream port"
    PCI_BRIDGE = "bridge to conventional PCI"
    PCIE_BRIDGE = "bridge from conventional PCI"
    ROOT_COMPLEX_ENDPOINT = "integrated endpoint"
    EVENT_COLLECTOR = "event collector"
    RESERVED = "reserved type"


# Device/port type of the PCI Express capabilities register, bits 7:4.
PCIE_TYPES = {
    0: Kind.ENDPOINT,
    1: Kind.LEGACY_ENDPOINT,
    4: Kind.ROOT_PORT,
    5: Kind.UPSTREAM,
    6: Kind.DOWNSTREAM,
    7: Kind.PCI_BRIDGE,
    8: Kind.PCIE_BRIDGE,
    9: Kind.ROOT_COMPLEX_ENDPOINT,
    10: Kind.EVENT_COLLECTOR,
}

# Bits of the ACS capability and control registers, lowest first.
SOURCE_VALIDATION = 0x01
TRANSLATION_BLOCKING = 0x02
REQUEST_REDIRECT = 0x04
COMPLETION_REDIRECT = 0x08
UPSTREAM_FORWARDING = 0x10
EGRESS_CONTROL = 0x20
DIRECT_TRANSLATED = 0x40
ACS_BITS = 0x7F


@dataclass(frozen=True)
class Acs:
    """The ACS capability: which controls a function has, and which of them firmware had switched on.

    `firmware` is None when the kernel had already set its own.
    """

    capability: int
    firmware: int | None = 0


# A port that has all that isolation needs, as QEMU's pcie-root-port: all but egress control.
FULL_ACS = Acs(ACS_BITS & ~EGRESS_CONTROL)


@dataclass(frozen=True)
class Addressed:
    """What sits at an address dddd:bb:dd.f; the text is the key of mappings and of every report."""

    address: str

    @cached_property
    def place(self) -> Address:
        """The address as numbers."""
        return Address.parse(self.address)

    @property
    def bus(self) -> str:
        """Domain and bus of the address."""
        return self.place.bus_name

    @property
    def slot(self) -> str:
        """The address without the function's number."""
        return self.place.slot_name


@dataclass(frozen=True)
class Function(Addressed):
    """A PCI function; `port` is the address of the bridge it sits behind, ROOT on a root bus.

    `multifunction` as the kernel sees it: never for a virtual function. `owner` is the function whose requester id its
    DMA carries when that is another one (Intel VMD). `alias`: the device and function number on its bus that its DMA
    carries besides its own, as firmware says (IVRS). `has_iommu`: an IOMMU translates its DMA. Ids as in lspci -n.
    """

    id: str
    kind: Kind
    port: str = ROOT
    acs: Acs | None = None
    multifunction: bool = False
    class_code: int = 0
    subsystem: str = ""
    owner: str = ""
    alias: int | None = None
    has_iommu: bool = True

    @property
    def devfn(self) -> int:
        """Device and function number in one byte, as in a requester id."""
        return self.place.devfn

    @property
    def vendor(self) -> int:
        """The vendor id."""
        return int(self.id.partition(":")[0], 16)

    @property
    def device(self) -> int:
        """The device id."""
        return int(self.id.partition(":")[2], 16)

    @property
    def is_port(self) -> bool:
        """A root port or a switch's downstream port."""
        return self.kind in (Kind.ROOT_PORT, Kind.DOWNSTREAM)
