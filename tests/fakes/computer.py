"""A small computer as a capture: a card with its sound function, two drives of one id, a network card, a chipset.

00:01.0 port with ACS     - 01:00.0 display, 01:00.1 its sound
00:02.0 port with ACS     - 04:00.0 NVMe, the twin of the host's
00:03.0 port with ACS     - 05:00.0 the board's own display
00:1c.0 port without ACS  - 02:00.0 network card: the default route
00:1c.1 port without ACS  - 03:00.0 NVMe: the root file system
00:1f.0 ISA bridge, 00:1f.2 SATA, 00:1f.3 SMBus
"""

from dataclasses import replace
from typing import Any

from hostwright.pci import capture, registers
from hostwright.pci.function import ROOT, Kind
from hostwright.pci.inventory import Bar, Capture, Group, PciFunction, ReservedRegion

CARD, SOUND, NIC, DRIVE, TWIN = (
    *("0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"),
)
BOARD, ISA, SATA, SMBUS = "0000:05:00.0", "0000:00:1f.0", "0000:00:1f.2", "0000:00:1f.3"
GOOD_PORT, BAD_PORT, WORSE_PORT = "0000:00:01.0", "0000:00:1c.0", "0000:00:1c.1"
MIB, GIB = 1 << 20, 1 << 30
CPUINFO = (
    "processor : 0\nvendor_id : GenuineIntel\nflags : fpu vmx pdpe1gb\n"
    "address sizes : 46 bits physical, 48 bits virtual"
)
PLACES = {
    "block": {
        "nvme0n1p2": f"../../devices/pci0000:00/{WORSE_PORT}/{DRIVE}/nvme/nvme0/nvme0n1/nvme0n1p2",
        "nvme1n1": f"../../devices/pci0000:00/0000:00:02.0/{TWIN}/nvme/nvme1/nvme1n1",
        "dm-0": "../../devices/virtual/block/dm-0",
        "sda1": f"../../devices/pci0000:00/{SATA}/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1",
    },
    "net": {
        "eth0": f"../../devices/pci0000:00/{BAD_PORT}/{NIC}/net/eth0",
        "br0": "../../devices/virtual/net/br0",
    },
    "graphics": {"fb0": f"../../devices/pci0000:00/0000:00:03.0/{BOARD}/graphics/fb0"},
}
TEXTS = {
    "mounted": "nvme0n1p2\t/",
    "default_route": "eth0",
    "dmesg": "[ 0.1] DMAR-IR: Enabled IRQ remapping in x2apic mode",
    "cpuinfo": CPUINFO,
    "meminfo": "MemTotal:       33554432 kB\nHugePages_Total:       0\nHugepagesize:       2048 kB",
}


def build() -> Capture:
    """The computer with its IOMMU off, and the tables to judge it by."""
    plain = Capture(
        source="computer.tar",
        functions=FUNCTIONS,
        release="6.12.107",
        cmdline="ro console=tty0 console=ttyS0,115200",
        tables={"DMAR": dmar()},
        classes=PLACES,
    )
    return with_texts(plain, **TEXTS)


def change(capture: Capture, address: str, **fields: object) -> Capture:
    """The capture with a function changed."""
    functions = tuple(
        replace(one, **fields) if one.address == address else one  # type: ignore[arg-type]
        for one in capture.functions
    )
    assert functions != capture.functions
    return replace(capture, functions=functions)


def with_texts(found: Capture, **texts: str) -> Capture:
    """The capture with some of its fields changed, to what a capture's files with these texts say."""
    fields: dict[str, Any] = dict(texts)
    if "mounted" in texts:
        fields["mounted"] = capture.read_mounted(texts["mounted"])
    if "lower" in texts:
        fields["lower"] = capture.read_lower(texts["lower"])
    if "default_route" in texts:
        fields["default_routes"] = capture.read_routes(fields.pop("default_route"))
    return replace(found, **fields)


def in_groups(
    capture: Capture, *groups: tuple[str, ...], regions: tuple[ReservedRegion, ...] = ()
) -> Capture:
    """The capture with its IOMMU on: these groups, and one for each other function; `regions` are the first's."""
    number = {address: str(place) for place, group in enumerate(groups) for address in group}
    functions = tuple(
        replace(one, group=number.get(one.address, f"1{one.address}")) for one in capture.functions
    )
    msi = ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi")
    known = {one.group or "": Group(one.group or "", "DMA", (msi,)) for one in functions}
    known["0"] = Group("0", "DMA", (*regions, msi))
    return replace(capture, functions=functions, groups=known)


# Functions.


def function(  # noqa: PLR0913
    address: str,
    kind: Kind,
    id: str,
    code: int,
    parent: str = ROOT,
    *,
    behind: int | None = None,
    acs: bool = False,
    several: bool = False,
    **fields: object,
) -> PciFunction:
    """A function with a configuration space; `behind` is the number of the bus behind a bridge."""
    config = bytearray(registers.make(kind, behind, (0x1D, 0) if acs else None))
    config[registers.HEADER_TYPE] |= registers.MULTIFUNCTION if several else 0
    found = PciFunction(address, id, code, config=bytes(config), is_whole=True, parent=parent)
    return replace(found, **{"resets": ("flr",), "numa_node": 0} | fields)  # type: ignore[arg-type]


