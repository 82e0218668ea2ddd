"""A machine as the files of its kernel: a Capture laid out as /sys and /proc below a folder.

    tests/machines/NAME.toml, tests/fakes/computer --> Capture --lay_out--> /sys, /proc --> hostwright.pci.capture
                                                                                       \\-> the scripts of the host

What the capture lacks and every kernel shows is filled in, so that both sides read the same facts.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hostwright.pci.function import ROOT
from hostwright.pci.inventory import Bar, Capture, PciFunction
from hostwright.pci.sysfs import CLASSES

_IO, _MEMORY, _PREFETCH, _WIDE = 0x100, 0x200, 0x2000, 0x100000
_CPUINFO = (
    "processor\t: 0\nflags\t\t: fpu vmx svm pdpe1gb\naddress sizes\t: 46 bits physical, 48 bits virtual\n"
)
_MEMINFO = "MemTotal:       33554432 kB\nMemAvailable:   33554432 kB\n"


def lay_out(capture: Capture, root: Path) -> None:
    """The machine's /sys and /proc below `root`."""
    folders = {one.address: _find_folder(one, capture) for one in capture.functions}
    for one in capture.functions:
        _lay_function(one, root, root / folders[one.address])
    for one in capture.functions:
        _link_virtual(one, root, {address: root / folder for address, folder in folders.items()})
    _lay_groups(capture, root)
    for name in CLASSES:
        for entry, goal in capture.classes.get(name, {}).items():
            _lay_entry(root, name, entry, goal)
    _lay_numbers(capture, root)
    _lay_lower(capture, root)
    _lay_proc(capture, root)
    for name, table in capture.tables.items():
        write(root / "sys/firmware/acpi/tables" / name, table)
    for number in {one.numa_node for one in capture.functions} - {None, -1}:
        (root / f"sys/devices/system/node/node{number}").mkdir(parents=True)


