"""What the host itself has of each PCI function: file systems, the default route, the console. Pure.

Whatever hangs on a function has the function's address in its path in sysfs; what is made of other things (a mapped
disk, an array, a bridge, a bond) is followed down to them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hostwright.base.address import find_on_path
from hostwright.pci.inventory import Capture, PciFunction

# Names that drivers of the firmware's framebuffer give their range in /proc/iomem.
_FRAMEBUFFERS = (
    *("efifb", "BOOTFB", "vesafb", "simplefb", "simple-framebuffer", "simpledrm", "efidrm", "vesadrm"),
)
_SERIAL = re.compile(r"\bconsole=(?:ttyS|ttyUSB|ttyAMA|hvc)\w*")
_RANGE = re.compile(r"\s*([0-9a-f]+)-([0-9a-f]+) : (.*)")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMESPACE = re.compile(r"nvme(\d+)n(\d+)(?:p\d+)?")
NETWORK, DISPLAY = 0x02, 0x03
# Base classes of controllers that disks or network interfaces can hang on: serial buses are USB.
_MAY_HOLD_DISKS, _MAY_BE_ON_THE_NET = (0x01, 0x0C), (NETWORK, 0x0C)


@dataclass(frozen=True)
class Use:
    """Why the host needs a function: the finding that says so, and what is there."""

    rule: str
    what: str


def find_uses(capture: Capture, console_words: str = "") -> Mapping[str, tuple[Use, ...]]:
    """By address. `console_words` are console= words that the host will have besides those of the capture."""
    found: dict[str, dict[Use, None]] = {}
    for source in (_find_mounts(capture), _find_routes(capture), _find_consoles(capture, console_words)):
        for address, use in source:
            found.setdefault(address, {})[use] = None
    # A mount says more.
    for address, use in _find_assembled(capture):
        found.setdefault(address, {use: None})
    return {address: tuple(uses) for address, uses in found.items()}


def find_gaps(capture: Capture) -> Mapping[str, str]:
    """By address, why it is not known whether the host needs a function."""
    found: dict[str, str] = {}
    for base_classes, kind, reason in _find_unknown(capture):
        paths = "\n".join(capture.classes.get(kind, {}).values())
        for one in capture.functions:
            # A function that no disk or interface depends on cannot carry the one whose place is unknown.
            if one.class_code >> 16 in base_classes and (not paths or f"/{one.address}/" in paths):
                found.setdefault(one.address, reason)
    return found


def _find_unknown(capture: Capture) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """Base classes of functions, the class in sysfs of what would hang on them, and what is not known of that."""
    if not any(use.rule == "holds-root" for _, use in _find_mounts(capture)):
        yield _MAY_HOLD_DISKS, "block", "the disk of the root file system is not in the capture"
    for kind, point in _find_pools(capture):
        yield _MAY_HOLD_DISKS, "block", f"{point} is on {kind}, and not all of its disks are in the capture"
    if not capture.classes.get("net"):
        yield (NETWORK,), "net", "the network interfaces are not in the capture"
    lost = [name for name in _find_default(capture) if not any(_find_owners(name, "net", capture))]
    if lost:
        what = f"the default route is on {' '.join(lost)}, and what card that leads to is not in the capture"
        yield _MAY_BE_ON_THE_NET, "net", what
    if not capture.cmdline:
        yield (DISPLAY,), "", "the console is not in the capture"


def has_serial_console(words: str) -> bool:
    """Whether a kernel with these words has a console that needs no display."""
    return _SERIAL.search(words) is not None


# File systems.


def _find_mounts(capture: Capture) -> Iterator[tuple[str, Use]]:
    for name, point in _mounted(capture):
        rule = "holds-root" if point == "/" else "holds-mount"
        for address in _find_owners(name, "block", capture):
            yield address, Use(rule, f"{point} on {name}")


def _mounted(capture: Capture) -> Iterator[tuple[str, str]]:
    """Names of block devices, and where they are mounted."""
    yield from ((one.block, one.point) for one in capture.mounted)
    for line in capture.mounts.splitlines():
        words = line.split()
        # A bcachefs names all its disks, parted by colons.
        for source in words[0].split(":") if len(words) > 1 else ():
            if source.startswith("/dev/"):
                yield source.removeprefix("/dev/"), words[1]
    for line in capture.swaps.splitlines():
        word = line.partition(" ")[0].partition("\t")[0]
        if word.startswith("/dev/"):
            yield word.removeprefix("/dev/"), "swap"


def _find_pools(capture: Capture) -> Iterator[tuple[str, str]]:
    """File systems whose disks neither /proc nor sysfs names, or not all of them; and where they are mounted."""
    for line in capture.mounts.splitlines():
        words = line.split()
        if len(words) > 2 and words[2] in ("zfs", "bcachefs"):
            yield words[2], words[1]


def _find_assembled(capture: Capture) -> Iterator[tuple[str, Use]]:
    """The parts of mapped disks, arrays and file systems on several disks, mounted or not."""
    for upper, parts in capture.lower.items():
        for part in parts:
            for address in _find_owners(part, "block", capture):
                yield address, Use("holds-part", f"{part} is a part of {upper}")


def _find_owners(name: str, kind: str, capture: Capture) -> Iterator[str]:
    """The functions that a disk or an interface hangs on, followed down through what it is made of.

    A btrfs is mounted by the name of one of its disks, and made of all of them.
    """
    lower = dict(capture.lower)
    for parts in [parts for upper, parts in lower.items() if _UUID.fullmatch(upper)]:
        for part in parts:
            lower[part] = (*lower.get(part, ()), *parts)
    entries = capture.classes.get(kind, {})
    left, seen = [name], {name}
    while left:
        one = left.pop()
        for path in (entries.get(one, ""), *_find_hidden(one, entries)):
            yield from find_on_path(path)
        left += (below for below in lower.get(one, ()) if below not in seen)
        seen.update(lower.get(one, ()))


def _find_hidden(name: str, entries: Mapping[str, str]) -> Iterator[str]:
    """Where the controllers of an NVMe namespace are that hangs below its subsystem: each has a hidden disk of it.

    Names as in drivers/nvme/host/core.c, nvme_alloc_ns(): nvme0c1n2 is the way of controller 1 to nvme0n2.
    """
    match = _NAMESPACE.fullmatch(name)
    if match:
        way = re.compile(rf"nvme{match[1]}c\d+n{match[2]}")
        yield from (path for entry, path in entries.items() if way.fullmatch(entry))


# The network.


def _find_routes(capture: Capture) -> Iterator[tuple[str, Use]]:
    for interface in _find_default(capture):
        for address in _find_owners(interface, "net", capture):
            yield address, Use("holds-default-route", interface)


def _find_default(capture: Capture) -> list[str]:
    """The interfaces of the default routes; those that reject are on none (*), for IPv6 on lo (net/ipv6/route.c)."""
    return [name for name in capture.default_routes if name not in ("*", "lo")]


# The console.


def _find_consoles(capture: Capture, words: str) -> Iterator[tuple[str, Use]]:
    """Where the host shows its console, unless it has a serial one."""
    if not capture.cmdline or has_serial_console(f"{capture.cmdline} {words}"):
        return
    graphics = {name for name in capture.classes.get("graphics", {}) if re.fullmatch(r"fb\d+", name)}
    owners = list(_find_owners("fb0", "graphics", capture))
    for address in owners:
        yield address, Use("holds-console", "fb0")
    for function in capture.functions:
        if owners or function.class_code >> 16 != DISPLAY:
            continue
        if name := find_framebuffer(function, capture):
            yield function.address, Use("holds-console", name)
        elif function.is_boot_vga and not graphics:
            yield function.address, Use("holds-console", "VGA text")


def find_framebuffer(function: PciFunction, capture: Capture) -> str:
    """The name of the firmware's framebuffer in a BAR of the function; empty where there is none, or it is hidden."""
    for line in capture.iomem.splitlines():
        match = _RANGE.fullmatch(line)
        if not match or match[3] not in _FRAMEBUFFERS:
            continue
        start, end = int(match[1], 16), int(match[2], 16)
        if any(bar.is_memory and bar.start <= start < end < bar.start + bar.size for bar in function.bars):
            return match[3]
    return ""