def bar(index: int, size: int, start: int = 0x4000000000) -> Bar:
    """A 64-bit prefetchable BAR."""
    return Bar(index, start, size, True, True, True)


FUNCTIONS = (
    function(GOOD_PORT, Kind.ROOT_PORT, "8086:2f02", 0x060400, behind=1, acs=True, driver="pcieport"),
    function("0000:00:02.0", Kind.ROOT_PORT, "8086:2f04", 0x060400, behind=4, acs=True, driver="pcieport"),
    function("0000:00:03.0", Kind.ROOT_PORT, "8086:2f08", 0x060400, behind=5, acs=True, driver="pcieport"),
    function(BAD_PORT, Kind.ROOT_PORT, "8086:0c01", 0x060400, behind=2, several=True, driver="pcieport"),
    function(WORSE_PORT, Kind.ROOT_PORT, "8086:0c05", 0x060400, behind=3, several=True, driver="pcieport"),
    function(ISA, Kind.CONVENTIONAL, "8086:8d44", 0x060100, several=True, driver="lpc_ich"),
    function(SATA, Kind.CONVENTIONAL, "8086:8d02", 0x010601, several=True, driver="ahci"),
    function(SMBUS, Kind.CONVENTIONAL, "8086:8d22", 0x0C0500, several=True, driver="i801_smbus"),
    function(
        *(CARD, Kind.ENDPOINT, "10de:1e37", 0x030000, GOOD_PORT),
        several=True,
        driver="nouveau",
        bars=(Bar(0, 0xC0000000, 16 * MIB), bar(1, 16 * GIB), bar(3, 32 * MIB)),
    ),
    function(SOUND, Kind.ENDPOINT, "10de:10f8", 0x040300, GOOD_PORT, several=True, driver="snd_hda_intel"),
    function(NIC, Kind.ENDPOINT, "14e4:165f", 0x020000, BAD_PORT, driver="tg3"),
    function(DRIVE, Kind.ENDPOINT, "144d:a808", 0x010802, WORSE_PORT, driver="nvme"),
    function(TWIN, Kind.ENDPOINT, "144d:a808", 0x010802, "0000:00:02.0", driver="nvme"),
    function(BOARD, Kind.ENDPOINT, "102b:0534", 0x030000, "0000:00:03.0", driver="mgag200"),
)


# Tables.


def dmar(*rmrrs: bytes, flags: int = 1) -> bytes:
    """A DMAR with these structures; `flags`: bit 0 is interrupt remapping."""
    return _table(b"DMAR", bytes((45, flags)) + bytes(10), rmrrs)


def rmrr(start: int, end: int, *scopes: bytes, segment: int = 0) -> bytes:
    """A reserved memory region of the devices in these scopes."""
    body = bytes(2) + segment.to_bytes(2, "little") + _wide(start) + _wide(end) + b"".join(scopes)
    return b"\1\0" + (len(body) + 4).to_bytes(2, "little") + body


def scope(bus: int, *path: tuple[int, int], kind: int = 1) -> bytes:
    """A device scope: kind 1 is an endpoint, 2 a bridge and all behind it."""
    hops = b"".join(bytes(hop) for hop in path)
    return bytes((kind, 6 + len(hops), 0, 0, 0, bus)) + hops


def ivrs(*blocks: bytes) -> bytes:
    """An IVRS with these structures."""
    return _table(b"IVRS", bytes(12), blocks)


def ivmd(kind: int, first: int, last: int, start: int, length: int, flags: int = 7) -> bytes:
    """A memory definition for a range of requester ids."""
    ids = first.to_bytes(2, "little") + last.to_bytes(2, "little")
    return bytes((kind, flags, 32, 0)) + ids + bytes(8) + _wide(start) + _wide(length)


def ivhd(*entries: bytes, kind: int = 0x10, iommu: int = 0x02, segment: int = 0) -> bytes:
    """An IOMMU, at a requester id of its own, and its device entries."""
    body = bytes(10) + segment.to_bytes(2, "little") + bytes(22 if kind > 0x10 else 6) + b"".join(entries)
    return bytes((kind, 0)) + (6 + len(body)).to_bytes(2, "little") + iommu.to_bytes(2, "little") + body


def device_entry(kind: int, id: int, alias: int | None = None) -> bytes:
    """Four bytes, or eight with the id that takes the place of the device's own."""
    more = b"" if alias is None else bytes(1) + alias.to_bytes(2, "little") + bytes(1)
    return bytes((kind,)) + id.to_bytes(2, "little") + bytes(1) + more


def _wide(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _table(name: bytes, rest: bytes, structures: tuple[bytes, ...]) -> bytes:
    body = rest + b"".join(structures)
    return name + (36 + len(body)).to_bytes(4, "little") + bytes(28) + body
