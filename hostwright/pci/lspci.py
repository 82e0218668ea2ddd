"""The text of `lspci -nn -vvvxxxx` (pciutils 3) as a capture, as far as it carries the facts.

A hexdump is the configuration space itself; without one it is made from what lspci had decoded. Needs -nn or -n for
the ids; the bridges come from bus numbers. lspci leaves the domain out where all are 0000.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hostwright.base import address as addresses
from hostwright.base.address import Address
from hostwright.base.errors import UserError
from hostwright.pci import registers
from hostwright.pci.function import Kind
from hostwright.pci.inventory import HINT, Bar, Capture, PciFunction, fill_parents, with_missing

# With -P and -PP the bridges above stand before it.
_ADDRESS = rf"(?:[0-9a-f:./]+/)?({addresses.ANY})"
_ID = r"([0-9a-f]{4}:[0-9a-f]{4})"
_END = r"(?: \(rev ([0-9a-f]{2})\))?(?: \(prog-if ([0-9a-f]{2}).*\))?\s*$"
# "00:02.0 VGA compatible controller [0300]: Vendor Device [1234:1111] (rev 02) (prog-if 00 [VGA controller])"
_WITH_NAMES = re.compile(rf"{_ADDRESS} .*?\[([0-9a-f]{{4}})\]: .*\[{_ID}\]{_END}")
_NUMBERS = re.compile(rf"{_ADDRESS} (?:Class )?([0-9a-f]{{4}}): {_ID}{_END}")
_BEGIN = re.compile(rf"{_ADDRESS} \S")
_HEX = re.compile(r"([0-9a-f]{2,3}): ((?:[0-9a-f]{2} ?){1,16})\s*$")
_REGION = re.compile(
    r"\s+Region (\d): (Memory|I/O ports) at (\S+)(?: \((32|64)-bit, (non-)?prefetchable\))?"
    r".*\[size=(\d{1,12})([KMGT]?)\]"
)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_ACS_NAMES = ("SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl", "DirectTrans")

# What lspci calls the device/port types.
_TYPES = (
    ("Root Complex Integrated Endpoint", Kind.ROOT_COMPLEX_ENDPOINT),
    ("Root Complex Event Collector", Kind.EVENT_COLLECTOR),
    ("PCI-Express to PCI/PCI-X Bridge", Kind.PCI_BRIDGE),
    ("PCI/PCI-X to PCI-Express Bridge", Kind.PCIE_BRIDGE),
    ("Legacy Endpoint", Kind.LEGACY_ENDPOINT),
    ("Endpoint", Kind.ENDPOINT),
    ("Root Port", Kind.ROOT_PORT),
    ("Upstream Port", Kind.UPSTREAM),
    ("Downstream Port", Kind.DOWNSTREAM),
)


def read(text: str, source: str) -> Capture:
    """The machine that a listing describes; UserError, naming the line, for text of another form."""
    functions = []
    for number, lines in _blocks(text):
        functions.append(_read_block(lines, f"{source}:{number}"))
    listed = [one.address for one in functions]
    if not functions:
        raise UserError(f"{source}: neither a tar nor lspci's text", HINT)
    if len(set(listed)) < len(listed):
        raise UserError(f"{source}: a device is listed twice", "give the listing of one machine")
    slots = [one.slot for one in functions]
    functions = [_finish(one, slots.count(one.slot) > 1) for one in functions]
    functions = fill_parents(sorted(functions, key=lambda one: one.place))
    return with_missing(Capture(source, tuple(functions)))


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of each device, with the number of the first."""
    block: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if _BEGIN.match(line):
            if block:
                yield start, block
            block, start = [line], number
        elif block:
            block.append(line)
    if block:
        yield start, block


