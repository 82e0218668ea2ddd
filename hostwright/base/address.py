"""PCI addresses: the one place where their text is read and taken apart, lspci's forms and the kernel's."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The kernel prints a domain as %04x: Intel VMD begins at 10000.
_DOMAIN = r"(?:[0-9a-f]{4}|[1-9a-f][0-9a-f]{4,7})"
_SHORT = r"[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
# For the patterns of lines that hold an address: with its domain, or with and without.
FULL = rf"{_DOMAIN}:{_SHORT}"
ANY = rf"(?:{_DOMAIN}:)?{_SHORT}"

_FULL = re.compile(FULL)
_PARTS = re.compile(rf"(?:({_DOMAIN}):)?([0-9a-f]{{2}}):([0-9a-f]{{2}})\.([0-9a-f])")
_ROOT_BUS = re.compile(rf"pci{_DOMAIN}:[0-9a-f]{{2}}")
_MAX_DEVICE, _MAX_FUNCTION = 0x1F, 7

# %x of the kernel's sscanf() takes 0x as well.
_HEX = "(?:0x)?[0-9a-f]+"
_STEP = rf"{_HEX}\.{_HEX}"
_PATH = re.compile(rf"(?:({_HEX}):)?({_HEX}):({_STEP}(?:/{_STEP})*)", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Address:
    """The place of a PCI function; as text dddd:bb:dd.f in lower case. Addresses sort as numbers."""

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The address that a text in lower case is, in domain 0 where it names none; ValueError for anything else."""
        match = _PARTS.fullmatch(text)
        if not match:
            raise ValueError("not a PCI address")
        domain, bus, device, function = (int(part or "0", 16) for part in match.groups())
        if device > _MAX_DEVICE:
            raise ValueError(f"device number {device:02x} is above {_MAX_DEVICE:x}")
        if function > _MAX_FUNCTION:
            raise ValueError(f"function number {function:x} is above {_MAX_FUNCTION:x}")
        return cls(domain, bus, device, function)

    def __str__(self) -> str:
        return f"{self.slot_name}.{self.function:x}"

    @property
    def bus_name(self) -> str:
        """Domain and bus: dddd:bb."""
        return f"{self.domain:04x}:{self.bus:02x}"

    @property
    def slot_name(self) -> str:
        """The address without the function's number: dddd:bb:dd."""
        return f"{self.bus_name}:{self.device:02x}"

    @property
    def short(self) -> str:
        """The address without the domain, where that is 0."""
        return str(self) if self.domain else str(self).removeprefix("0000:")

    @property
    def devfn(self) -> int:
        """Device and function number in one byte, as in a requester id: PCI_DEVFN()."""
        return self.device << 3 | self.function

    @property
    def requester(self) -> int:
        """The requester id: bus, device and function number in two bytes."""
        return self.bus << 8 | self.devfn


def is_address(text: str) -> bool:
    """Whether a text is an address with its domain, as the kernel names devices."""
    return _FULL.fullmatch(text) is not None


def is_root_bus(text: str) -> bool:
    """Whether a text is the name of a root bus in sysfs: pcidddd:bb."""
    return _ROOT_BUS.fullmatch(text) is not None


def find_on_path(path: str) -> Iterator[str]:
    """The addresses among the folders of a path in sysfs, from the root bus down."""
    return filter(is_address, path.split("/"))


def parse_kernel_path(text: str) -> tuple[Address, tuple[int, ...]] | None:
    """What pci_dev_str_match_path() reads: [DOMAIN:]BUS:DEVICE.FUNCTION, and for each /DEVICE.FUNCTION its devfn.

    Returns None for any other form. PCI_DEVFN() cuts off what is too large.
    """
    match = _PATH.fullmatch(text)
    if not match:
        return None
    numbers = [[int(part, 16) for part in step.split(".")] for step in match[3].split("/")]
    (device, function), *steps = ((device & _MAX_DEVICE, one & _MAX_FUNCTION) for device, one in numbers)
    start = Address(int(match[1] or "0", 16), int(match[2], 16), device, function)
    return start, tuple(device << 3 | one for device, one in steps)
