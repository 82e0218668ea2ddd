"""The kernel's command line that host.toml determines, and its serial consoles."""

import re

from hostwright.machine.model import Machine


def kernel_words(machine: Machine, passthrough: bool) -> tuple[str, ...]:
    """The kernel's command line that host.toml determines; without `passthrough` only `kernel.cmdline`.

    An AMD IOMMU needs no word: it is on by default, and amd_iommu= has no `on`
    (Documentation/admin-guide/kernel-parameters.txt). grub.cfg adds root=, consoles and hostwright.*.
    """
    if not passthrough:
        return machine.kernel.cmdline
    iommu = machine.iommu
    vendor = ("intel_iommu=on",) if iommu.vendor == "intel" else ()
    override = (f"pcie_acs_override={','.join(iommu.acs_override)}",) if iommu.acs_override else ()
    return ("iommu=pt", *vendor, *override, *iommu.extra, *machine.kernel.cmdline)


def serial_lines(machine: Machine) -> tuple[tuple[int, int], ...]:
    """Number and baud rate of each serial console: the first port, then those of kernel.cmdline.

    The last one is the machine's main serial line: the kernel opens it as /dev/console
    (Documentation/admin-guide/serial-console.rst, which also defines the form of the word).
    """
    lines = {0: 115200}
    for word in machine.kernel.cmdline:
        if found := re.fullmatch(r"console=ttyS([0-9]+)(?:,([0-9]+).*)?", word):
            number = int(found[1])
            lines.pop(number, None)
            lines[number] = int(found[2] or 9600)
    return tuple(lines.items())


def is_serial_console(word: str) -> bool:
    """Whether a word of the kernel's command line names a serial console."""
    return word.startswith("console=ttyS")