def _read_block(lines: Sequence[str], where: str) -> PciFunction:
    match = _WITH_NAMES.match(lines[0]) or _NUMBERS.match(lines[0])
    if not match:
        raise UserError(f"{where}: no vendor and device id in {lines[0][:60]!r}", "give lspci the option -nn")
    address, class_code, id, revision, interface = match.groups()
    body = lines[1:]
    config = _read_hexdump(body, where)
    is_silent = registers.is_silent(config) or (not config and _is_silent(revision, body))
    return PciFunction(
        address=str(Address.parse(address)),
        id=id,
        class_code=int(class_code, 16) << 8 | int(interface or "0", 16),
        subsystem=_find(r"\tSubsystem: (?:.*\[)?" + _ID, body),
        revision=int(revision, 16) if revision else None,
        driver=_find(r"\tKernel driver in use: (\S+)", body),
        bars=tuple(_read_regions(body)),
        config=b"" if is_silent else config or _decode(body),
        numa_node=int(_find(r"\tNUMA node: (\d{1,4})\b", body) or "-1"),
        group=_find(r"\tIOMMU group: (\d+)", body) or None,
        is_silent=is_silent,
    )


def _is_silent(revision: str | None, lines: Sequence[str]) -> bool:
    """By what lspci makes of all ones."""
    return revision == "ff" and not _decode(lines)


def _find(pattern: str, lines: Sequence[str]) -> str:
    return next((match[1] for line in lines if (match := re.match(pattern, line))), "")


def _read_regions(lines: Sequence[str]) -> Iterator[Bar]:
    for line in lines:
        if match := _REGION.match(line):
            index, kind, start, width, plain, size, unit = match.groups()
            place = int(start, 16) if re.fullmatch(r"[0-9a-f]{1,16}", start) else 0
            yield Bar(
                index=int(index),
                start=place,
                size=int(size) << _UNITS[unit],
                is_memory=kind == "Memory",
                is_64bit=width == "64",
                is_prefetchable=bool(width) and not plain,
            )


def _read_hexdump(lines: Sequence[str], where: str) -> bytes:
    """The bytes of -x, -xxx or -xxxx."""
    found = bytearray()
    for line in lines:
        if match := _HEX.match(line):
            if int(match[1], 16) != len(found):
                raise UserError(f"{where}: the hexdump has a gap before {match[1]}", HINT)
            found += bytes.fromhex(match[2])
    return bytes(found[: registers.FULL_SIZE])


def _decode(lines: Sequence[str]) -> bytes:
    """The configuration space as far as -vvv shows it; nothing where it does not show the capabilities."""
    secondary = _find(r"\tBus: .*secondary=([0-9a-f]{2})", lines)
    kind, has_acs = Kind.CONVENTIONAL, False
    complete = False
    for line in lines:
        match = re.match(r"\tCapabilities: \[[0-9a-f]+(?: v\d+)?\] (.*)", line)
        if not match:
            continue
        complete = True
        if match[1].startswith("Express"):
            kind = next((kind for name, kind in _TYPES if name in match[1]), Kind.RESERVED)
        has_acs = has_acs or match[1].startswith("Access Control Services")
    acs = (_find_bits("ACSCap", lines), _find_bits("ACSCtl", lines)) if has_acs else None
    if not complete or (acs and None in acs):
        return b""
    return registers.make(
        kind, int(secondary, 16) if secondary else None, (acs[0] or 0, acs[1] or 0) if acs else None
    )


def _find_bits(name: str, lines: Sequence[str]) -> int | None:
    text = _find(rf"\t\t{name}:\s*(.*)", lines)
    if not text:
        return None
    return sum(1 << place for place, bit in enumerate(_ACS_NAMES) if f"{bit}+" in text)


def _finish(function: PciFunction, has_peers: bool) -> PciFunction:
    """What follows from the listing as a whole: that a slot has several functions, whether all of it is there."""
    config = function.config
    if has_peers and len(config) > registers.HEADER_TYPE and not registers.is_virtual(config):
        place = registers.HEADER_TYPE
        config = config[:place] + bytes((config[place] | registers.MULTIFUNCTION,)) + config[place + 1 :]
    is_express = registers.find_kind(config) is not Kind.CONVENTIONAL
    # lspci -xxx stops at 256 bytes and does not say that there are more.
    is_whole = len(config) >= (registers.FULL_SIZE if is_express else registers.PLAIN_SIZE)
    return replace(
        function,
        config=config,
        is_whole=is_whole,
        numa_node=None if function.numa_node == -1 else function.numa_node,
    )
