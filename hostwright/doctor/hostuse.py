"""What the host itself has of each PCI function: file systems, the default route, the console. Pure.

Whatever is on a function has the function's address in its path in sysfs; what is made of other things (a mapped
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
_WAY = re.compile(r"nvme(\d+)c\d+n(\d+)")
NETWORK, DISPLAY = 0x02, 0x03
# Base classes of controllers that disks or network interfaces can be: serial buses are USB.
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
    # A mount or a route says more.
    for address, use in (*_find_assembled(capture), *_find_joined(capture)):
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
    below = _Below("net", capture)
    lost = [name for name in _find_default(capture) if not below.owners(name)]
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
    below = _Below("block", capture)
    for name, point in _mounted(capture):
        rule = "holds-root" if point == "/" else "holds-mount"
        for address in below.owners(name):
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
    below = _Below("block", capture)
    for upper, parts in capture.lower.items():
        for part in parts:
            for address in below.owners(part):
                yield address, Use("holds-part", f"{part} is a part of {upper}")


class _Below:
    """What the disks or the interfaces of a capture are on, followed down through what they are made of."""

    def __init__(self, kind: str, capture: Capture) -> None:
        self._entries, self._lower = capture.classes.get(kind, {}), capture.lower
        self._hidden = _find_hidden(self._entries)
        # A btrfs is mounted by the name of one of its disks, and made of all of them.
        self._shared = {
            part: upper for upper, parts in self._lower.items() if _UUID.fullmatch(upper) for part in parts
        }
        self._known: dict[str, tuple[str, ...]] = {}

    def owners(self, name: str) -> tuple[str, ...]:
        """The addresses of the functions below `name`, each once; those of all disks of one file system are equal."""
        key = self._shared.get(name, name)
        if key not in self._known:
            self._known[key] = tuple(dict.fromkeys(self._walk(name)))
        return self._known[key]

    def _walk(self, name: str) -> Iterator[str]:
        left, seen = [name], {name}
        while left:
            one = left.pop()
            for path in (self._entries.get(one, ""), *self._hidden.get(one.partition("p")[0], ())):
                yield from find_on_path(path)
            shared = (self._shared[one],) if one in self._shared else ()
            further = [below for below in (*self._lower.get(one, ()), *shared) if below not in seen]
            left += further
            seen.update(further)


def _find_hidden(entries: Mapping[str, str]) -> dict[str, list[str]]:
    """Where the controllers of an NVMe namespace below its subsystem are: each has a hidden disk of it.

    Names as in drivers/nvme/host/core.c, nvme_alloc_ns(): nvme0c1n2 is the way of controller 1 to nvme0n2.
    """
    found: dict[str, list[str]] = {}
    for entry, path in entries.items():
        if match := _WAY.fullmatch(entry):
            found.setdefault(f"nvme{match[1]}n{match[2]}", []).append(path)
    return found


# The network.


def _find_routes(capture: Capture) -> Iterator[tuple[str, Use]]:
    below = _Below("net", capture)
    for interface in _find_default(capture):
        for address in below.owners(interface):
            yield address, Use("holds-default-route", interface)


def _find_default(capture: Capture) -> list[str]:
    """The interfaces of the default routes; those that reject are on none (*), for IPv6 on lo (net/ipv6/route.c)."""
    return [name for name in capture.default_routes if name not in ("*", "lo")]


def _find_joined(capture: Capture) -> Iterator[tuple[str, Use]]:
    """The cards in bridges and bonds and below VLANs, with a default route or without."""
    below = _Below("net", capture)
    for upper, parts in capture.lower.items():
        for part in parts:
            for address in below.owners(part):
                yield address, Use("holds-network", f"{part} is a part of {upper}")


# The console.


def _find_consoles(capture: Capture, words: str) -> Iterator[tuple[str, Use]]:
    """Where the host shows its console, unless it has a serial one."""
    if not capture.cmdline or has_serial_console(f"{capture.cmdline} {words}"):
        return
    graphics = {name for name in capture.classes.get("graphics", {}) if re.fullmatch(r"fb\d+", name)}
    owners = _Below("graphics", capture).owners("fb0")
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
