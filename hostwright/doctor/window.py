"""Whether the BARs of a device fit into the 64-bit window that a guest's firmware opens for PCI.

edk2 2025.02, OvmfPkg/Library/PlatformInitLib/MemDetect.c: PlatformAddressWidthFromCpuid(), PlatformDynamicMmioWindow(),
PlatformGetFirstNonAddress(). All sizes in bytes. A guest sees the address bits of its host (-cpu host).

How the space is shared out: MdeModulePkg/Bus/Pci/PciBusDxe/PciResourceSupport.c. CalculateResourceAperture() gives a
port the sum of the BARs behind it, rounded up to the granularity of its registers (1 MiB) and not to the largest BAR;
only its start is aligned to that. The word for a larger window need not be a power of two: MemDetect.c aligns the base
of the window to the largest power of two in its size, which no BAR exceeds. DegradeResource() moves what is not
prefetchable below 4 GiB, since a bridge has no other window there.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostwright.pci.inventory import Bar

# PcdPciMmio64Size of OvmfPkgX64.dsc, and what X-PciMmio64Mb may ask for.
CLASSIC_WINDOW, LARGEST_ASKED = 32 << 30, 16 << 40
# OVMF uses no more address bits than these: with page tables of four levels, and without pages of 1 GiB.
MOST_BITS, MOST_BITS_WITHOUT_1G = 46, 40
_MIB = 1 << 20
# For the guest's own devices: each has a port, and that a window of 1 MiB.
OWN_DEVICES = 16 * _MIB


@dataclass(frozen=True)
class Window:
    """`default`: what a guest has by default; `largest`: what its address width has room for."""

    default: int
    largest: int


def find_window(cpuinfo: str) -> Window | None:
    """The window on a machine with this processor; None where its address width is not known."""
    match = re.search(r"^address sizes\s*: (\d{1,3}) bits physical", cpuinfo, re.MULTILINE)
    if not match:
        return None
    has_1g = re.search(r"^flags\s*:.*\bpdpe1gb\b", cpuinfo, re.MULTILINE) is not None
    bits = min(int(match[1]), MOST_BITS if has_1g else MOST_BITS_WITHOUT_1G)
    # Aligned to its own size, above the guest's memory: the upper half at most.
    largest = min(1 << max(bits - 1, 32), LARGEST_ASKED)
    return Window(min(max(CLASSIC_WINDOW, 1 << max(bits - 3, 0)), largest), largest)


def measure(devices: Iterable[Sequence[Bar]]) -> int:
    """The space that the 64-bit BARs of these devices and of the guest's own take, each device behind its own port."""
    place = 0
    for bars in sorted((_wide(bars) for bars in devices), key=lambda sizes: -max(sizes, default=0)):
        if bars:
            place = -(-place // max(bars)) * max(bars) + -(-sum(bars) // _MIB) * _MIB
    return place + OWN_DEVICES


def _wide(bars: Sequence[Bar]) -> list[int]:
    return [
        1 << (bar.size - 1).bit_length()
        for bar in bars
        if bar.is_memory and bar.is_64bit and bar.is_prefetchable and bar.size
    ]
