"""Captures of real machines, from the facts about them in tests/machines/*.toml; docs/machines.md says what they teach.

    NAME.toml --load--> RealMachine --write--> a tar as hostwright-capture writes it --capture.load--> Capture

A line of `functions` is ADDRESS ID CLASS and words. The first word says what its capabilities showed: a kind of KINDS;
`hidden` if the source could not see them; none if it is silent about the configuration space. The rest: `bus=` behind
a bridge, `acs=CAPABILITY/CONTROL`, `bars=INDEX:SIZE` with io, /64, p (prefetchable) and @START, `flr`, `pm-reset`,
`vfs=` (how many it could have), `vf-of=`, `owner=` (Intel VMD), `boot-vga`, `resets=`, and as sysfs has them `driver=`,
`group=`, `numa=`, `sub=`.
"""

import io
import re
import tarfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostwright.base import paths
from hostwright.base.address import Address
from hostwright.pci.function import PCIE_TYPES, Kind

FOLDER = paths.TREE / "tests/machines"
KINDS = {
    "conventional": Kind.CONVENTIONAL,
    "endpoint": Kind.ENDPOINT,
    "legacy": Kind.LEGACY_ENDPOINT,
    "root-port": Kind.ROOT_PORT,
    "upstream": Kind.UPSTREAM,
    "downstream": Kind.DOWNSTREAM,
    "pci-bridge": Kind.PCI_BRIDGE,
    "integrated": Kind.ROOT_COMPLEX_ENDPOINT,
    "event-collector": Kind.EVENT_COLLECTOR,
}
_TEXTS = {
    **{
        name: f"proc/{name}"
        for name in ("cmdline", "mounts", "swaps", "iomem", "meminfo", "cpuinfo", "default_route")
    },
    "release": "proc/sys/kernel/osrelease",
    "dmesg": "dmesg",
}
_TYPE_NUMBERS = {kind: number for number, kind in PCIE_TYPES.items()}
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}
_BAR = re.compile(r"(\d):(\d+)([KMG]?)(io)?(/64)?(p)?(?:@([0-9a-f]+))?")
_IO, _MEMORY, _PREFETCH, _WIDE = 0x100, 0x200, 0x2000, 0x100000
# Intel's 100 and 200 series root ports have their ACS registers as dwords (drivers/pci/quirks.c).
_WIDE_ACS = re.compile(r"8086:(a1[16]|a29|a2e|9d1)")


@dataclass(frozen=True)
class Expectation:
    """What a knowledgeable person says of a device: a verdict, and at least these findings."""

    device: str
    verdict: str
    reasons: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A line of `functions`: words with a value, and those without."""

    address: str
    id: str
    class_code: str
    values: Mapping[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()

    @property
    def kind(self) -> Kind | None:
        """What its capabilities showed; None where the source does not show them."""
        return next((KINDS[flag] for flag in self.flags if flag in KINDS), None)

    @property
    def slot(self) -> str:
        return Address.parse(self.address).slot_name


@dataclass(frozen=True)
class RealMachine:
    """One file of tests/machines; `facts` are its tables as they are."""

    name: str
    title: str
    teaches: str
    origin: str
    rows: tuple[Row, ...]
    expected: tuple[Expectation, ...]
    facts: Mapping[str, Any]


def find_names() -> list[str]:
    """All machines, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def load(name: str) -> RealMachine:
    """The facts about one machine."""
    facts = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    rows = tuple(_read_row(line) for line in facts["functions"].splitlines() if line.split("#")[0].strip())
    expected = tuple(
        Expectation(
            one["device"], one["verdict"], tuple(one.get("reasons", ())), tuple(one.get("without", ()))
        )
        for one in facts.get("expect", ())
    )
    return RealMachine(name, facts["title"], facts["teaches"], facts["origin"], rows, expected, facts)


def _read_row(line: str) -> Row:
    address, id, class_code, *words = line.partition("#")[0].split()
    values = dict(word.split("=", 1) for word in words if "=" in word)
    flags = frozenset(word for word in words if "=" not in word)
    known = {*KINDS, "hidden", "flr", "pm-reset", "boot-vga"}
    assert flags <= known, f"{address}: {flags - known}"
    return Row(address if address.count(":") == 2 else f"0000:{address}", id, class_code, values, flags)


# The tar.


