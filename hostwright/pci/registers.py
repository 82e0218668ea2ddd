"""What a function's configuration space says: PCI Local Bus 3.0, chapter 6; PCI Express Base 5.0, chapter 7.

Every reader takes what there is: a register beyond the end of the bytes is None, and a chain of capabilities that does
not end is left.
"""

from collections.abc import Iterator

from hostwright.pci.function import PCIE_TYPES, Acs, Kind

PLAIN_SIZE, SHORT_SIZE, FULL_SIZE = 256, 64, 4096
_STATUS, HEADER_TYPE, _POINTER, _SECONDARY = 0x06, 0x0E, 0x34, 0x19
_HAS_CAPABILITIES = 0x10
_FIRST_BAR, _BARS, _IO, _WIDE, _PREFETCH = 0x10, 6, 0x1, 0x4, 0x8
MULTIFUNCTION = 0x80
_BRIDGE, _CARDBUS = 1, 2
_CARDBUS_POINTER = 0x14
EXPRESS, ACS = 0x10, 0x000D
_MAX_CAPABILITIES, _MAX_EXTENDED = 48, 480


def read(config: bytes, at: int, size: int) -> int | None:
    """A little-endian register."""
    return int.from_bytes(config[at : at + size], "little") if 0 <= at <= len(config) - size else None


def is_bridge(config: bytes) -> bool:
    """Whether the header is a PCI-to-PCI or CardBus bridge's."""
    return (read(config, HEADER_TYPE, 1) or 0) & 0x7F in (_BRIDGE, _CARDBUS)


def is_multifunction(config: bytes) -> bool:
    """Whether the header claims further functions."""
    return bool((read(config, HEADER_TYPE, 1) or 0) & MULTIFUNCTION)


def is_virtual(config: bytes) -> bool:
    """Whether it is a virtual function's: its own vendor and device id read as all ones (PCIe 5.0, 9.3.4.1)."""
    return read(config, 0, 4) == 0xFFFFFFFF


def is_silent(config: bytes) -> bool:
    """Whether nothing answered: the root complex makes all ones of a read that fails (PCIe 5.0, 2.3.2)."""
    return config[:SHORT_SIZE] == SHORT_SIZE * b"\xff"


def find_typed_bars(config: bytes) -> Iterator[int]:
    """The memory BARs that are there for certain, with or without an address: 64-bit or prefetchable ones, whose type
    bits are wired (PCI 3.0, 6.2.5.1). One without either reads like none.
    """
    if (read(config, HEADER_TYPE, 1) or 0) & 0x7F:
        return
    index = 0
    while index < _BARS:
        bar = read(config, _FIRST_BAR + 4 * index, 4) or 0
        is_memory = not bar & _IO
        if is_memory and bar & (_WIDE | _PREFETCH):
            yield index
        # The next register is the upper half of a 64-bit one.
        index += 2 if is_memory and bar & _WIDE else 1


def secondary_bus(config: bytes) -> int | None:
    """The number of the bus behind a bridge."""
    return read(config, _SECONDARY, 1) if is_bridge(config) else None


def has_capabilities(config: bytes) -> bool:
    """Whether there is a list of capabilities at all."""
    return bool((read(config, _STATUS, 2) or 0) & _HAS_CAPABILITIES)


def find_capability(config: bytes, wanted: int) -> int | None:
    """Where a capability begins."""
    return next((at for at, id in _capabilities(config) if id == wanted), None)


def find_extended(config: bytes, wanted: int) -> int | None:
    """Where an extended capability begins."""
    return next((at for at, id in _extended(config) if id == wanted), None)


def _capabilities(config: bytes) -> Iterator[tuple[int, int]]:
    if not has_capabilities(config):
        return
    is_cardbus = (read(config, HEADER_TYPE, 1) or 0) & 0x7F == _CARDBUS
    at = read(config, _CARDBUS_POINTER if is_cardbus else _POINTER, 1)
    for _ in range(_MAX_CAPABILITIES):
        at = (at or 0) & ~3
        id = read(config, at, 1)
        if at < SHORT_SIZE or id in (None, 0xFF):
            return
        yield at, id or 0
        at = read(config, at + 1, 1)


def _extended(config: bytes) -> Iterator[tuple[int, int]]:
    at = PLAIN_SIZE
    for _ in range(_MAX_EXTENDED):
        header = read(config, at, 4)
        if not header or header == 0xFFFFFFFF:
            return
        yield at, header & 0xFFFF
        at = header >> 20 & ~3
        if at < PLAIN_SIZE:
            return


def find_kind(config: bytes) -> Kind:
    """The device/port type; CONVENTIONAL without a PCI Express capability."""
    at = find_capability(config, EXPRESS)
    flags = read(config, at + 2, 2) if at is not None else None
    return Kind.CONVENTIONAL if flags is None else PCIE_TYPES.get(flags >> 4 & 0xF, Kind.RESERVED)


def find_acs(config: bytes, *, wide: bool, is_firmwares: bool) -> Acs | None:
    """The ACS capability; `wide` if its registers are dwords, `is_firmwares` if the kernel has not set them yet."""
    at = find_extended(config, ACS)
    if at is None:
        return None
    capability = read(config, at + 4, 4 if wide else 2)
    control = read(config, at + (8 if wide else 6), 4 if wide else 2)
    if capability is None or control is None:
        return None
    return Acs(capability & 0x7F, control & 0x7F if is_firmwares else None)


def make(kind: Kind, secondary: int | None, acs: tuple[int, int] | None) -> bytes:
    """A configuration space that says this and nothing else, for facts that came as text."""
    config = bytearray(FULL_SIZE)
    config[HEADER_TYPE] = secondary is not None
    config[_SECONDARY] = secondary or 0
    if kind is not Kind.CONVENTIONAL:
        number = next((number for number, one in PCIE_TYPES.items() if one is kind), 0xF)
        config[_STATUS] = _HAS_CAPABILITIES
        config[_POINTER] = SHORT_SIZE
        config[SHORT_SIZE : SHORT_SIZE + 4] = bytes((EXPRESS, 0, number << 4 | 2, 0))
    if acs:
        words = (ACS | 1 << 16, acs[0] | acs[1] << 16)
        config[PLAIN_SIZE : PLAIN_SIZE + 8] = b"".join(word.to_bytes(4, "little") for word in words)
    return bytes(config)
