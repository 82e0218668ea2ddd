"""TODO: doctor.device."""

import re
from collections.abc import Iterator, Sequence

from hostwright.base import times
from hostwright.doctor import hostuse
from hostwright.doctor.case import Case
from hostwright.doctor.findings import Finding, find
from hostwright.doctor.hostuse import DISPLAY
from hostwright.doctor.kinds import HARMLESS_DRIVERS
from hostwright.doctor.regions import find_kept
from hostwright.doctor.window import CLASSIC_WINDOW, LARGEST_ASKED, Window, measure
from hostwright.pci import registers
from hostwright.pci.inventory import PciFunction

# Who binds by class (PCI code) or by vendor and class: the kernel's own module aliases.
_FIRST_BY_VENDOR = {"10de:03": "nouveau", "1002:03": "amdgpu", "8086:03": "i915"}
_FIRST = {0x0403: "snd_hda_intel", 0x0C03: "xhci_hcd", 0x0108: "nvme", 0x0106: "ahci"}
_DISPLAYS_WITH_OUTPUT = (0x0300, 0x0380)
_FLR, _FLR_BIT = 4, 1 << 28
_ADVANCED_FEATURES, _AF_CAPABILITY, _AF_BITS = 0x13, 3, 3


def find_own(case: Case, function: PciFunction) -> Iterator[Finding]:
    """What concerns the function itself, whatever group it is in."""
    if function.is_silent:
        yield find("not-responding", device=function.address)
    yield from _find_virtual(case, function)
    yield from find_held(case, function.address)
    yield from _find_rivals(case, function)
    yield from _find_screen(case, function)
    yield from find_kept(case, function)
    yield from _find_bars(case, function)
    yield from _find_reset(case, function)
    if function.numa_node is not None and function.numa_node >= 0 and _has_nodes(case):
        yield find("numa-node", device=function.address, what=function.numa_node)


def _has_nodes(case: Case) -> bool:
    return len({one.numa_node for one in case.capture.functions} - {None, -1}) > 1


def _find_virtual(case: Case, function: PciFunction) -> Iterator[Finding]:
    virtual = [one.address for one in case.capture.functions if one.physical == function.address]
    if virtual:
        yield find("vfs-enabled", device=function.address, others=" ".join(virtual))
    if function.physical:
        yield find("virtual-function", device=function.address, others=function.physical)
    if function.owner:
        yield find("behind-vmd", device=function.address, others=function.owner)
    elif domain := function.place.domain:
        yield find("other-domain", device=function.address, what=f"{domain:04x}")


def find_held(case: Case, device: str) -> Iterator[Finding]:
    """What the host has on a device; or that this is not known."""
    for use in case.uses.get(device, ()):
        yield find(use.rule, device=device, what=use.what)
    what = case.gaps.get(device)
    if what and not case.uses.get(device):
        yield find("unknown-use", device=device, what=what)


def _find_rivals(case: Case, function: PciFunction) -> Iterator[Finding]:
    """Drivers, and devices of the same id."""
    device = function.address
    if not case.tells_drivers:
        yield find("unknown-driver", device=device)
    elif function.driver not in HARMLESS_DRIVERS:
        yield find("driver-holds", device=device, driver=function.driver)
    elif not function.driver and (driver := _find_first(function)):
        yield find("driver-first", device=device, driver=driver)
    twins = [one.address for one in case.capture.functions if one.id == function.id and one is not function]
    if twins:
        yield find("twin-ids", device=device, others=" ".join(twins), id=function.id)


def _find_first(function: PciFunction) -> str:
    vendor = f"{function.id.partition(':')[0]}:{function.class_code >> 16:02x}"
    return _FIRST_BY_VENDOR.get(vendor) or _FIRST.get(function.class_code >> 8, "")


def _find_screen(case: Case, function: PciFunction) -> Iterator[Finding]:
    code = function.class_code >> 8
    others = [one for one in case.capture.functions if one.class_code >> 8 in _DISPLAYS_WITH_OUTPUT]
    if others == [function]:
        yield find("only-display", device=function.address)
    if code >> 8 == DISPLAY and (name := hostuse.find_framebuffer(function, case.capture)):
        yield find("boot-framebuffer", device=function.address, what=name)


# BARs and reset.


def _find_bars(case: Case, function: PciFunction) -> Iterator[Finding]:
    device = function.address
    if not any(one.bars for one in case.capture.functions):
        yield find("unknown-bars", device=device)
        return
    yield from check_window(case, [function], device)
    if function.physical:
        return
    homeless = {bar.index: bar.size for bar in function.bars if bar.is_memory and not bar.start}
    sizes = _find_refused(case, device) | homeless
    # The kernel clears what it finds no room for (drivers/pci/setup-bus.c, reset_resource()).
    cleared = set(registers.find_typed_bars(function.config)) - {bar.index for bar in function.bars}
    for index in sorted(cleared | homeless.keys()):
        size = f" ({times.name_size(sizes[index])})" if index in sizes else ""
        yield find("bar-unassigned", device=device, what=f"{index}{size}")


def _find_refused(case: Case, device: str) -> dict[int, int]:
    """Sizes of BARs that the kernel found no room for, by its log (drivers/pci/setup-res.c, pci_assign_resource())."""
    pattern = rf"{device}: BAR (\d)\b.*\[mem size 0x([0-9a-f]{{1,16}})\b"
    lines = case.capture.dmesg.splitlines()
    found = (re.search(pattern, one) for one in lines if "no space" in one or "failed to assign" in one)
    return {int(match[1]): int(match[2], 16) for match in found if match}


def check_window(case: Case, devices: Sequence[PciFunction], name: str) -> Iterator[Finding]:
    """Whether the BARs of devices that go to one guest fit into its window."""
    need = measure([one.bars for one in devices])
    window = case.window or Window(CLASSIC_WINDOW, LARGEST_ASKED)
    what = times.name_size(need)
    if need > window.largest:
        yield find("bar-window", device=name, what=what, window=times.name_size(window.largest))
    elif need > window.default:
        yield find(
            "bar-window-small",
            device=name,
            what=what,
            window=times.name_size(window.default),
            need_mib=-(-need >> 20),
        )


def _find_reset(case: Case, function: PciFunction) -> Iterator[Finding]:
    """Function level reset and the like are good, and so is a bus with nothing else on it.

    The kernel names a reset of the bus for a function 0 before it has found the others (pci_device_add()); it then
    refuses it (pci_parent_bus_reset()), and VFIO resets the whole bus, if there is a bridge that can.
    """
    device = function.address
    if function.resets is None:
        if not function.physical and not has_flr(function):
            yield find("unknown-reset", device=device)
    elif not set(function.resets) - {"bus"}:
        others = [
            one.address for one in case.capture.functions if one.bus == function.bus and one is not function
        ]
        if function.parent and others:
            yield find("reset-bus-only", device=device, others=" ".join(others))
        elif not function.resets:
            yield find("no-reset", device=device)


def has_flr(function: PciFunction) -> bool:
    """By the PCIe capability (PCIe 5.0, 7.5.3.3) or Advanced Features, of which the kernel wants both bits
    (pci_af_flr()); the kernel knows devices whose bit is wrong.
    """
    config = function.config
    at = registers.find_capability(config, registers.EXPRESS)
    if at is not None and (registers.read(config, at + _FLR, 4) or 0) & _FLR_BIT:
        return True
    at = registers.find_capability(config, _ADVANCED_FEATURES)
    return at is not None and (registers.read(config, at + _AF_CAPABILITY, 1) or 0) & _AF_BITS == _AF_BITS