def write(machine: RealMachine, place: Path) -> Path:
    """The machine's capture as a tar; gives its place."""
    with tarfile.open(place, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in plan_members(machine):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return place


def plan_members(machine: RealMachine) -> Iterator[tuple[str, bytes]]:
    """Names and contents, as far as the source of the machine tells them."""
    facts = machine.facts
    yield "hostwright-capture", b"1\n"
    yield from _plan_devices(machine.rows, _find_folders(machine.rows))
    for number in sorted({row.values["group"] for row in machine.rows if "group" in row.values}):
        regions = [("reserved_regions", text) for text in facts.get("reserved", {}).get(number, ())]
        yield f"sys/kernel/iommu_groups/{number}/attributes", _attributes(regions)
    yield from _plan_classes(facts, _find_folders(machine.rows))
    if "dmar" in facts:
        yield "sys/firmware/acpi/tables/DMAR", make_dmar(facts["dmar"])
    yield "sys/class/dmi/id/attributes", _attributes(facts.get("dmi", {}).items())
    for name, member in _TEXTS.items():
        if name in facts:
            yield member, f"{facts[name].strip()}\n".encode()


def _plan_devices(rows: tuple[Row, ...], folders: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for row in rows:
        yield f"{folders[row.address]}/attributes", _attributes(_describe(row))
        if config := make_config(row, rows):
            yield f"{folders[row.address]}/config", config


def _plan_classes(facts: Mapping[str, Any], folders: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for name in ("block", "net", "graphics", "drm", "iommu"):
        if entries := facts.get(name):
            goals = ((entry, _goal(entry, name, folders.get(at, at))) for entry, at in entries.items())
            yield f"sys/class/{name}", _attributes(goals)


def _attributes(pairs: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}\t{value}\n" for name, value in pairs).encode()


def _goal(entry: str, name: str, folder: str) -> str:
    return f"../../{folder.removeprefix('sys/')}/{name}/{entry}"


def _find_folders(rows: tuple[Row, ...]) -> dict[str, str]:
    """Where sysfs has each function; without its bridges where the source does not name them."""
    behind = {f"{row.address[:5]}{row.values['bus']}": row for row in rows if "bus" in row.values}
    # A bridge whose bus is not told may have anything behind it.
    blind = any(row.class_code.startswith("0604") and "bus" not in row.values for row in rows)
    own = {row.address: row for row in rows}

    def place(row: Row) -> str:
        address = Address.parse(row.address)
        if "owner" in row.values:
            return f"{place(own[row.values['owner']])}/pci{address.bus_name}/{row.address}"
        if bridge := behind.get(address.bus_name):
            return f"{place(bridge)}/{row.address}"
        if blind and address.bus:
            return f"sys/bus/pci/devices/{row.address}"
        return f"sys/devices/pci{address.bus_name}/{row.address}"

    return {row.address: place(row) for row in rows}


def _describe(row: Row) -> Iterator[tuple[str, str]]:
    vendor, device = row.id.split(":")
    yield from (("vendor", f"0x{vendor}"), ("device", f"0x{device}"), ("class", f"0x{row.class_code}"))
    if "sub" in row.values:
        parts = row.values["sub"].split(":")
        yield from (("subsystem_vendor", f"0x{parts[0]}"), ("subsystem_device", f"0x{parts[1]}"))
    if "bars" in row.values:
        yield from (("resource", line) for line in _resource(row.values["bars"]))
    if "resets" in row.values:
        yield "reset_method", row.values["resets"].replace(",", " ").replace("none", "")
    if "boot-vga" in row.flags:
        yield "boot_vga", "1"
    names = {
        "numa": "numa_node",
        "driver": "driver",
        "group": "iommu_group",
        "vf-of": "physfn",
        "vfs": "sriov_totalvfs",
    }
    yield from ((name, row.values[word]) for word, name in names.items() if word in row.values)


def _resource(text: str) -> Iterator[str]:
    bars: dict[int, tuple[int, int, int]] = {}
    for part in text.split(","):
        match = _BAR.fullmatch(part)
        assert match, f"{part!r} in bars={text}"
        index, size, unit, is_io, is_wide, is_prefetch, start = match.groups()
        flags = _IO if is_io else _MEMORY | (_WIDE if is_wide else 0) | (_PREFETCH if is_prefetch else 0)
        at = int(start or "0", 16)
        bars[int(index)] = (at, at + (int(size) << _UNITS[unit]) - 1, flags)
    for index in range(6):
        yield " ".join(f"0x{number:016x}" for number in bars.get(index, (0, 0, 0)))


# Configuration spaces (PCI Local Bus 3.0, chapter 6; PCI Express Base 5.0, chapter 7).


def make_config(row: Row, rows: tuple[Row, ...]) -> bytes:
    """What the source showed of it; 64 bytes where it saw no capability, none where it saw nothing."""
    kind = row.kind
    if kind is None and "hidden" not in row.flags:
        return b""
    config = bytearray(_header(row, rows))
    if kind is None:
        config[6] |= 0x10
        return bytes(config)
    chain = _find_capabilities(row, kind)
    if not chain:
        return bytes(config)
    config += bytes((256 if kind is Kind.CONVENTIONAL else 4096) - len(config))
    _chain(config, chain)
    if "acs" in row.values:
        capability, control = (int(part, 16) for part in row.values["acs"].split("/"))
        wide = kind is Kind.ROOT_PORT and _WIDE_ACS.match(row.id)
        config[0x100:0x108] = (0x0001_000D).to_bytes(4, "little") + capability.to_bytes(4, "little")
        config[0x108:0x10C] = bytes(4)
        config[0x108 if wide else 0x106] = control
    return bytes(config)


def _header(row: Row, rows: tuple[Row, ...]) -> bytes:
    config = bytearray(64)
    ids = "ffff:ffff" if "vf-of" in row.values else row.id
    config[0:4] = b"".join(int(part, 16).to_bytes(2, "little") for part in ids.split(":"))
    config[9:12] = int(row.class_code, 16).to_bytes(3, "little")
    peers = any(other.slot == row.slot and other is not row and "vf-of" not in other.values for other in rows)
    config[14] = (0x80 if peers else 0) | {"0604": 1, "0607": 2}.get(row.class_code[:4], 0)
    if "bus" in row.values:
        config[0x18:0x1A] = bytes((int(row.address[-7:-5], 16), int(row.values["bus"], 16)))
    return bytes(config)


def _find_capabilities(row: Row, kind: Kind) -> list[bytes]:
    """PCI Express with its function level reset, or that of Advanced Features; power management for its reset."""
    chain: list[bytes] = []
    if kind is not Kind.CONVENTIONAL:
        flags = _TYPE_NUMBERS[kind] << 4 | 2
        device = (1 << 28 if "flr" in row.flags else 0).to_bytes(4, "little")
        chain.append(bytes((0x10, 0, flags, 0)) + device + bytes(52))
    elif "flr" in row.flags:
        chain.append(bytes((0x13, 0, 6, 3, 0, 0, 0, 0)))
    if chain or "pm-reset" in row.flags:
        # With NoSoftRst, going through D3 resets nothing.
        chain.append(bytes((0x01, 0, 3, 0, 0 if "pm-reset" in row.flags else 8, 0, 0, 0)))
    return chain


def _chain(config: bytearray, capabilities: list[bytes]) -> None:
    config[6] |= 0x10
    config[0x34] = place = 0x40
    for number, capability in enumerate(capabilities):
        config[place : place + len(capability)] = capability
        is_last = number == len(capabilities) - 1
        config[place + 1] = 0 if is_last else place + len(capability)
        place += len(capability)


# The DMAR table (VT-d 3.1, chapter 8).


def make_dmar(facts: Mapping[str, Any]) -> bytes:
    """`width` in bits, `flags`, `drhd` and `rmrr` as lines BASE[-END] and scopes such as 00:1c.7/00.2."""
    body = bytes((facts["width"] - 1, facts["flags"])) + bytes(10)
    for line in facts.get("drhd", ()):
        base, *scopes = line.split()
        everything = "all" in scopes
        fields = bytes((everything, 0, 0, 0)) + int(base, 16).to_bytes(8, "little")
        body += _structure(0, fields, [one for one in scopes if one != "all"])
    header = b"DMAR" + bytes(4) + bytes((1, 0)) + b"FACTS " + b"MACHINE " + bytes(12)
    return _finish(header + body + b"".join(map(_rmrr, facts.get("rmrr", ()))), 0)


def append_rmrr(table: bytes, line: str) -> bytes:
    """A machine's own table with one more region, newer than the first: Linux takes it from the front of its initrd as
    kernel/firmware/acpi/DMAR.aml, but no table that is not newer (drivers/acpi/tables.c, acpi_table_initrd_override()).
    """
    return _finish(table + _rmrr(line), int.from_bytes(table[24:28], "little") + 1)


def _finish(table: bytes, revision: int) -> bytes:
    """Length, revision of the maker and sum of a table's header (ACPI 6.4, 5.2.6)."""
    made = bytearray(table)
    made[4:8] = len(made).to_bytes(4, "little")
    made[24:28] = revision.to_bytes(4, "little")
    made[9] = 0
    made[9] = -sum(made) & 0xFF
    return bytes(made)


def _rmrr(line: str) -> bytes:
    ends, *scopes = line.split()
    return _structure(
        1, bytes(4) + b"".join(int(end, 16).to_bytes(8, "little") for end in ends.split("-")), scopes
    )


def _structure(kind: int, fields: bytes, scopes: list[str]) -> bytes:
    body = fields + b"".join(map(_scope, scopes))
    return kind.to_bytes(2, "little") + (len(body) + 4).to_bytes(2, "little") + body


def _scope(text: str) -> bytes:
    """BUS:DEVICE.FUNCTION, a further /DEVICE.FUNCTION for each bridge crossed; bridge: before it for a PCI bridge."""
    kind = 2 if text.startswith("bridge:") else 1
    bus, _, way = text.removeprefix("bridge:").partition(":")
    path = b"".join(bytes(int(part, 16) for part in step.split(".")) for step in way.split("/"))
    return bytes((kind, 6 + len(path), 0, 0, 0, int(bus, 16))) + path