def write(path: Path, content: str | bytes) -> None:
    """A file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(target, link.parent))


# PCI.


def _find_folder(function: PciFunction, capture: Capture) -> str:
    """The path that sysfs gives a function: its bridges from the root bus down, as far as they are known."""
    name = function.address
    if function.parent == ROOT:
        above = f"sys/devices/pci{function.bus}"
        if function.owner:
            above = f"{_find_folder(capture.by_address[function.owner], capture)}/pci{function.bus}"
        return f"{above}/{name}"
    if function.parent is None:
        return f"sys/bus/pci/devices/{name}"
    return f"{_find_folder(capture.by_address[function.parent], capture)}/{name}"


def _lay_function(function: PciFunction, root: Path, folder: Path) -> None:
    for name, text in _describe(function):
        write(folder / name, f"{text}\n")
    if function.config:
        write(folder / "config", function.config)
    bus = root / "sys/bus/pci/devices" / function.address
    if bus != folder:
        _link(bus, folder)
    if function.driver:
        driver = root / "sys/bus/pci/drivers" / function.driver
        driver.mkdir(parents=True, exist_ok=True)
        _link(folder / "driver", driver)
        _link(driver / function.address, folder)
    if function.group is not None:
        group = root / "sys/kernel/iommu_groups" / function.group
        _link(group / "devices" / function.address, folder)
        _link(folder / "iommu_group", group)


def _describe(function: PciFunction) -> Iterator[tuple[str, str]]:
    """Names and texts of the attributes."""
    vendor, device = function.id.split(":")
    yield from (("vendor", f"0x{vendor}"), ("device", f"0x{device}"))
    yield "class", f"0x{function.class_code:06x}"
    yield "driver_override", function.driver_override or "(null)"
    yield "numa_node", str(-1 if function.numa_node is None else function.numa_node)
    yield "resource", "\n".join(_render_bars(function.bars))
    if function.resets:
        yield "reset_method", " ".join(function.resets)
    if function.subsystem:
        vendor, device = function.subsystem.split(":")
        yield from (("subsystem_vendor", f"0x{vendor}"), ("subsystem_device", f"0x{device}"))
    if function.is_boot_vga:
        yield "boot_vga", "1"


def _render_bars(bars: Iterable[Bar]) -> Iterator[str]:
    """Lines of `resource`: six base address registers and the ROM."""
    lines = {
        bar.index: (
            bar.start,
            bar.start + bar.size - 1,
            (_MEMORY if bar.is_memory else _IO)
            | (_WIDE if bar.is_64bit else 0)
            | (_PREFETCH if bar.is_prefetchable else 0),
        )
        for bar in bars
    }
    for index in range(7):
        yield " ".join(f"0x{number:016x}" for number in lines.get(index, (0, 0, 0)))


def _link_virtual(function: PciFunction, root: Path, folders: dict[str, Path]) -> None:
    """A virtual function and its physical one know each other, and the latter how many there are."""
    if function.physical not in folders:
        return
    physical = folders[function.physical]
    number = len(list(physical.glob("virtfn*")))
    _link(folders[function.address] / "physfn", physical)
    _link(physical / f"virtfn{number}", folders[function.address])
    write(physical / "sriov_numvfs", f"{number + 1}\n")


def _lay_groups(capture: Capture, root: Path) -> None:
    for number, group in capture.groups.items():
        folder = root / "sys/kernel/iommu_groups" / number
        lines = [f"0x{one.start:016x} 0x{one.end:016x} {one.kind}\n" for one in group.regions]
        write(folder / "reserved_regions", "".join(lines))
        write(folder / "type", f"{group.type or 'DMA'}\n")


# Classes.


def _lay_entry(root: Path, name: str, entry: str, goal: str) -> None:
    folder = root / "sys/class" / name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / entry).is_symlink():
        return
    place = Path(os.path.normpath(folder / goal))
    place.mkdir(parents=True, exist_ok=True)
    (folder / entry).symlink_to(goal)
    if name == "net" and "virtual" not in goal:
        _link(place / "device", place.parent.parent)


def _lay_numbers(capture: Capture, root: Path) -> None:
    """Numbers of block devices; a partition lies in the folder of its disk."""
    entries = capture.classes.get("block", {})
    for number, (entry, goal) in enumerate(entries.items()):
        place = Path(os.path.normpath(root / "sys/class/block" / goal))
        _link(root / f"sys/dev/block/259:{number}", place)
        disk = goal.rpartition("/")[0].rpartition("/")[2]
        if disk in entries or entry.startswith(disk):
            write(place / "partition", "1\n")
        else:
            (place / "slaves").mkdir(exist_ok=True)
            _link(root / "sys/block" / entry, place)


def _lay_lower(capture: Capture, root: Path) -> None:
    for upper, lower in ((upper, one) for upper, parts in capture.lower.items() for one in parts):
        for name, link in (("block", f"slaves/{lower}"), ("net", f"lower_{lower}")):
            entries = root / "sys/class" / name
            if (entries / upper).exists():
                _link((entries / upper).resolve() / link, (entries / lower).resolve())


# /proc.


def _lay_proc(capture: Capture, root: Path) -> None:
    proc = root / "proc"
    write(proc / "sys/kernel/osrelease", f"{capture.release}\n")
    write(proc / "cmdline", f"{capture.cmdline}\n")
    write(proc / "iomem", f"{capture.iomem}\n")
    write(proc / "meminfo", f"{capture.meminfo or _MEMINFO}\n")
    write(proc / "cpuinfo", f"{capture.cpuinfo or _CPUINFO}\n")
    write(
        proc / "swaps",
        "Filename\tType\tSize\tUsed\tPriority\n" + "".join(_render_swaps(capture.swaps)),
    )
    write(proc / "self/mountinfo", "".join(_render_mounts(capture)))
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    routes = [
        f"{one}\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" for one in capture.default_routes
    ]
    write(proc / "net/route", head + "".join(routes))
    write(proc / "interrupts", "  CPU0\n  24:  0  IR-PCI-MSI 1-edge  ahci\n")
    write(proc / "self/status", "Name:\tsh\nCapEff:\t000001ffffffffff\n")


def _render_swaps(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("/dev/"):
            yield f"{line.split()[0]}\tpartition\t1000\t0\t-2\n"


def _render_mounts(capture: Capture) -> Iterator[str]:
    numbers = {entry: f"259:{number}" for number, entry in enumerate(capture.classes.get("block", {}))}
    mounts = [tuple(line.split()[:3]) for line in capture.mounts.splitlines()]
    mounts += [(f"/dev/{one.block}", one.point, "ext4") for one in capture.mounted]
    for source, point, kind in mounts:
        number = numbers.get(source.removeprefix("/dev/"), "0:40")
        yield f"30 1 {number} / {point} rw,relatime shared:1 - {kind} {source} rw\n"
