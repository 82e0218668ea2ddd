"""What a capture holds, read from the /sys and /proc of a machine that runs."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hostwright.base.errors import UserError
from hostwright.pci.bounded import MAX_FILE_BYTES, MAX_MEMBERS, MAX_TOTAL_BYTES, too_large
from hostwright.pci.inventory import HINT

MARK = "hostwright-capture"

_ATTRIBUTES = (
    *("vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision", "config", "resource"),
    *("reset_method", "numa_node", "boot_vga", "sriov_numvfs", "sriov_totalvfs", "driver_override"),
)
LINKS = ("driver", "iommu_group", "physfn")
_GROUP_ATTRIBUTES = ("type", "reserved_regions")
CLASSES = ("block", "net", "graphics", "drm", "iommu")
DMI = ("sys_vendor", "product_name", "board_vendor", "board_name", "bios_version", "bios_date")
SETTINGS = "var/lib/hostwright/local/settings"
_PROC = ("sys/kernel/osrelease", "cmdline", "mounts", "swaps", "iomem", "meminfo", "cpuinfo")
TABLES = ("DMAR", "IVRS")


# What the host stands on: its scripts have these tables from doctor/shared.py.


@dataclass(frozen=True)
class Parts:
    """Where links to the parts of a thing are: below FOLDER/NAME in sysfs, each a prefix and the part's name."""

    folder: str
    prefix: str


@dataclass(frozen=True)
class RouteTable:
    """A table below /proc/net: the column of the interface, and those that are zero in a default route."""

    name: str
    interface: int
    zeros: tuple[int, ...]


BLOCK_PARTS = Parts("class/block", "slaves/")
NET_PARTS = Parts("class/net", "lower_")
BTRFS_PARTS = Parts("fs/btrfs", "devices/")
# Default routes have mask 0 in IPv4 (net/ipv4/fib_trie.c), length 0 in IPv6 (net/ipv6/ip6_fib.c).
ROUTE_TABLES = (RouteTable("route", 0, (1, 7)), RouteTable("ipv6_route", 9, (0, 1)))


def read_folder(place: Path) -> dict[str, bytes]:
    """The files of /sys and of /proc beside it, or of an unpacked capture."""
    root = place if (place / "sys").is_dir() else place.parent
    if (place / MARK).is_file():
        return dict(_read_unpacked(place))
    devices = root / "sys/bus/pci/devices" if root is place else place / "bus/pci/devices"
    if not devices.is_dir():
        raise UserError(f"{place}: no PCI devices are described there", HINT)
    sys = devices.parents[2]
    return dict((*_read_devices(devices, sys), *_read_rest(sys, root)))


def _read_unpacked(place: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    for number, file in enumerate(place.rglob("*")):
        if number > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
            raise too_large(place)
        if file.is_file():
            content = _bytes(file)
            total += len(content)
            yield str(file.relative_to(place)), content


def _read_devices(devices: Path, sys: Path) -> Iterator[tuple[str, bytes]]:
    for device in devices.iterdir():
        real = device.resolve()
        path = f"sys/{real.relative_to(sys.resolve())}"
        yield from (
            (f"{path}/{name}", _bytes(real / name)) for name in _ATTRIBUTES if (real / name).is_file()
        )
        links = ((name, real / name) for name in LINKS)
        yield from (
            (f"{path}/{name}", link.readlink().name.encode()) for name, link in links if link.is_symlink()
        )


def _read_rest(sys: Path, root: Path) -> Iterator[tuple[str, bytes]]:
    for group in (sys / "kernel/iommu_groups").glob("*"):
        for name in _GROUP_ATTRIBUTES:
            yield f"sys/kernel/iommu_groups/{group.name}/{name}", _bytes(group / name)
    for name in CLASSES:
        links = ((one.name, one.readlink()) for one in (sys / "class" / name).glob("*") if one.is_symlink())
        yield f"sys/class/{name}", "".join(f"{entry}\t{goal}\n" for entry, goal in links).encode()
    for name in TABLES:
        yield f"sys/firmware/acpi/tables/{name}", _bytes(sys / "firmware/acpi/tables" / name)
    for name in DMI:
        yield f"sys/class/dmi/id/{name}", _bytes(sys / "class/dmi/id" / name)
    for name in _PROC:
        yield f"proc/{name}", _bytes(root / "proc" / name)
    tables = ((one, _bytes(root / "proc/net" / one.name)) for one in ROUTE_TABLES)
    yield "proc/default_route", b"".join(line for one, text in tables for line in _find_default(one, text))
    yield "mounted", "".join(_read_mounted(sys, root)).encode()
    yield "lower", "".join(_read_lower(sys)).encode()
    yield "settings", b"".join(_read_settings(root))


def _read_mounted(sys: Path, root: Path) -> Iterator[str]:
    """Lines BLOCK<tab>MOUNT POINT, by device number: /proc/mounts may say /dev/root, or a mapper's name.

    A btrfs has no number of a device: its source is one, or a link to it.
    """
    for line in _bytes(root / "proc/self/mountinfo").decode(errors="replace").splitlines():
        words, rest = line.split(), line.partition(" - ")[2].split()
        if len(words) < 5 or len(rest) < 2:
            continue
        link = sys / "dev/block" / words[2]
        if link.is_symlink():
            yield f"{link.readlink().name}\t{words[4]}\n"
        elif rest[1].startswith("/dev/"):
            yield f"{(root / rest[1][1:]).resolve().name}\t{words[4]}\n"


def _read_lower(sys: Path) -> Iterator[str]:
    """Lines UPPER<tab>LOWER: what a mapped disk, an array, a bridge, a bond or a btrfs (its UUID) is made of."""
    for parts in (BLOCK_PARTS, NET_PARTS, BTRFS_PARTS):
        for lower in sorted(sys.glob(f"{parts.folder}/*/{parts.prefix}*")):
            upper, _, name = str(lower.relative_to(sys / parts.folder)).partition("/")
            yield f"{upper}\t{name.removeprefix(parts.prefix)}\n"


def _read_settings(root: Path) -> Iterator[bytes]:
    """Lines of what was set on a host of Hostwright, without the addresses of its network."""
    lines = _bytes(root / SETTINGS).splitlines(keepends=True)
    yield from (line for line in lines if line.startswith((b"device ", b"guest ")) or line == b"end\n")


def _bytes(file: Path) -> bytes:
    """A file as far as it may be read; nothing where it may not."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return b""
        with file.open("rb") as source:
            return source.read(MAX_FILE_BYTES)
    except OSError:
        return b""


def _find_default(table: RouteTable, text: bytes) -> Iterator[bytes]:
    """Lines INTERFACE."""
    for row in (line.split() for line in text.splitlines()):
        if len(row) > max(table.interface, *table.zeros) and {
            digit for column in table.zeros for digit in row[column]
        } == {ord("0")}:
            yield row[table.interface] + b"\n"
