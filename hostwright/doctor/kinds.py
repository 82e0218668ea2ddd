"""TODO: doctor.kinds."""

from collections.abc import Iterator

from hostwright.doctor.findings import Finding, find
from hostwright.doctor.hostuse import DISPLAY
from hostwright.pci import registers
from hostwright.pci.function import ROOT
from hostwright.pci.inventory import PciFunction, name_class

# Base classes and classes that a person may want to pass: storage, network, display, audio and video, accelerators.
_WANTED = (0x01, 0x02, DISPLAY, 0x04, 0x12)
_WANTED_CLASSES = (0x0B40, 0x0C03)
# The chipset's own: bridges, dummy functions, CXL memory (the host may run on it), SMBus, management engine, sensors.
_CHIPSET = (0x06, 0x13)
_CHIPSET_CLASSES = (0x0502, 0x0C05, 0x0780, 0x1180)
# Memory and system peripherals: the chipset's on a root bus, behind a port also cards (FPGAs, the Coral TPU).
_CHIPSET_OR_CARD = (0x05, 0x08)
# Serial buses without a kind of their own: on a root bus the firmware's flash, behind a port a card's (UCSI).
_OTHER_BUS = 0x0C80
_SD_HOST = 0x0805

_NEVER_PASSED = (0x06,)
_NEVER_PASSED_CLASSES = (0x0502, 0x0C05)
# Drivers that leave DMA to VFIO: driver_managed_dma, which iommu_device_use_default_domain() in drivers/iommu/iommu.c
# looks at. A function without a driver is as harmless.
MANAGED_DMA = ("vfio-pci", "pci-stub", "pcieport")
HARMLESS_DRIVERS = ("", *MANAGED_DMA)


def is_wanted(function: PciFunction) -> bool:
    """Whether a person may want to pass it, by its class."""
    code = function.class_code >> 8
    if code >> 8 in _CHIPSET_OR_CARD:
        return not is_chipset(function) and code != _SD_HOST
    return code >> 8 in _WANTED or code in _WANTED_CLASSES


def is_chipset(function: PciFunction) -> bool:
    """Whether it is a part of the board that nobody passes; a card has memory in a BAR."""
    code = function.class_code >> 8
    if code >> 8 in _CHIPSET_OR_CARD and not any(bar.is_memory for bar in function.bars):
        return True
    return code >> 8 in _CHIPSET or code in _CHIPSET_CLASSES or _is_chipset_by_place(function)


def _is_chipset_by_place(function: PciFunction) -> bool:
    code = function.class_code >> 8
    return (code >> 8 in _CHIPSET_OR_CARD or code == _OTHER_BUS) and _is_on_root_bus(function)


def _is_on_root_bus(function: PciFunction) -> bool:
    """Where the source does not name the bridge, bus 0 is known to be one."""
    return function.parent == ROOT or (function.parent is None and function.place.bus == 0)


# The device.


def list_never_passed() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """First digits of the class codes that are never passed: everywhere, and on a root bus."""
    everywhere = (
        *(f"{code:02x}" for code in _NEVER_PASSED),
        *(f"{code:04x}" for code in _NEVER_PASSED_CLASSES),
    )
    return everywhere, (*(f"{code:02x}" for code in _CHIPSET_OR_CARD), f"{_OTHER_BUS:04x}")


def find_kind(function: PciFunction) -> Iterator[Finding]:
    """What vfio-pci never takes: headers of bridges (vfio_pci_core_register_device()), and the board's own parts."""
    code = function.class_code >> 8
    is_boards = code >> 8 in _NEVER_PASSED or code in _NEVER_PASSED_CLASSES or _is_chipset_by_place(function)
    if registers.is_bridge(function.config) or is_boards:
        what = f"of class {code:04x}, {name_class(function)}"
        yield find("not-passable", device=function.address, what=what)
