"""What a capture holds, read from the /sys and /proc of a machine that runs."""

import stat
from collections.abc import Iterator
from pathlib import Path

from hostwright.base.errors import UserError
from hostwright.pci.inventory import HINT

MARK = "hostwright-capture"
# A capture is some hundred KiB; what is larger is something else.
MAX_FILE_BYTES, MAX_MEMBERS, MAX_TOTAL_BYTES = 1 << 22, 100_000, 1 << 28

_ATTRIBUTES = (
    *("vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision", "config", "resource"),
    *("reset_method", "numa_node", "boot_vga", "sriov_numvfs", "sriov_totalvfs", "driver_override"),
)
LINKS = ("driver", "iommu_group", "physfn")
_GROUP_ATTRIBUTES = ("type", "reserved_regions")
CLASSES = ("block", "net", "graphics", "drm", "iommu")
DMI = ("sys_vendor", "product_name", "board_vendor", "board_name", "bios_version", "bios_date")
_PROC = ("sys/kernel/osrelease", "cmdline", "mounts", "swaps", "iomem", "meminfo", "cpuinfo")
TABLES = ("DMAR", "IVRS")
# Columns of /proc/net/route and /proc/net/ipv6_route.
_MASK, _INTERFACE = 7, 9


def read_folder(place: Path) -> dict[str, bytes]:
    """The files of /sys and of /proc beside it, or of an unpacked capture."""
    root = place if (place / "sys").is_dir() else place.parent
    if (place / MARK).is_file():
        return {str(file.relative_to(place)): _bytes(file) for file in place.rglob("*") if file.is_file()}
    devices = root / "sys/bus/pci/devices" if root is place else place / "bus/pci/devices"
    if not devices.is_dir():
        raise UserError(f"{place}: no PCI devices are described there", HINT)
    sys = devices.parents[2]
    return dict((*_read_devices(devices, sys), *_read_rest(sys, root)))


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
    tables = (_bytes(root / "proc/net" / name) for name in ("route", "ipv6_route"))
    yield "proc/default_route", b"".join(_find_default_routes(*tables))
    yield "mounted", "".join(_read_mounted(sys, root)).encode()
    yield "lower", "".join(_read_lower(sys)).encode()


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
    for pattern in ("class/block/*/slaves/*", "class/net/*/lower_*", "fs/btrfs/*/devices/*"):
        for lower in sorted(sys.glob(pattern)):
            yield f"{lower.relative_to(sys).parts[2]}\t{lower.name.removeprefix('lower_')}\n"


def _bytes(file: Path) -> bytes:
    """A file as far as it may be read; nothing where it may not."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return b""
        # In small pieces: the kernel takes memory for the whole request.
        return file.read_bytes()[:MAX_FILE_BYTES]
    except OSError:
        return b""


def _find_default_routes(routes: bytes, ipv6_routes: bytes) -> Iterator[bytes]:
    """Lines INTERFACE: default routes have mask 0 in IPv4 (net/ipv4/fib_trie.c), length 0 in IPv6 (ip6_fib.c)."""
    for row in (line.split() for line in routes.splitlines()):
        if len(row) > _MASK and set(row[1] + row[_MASK]) == {ord("0")}:
            yield row[0] + b"\n"
    for row in (line.split() for line in ipv6_routes.splitlines()):
        if len(row) > _INTERFACE and set(row[0] + row[1]) == {ord("0")}:
            yield row[_INTERFACE] + b"\n"
