"""What is known about a machine's PCI devices, from whatever source: the values that a capture is read into.

hostwright.capture, hostwright.lspci --> Capture --> hostwright.groups
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hostwright.pci import registers
from hostwright.pci.function import ROOT, Addressed

HINT = "make it with hostwright-capture, or with: lspci -nn -vvvxxxx >FILE, both as root"


@dataclass(frozen=True)
class Bar:
    """A base address register: `size` in bytes, `start` 0 where firmware gave it no place."""

    index: int
    start: int
    size: int
    is_memory: bool = True
    is_64bit: bool = False
    is_prefetchable: bool = False


@dataclass(frozen=True)
class ReservedRegion:
    """A range that the IOMMU driver keeps, both ends included: `direct`, `direct-relaxable`, `msi`, `reserved`."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Group:
    """An IOMMU group as the kernel had made it: the type of its domain and its reserved regions."""

    number: str
    type: str = ""
    regions: tuple[ReservedRegion, ...] = ()


@dataclass(frozen=True)
class PciFunction(Addressed):
    """A PCI function: ids as in lspci -n, `class_code` of six digits.

    `parent` is the address of the bridge it sits behind, ROOT on a root bus, None where the source does not say.
    `owner` is the device that its whole domain is behind (Intel VMD), `physical` the function that a virtual one is of.
    `config` is as much of the configuration space as there is, `is_whole` whether the kernel sees no more of it; one
    that `is_silent`, all ones, is left out.
    """

    id: str
    class_code: int
    subsystem: str = ""
    revision: int | None = None
    driver: str = ""
    driver_override: str = ""
    bars: tuple[Bar, ...] = ()
    config: bytes = b""
    is_whole: bool = False
    resets: tuple[str, ...] | None = None
    numa_node: int | None = None
    group: str | None = None
    parent: str | None = None
    owner: str = ""
    physical: str = ""
    is_boot_vga: bool = False
    is_silent: bool = False

    @property
    def is_bridge(self) -> bool:
        """Class 06 04: what may stay in a group that is passed through."""
        return self.class_code >> 8 == 0x0604


@dataclass(frozen=True)
class Mount:
    """A block device, by its name in sysfs, and where it is mounted."""

    block: str
    point: str


@dataclass(frozen=True)
class Capture:
    """One machine. `functions` in the order of their addresses.

    `release` to `cpuinfo` are texts as in /proc, and `dmesg` lines of the kernel log; empty where there were none.
    `mounted` is what the device numbers of mounts say, `lower` what each disk or interface is made of, by name,
    `default_routes` the interfaces of those. `classes` maps a class and an entry of it to its path in sysfs; `missing`
    names what the source does not carry. `settings` is what its owner has set on a host of Hostwright over host.toml.
    """

    source: str
    functions: tuple[PciFunction, ...]
    groups: Mapping[str, Group] = field(default_factory=dict)
    release: str = ""
    cmdline: str = ""
    mounts: str = ""
    swaps: str = ""
    iomem: str = ""
    meminfo: str = ""
    cpuinfo: str = ""
    dmesg: str = ""
    mounted: tuple[Mount, ...] = ()
    lower: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_routes: tuple[str, ...] = ()
    settings: str = ""
    tables: Mapping[str, bytes] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    dmi: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def by_address(self) -> dict[str, PciFunction]:
        """The functions by their addresses."""
        return {function.address: function for function in self.functions}

    @property
    def has_iommu(self) -> bool:
        """Whether an IOMMU was at work when the capture was made."""
        return any(function.group is not None for function in self.functions)


# What all sources have in common.


def join_id(pair: tuple[int | None, int | None]) -> str:
    """Vendor and device id as vvvv:dddd; empty where one of them is unknown."""
    first, second = pair
    return "" if first is None or second is None else f"{first & 0xFFFF:04x}:{second & 0xFFFF:04x}"


def fill_parents(functions: list[PciFunction]) -> list[PciFunction]:
    """Where no path names the bridge, the bus numbers of the bridges do; None where those are unknown too."""
    behind: dict[tuple[int, int], str] = {}
    unknown = set()
    for function in functions:
        secondary = registers.secondary_bus(function.config)
        if secondary:
            behind[function.place.domain, secondary] = function.address
        elif function.is_bridge:
            unknown.add(function.place.domain)

    def find_parent(function: PciFunction) -> str | None:
        """A bus that is behind no bridge is a root bus, once all bridges are known."""
        place = function.place
        return behind.get((place.domain, place.bus), None if place.domain in unknown else ROOT)

    return [one if one.parent is not None else replace(one, parent=find_parent(one)) for one in functions]


def with_missing(capture: Capture) -> Capture:
    """The capture with what it lacks named."""
    short = [
        one.address
        for one in capture.functions
        if not one.is_whole and registers.has_capabilities(one.config)
    ]
    blind = [one.address for one in capture.functions if not one.config]
    reasons = [
        (short, f"most of the configuration space of {_some(short)}: capture as root, lspci with -xxxx"),
        (blind, f"the configuration space of {_some(blind)}"),
        (not capture.has_iommu, "IOMMU groups: the IOMMU is off, or the source does not say"),
        (not capture.release, "the kernel's release"),
        (not capture.cmdline, "the kernel's command line"),
        (
            not capture.tables,
            "the ACPI tables DMAR and IVRS: there is no IOMMU, or they can be read by root alone",
        ),
    ]
    return replace(capture, missing=tuple(text for lacks, text in reasons if lacks))


def _some(addresses: list[str]) -> str:
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    return ", ".join(addresses[:3]) + more


_CLASSES = {
    0x01: "storage", 0x02: "network", 0x03: "display", 0x04: "audio/video", 0x05: "memory", 0x06: "bridge",
    0x07: "serial", 0x08: "system", 0x09: "input", 0x0C: "bus controller", 0x0D: "wireless", 0x12: "accelerator",
}  # fmt: skip
_SUBCLASSES = {
    0x0106: "SATA", 0x0108: "NVMe", 0x0600: "host bridge", 0x0601: "ISA bridge", 0x0604: "PCI bridge",
    0x0C03: "USB", 0x0C05: "SMBus", 0x0403: "audio", 0x0300: "VGA", 0x0302: "3D", 0x1200: "accelerator",
}  # fmt: skip


def name_class(function: PciFunction) -> str:
    """What a class code stands for, in a word or two (PCI Code and ID Assignment 1.11)."""
    code = function.class_code >> 8
    return _SUBCLASSES.get(code) or _CLASSES.get(code >> 8) or f"class {code:04x}"
