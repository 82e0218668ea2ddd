"""PCI addresses: their text, their order, and that no other module takes one apart."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright.base import paths
from hostwright.base.address import Address, find_on_path, is_address, is_root_bus, parse_kernel_path

CARD = Address(0, 0x82, 0x1F, 7)
PLACES = st.builds(
    Address, st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7)
)


@given(PLACES)
def test_text_and_address_are_the_same(place: Address) -> None:
    assert is_address(str(place))
    assert Address.parse(str(place)) == place
    assert Address.parse(place.short) == place


@given(PLACES, PLACES)
def test_addresses_sort_as_numbers(one: Address, other: Address) -> None:
    def key(place: Address) -> tuple[int, int]:
        return place.domain, place.requester

    assert (one < other) is (key(one) < key(other))


def test_parts() -> None:
    assert Address.parse("82:1f.7") == Address.parse("0000:82:1f.7") == CARD
    assert (CARD.bus_name, CARD.slot_name, CARD.short) == ("0000:82", "0000:82:1f", "82:1f.7")
    assert (CARD.devfn, CARD.requester) == (0xFF, 0x82FF)
    assert Address.parse("10000:e1:00.0").short == "10000:e1:00.0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0000:82:20.0", "device number 20 is above 1f"),
        ("82:1f.8", "function number 8 is above 7"),
        ("", "not a PCI address"),
        ("0000:82:1F.0", "not a PCI address"),
        ("00000:82:1f.0", "not a PCI address"),
        ("0000:82:1f", "not a PCI address"),
        ("0000:82:1f.0\n", "not a PCI address"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    assert not is_address(text)
    with pytest.raises(ValueError, match=f"^{message}$"):
        Address.parse(text)


def test_names_in_sysfs() -> None:
    path = "../../devices/pci0000:00/0000:00:1c.0/0000:02:00.0/ata1/target0:0:0/0:0:0:0/82:00.0"
    assert list(find_on_path(path)) == ["0000:00:1c.0", "0000:02:00.0"]
    assert [part for part in path.split("/") if is_root_bus(part)] == ["pci0000:00"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("82:1f.7", (CARD, ())),
        ("0x0:0X82:0x1f.0x7", (CARD, ())),
        ("0:82:3f.f/0.1/1f.8", (CARD, (1, 0xF8))),
        ("1:182:0.0", (Address(1, 0x182, 0, 0), ())),
        ("82:1f", None),
        ("82:1f.7/", None),
        ("pci:8086:1234", None),
    ],
)
def test_paths_of_the_kernels_command_line(
    text: str, expected: tuple[Address, tuple[int, ...]] | None
) -> None:
    assert parse_kernel_path(text) == expected


# One home.

OWN = paths.TREE / "hostwright" / "base" / "address.py"
APART = {
    *("partition", "rpartition", "split", "rsplit", "startswith", "endswith", "removeprefix", "removesuffix"),
    "count",
}
NAMES = re.compile(r"(?:\.|^)(?:address|bus|bus_name|slot|slot_name|port|owner|physical)\)?$")


def find_takings(tree: ast.AST) -> Iterator[str]:
    """Where text of an address is taken apart, cut, or matched by a pattern of its own."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in APART:
                if NAMES.search(ast.unparse(value)):
                    yield ast.unparse(node)
            case ast.Subscript(value=value, slice=ast.Slice()) if NAMES.search(ast.unparse(value)):
                yield ast.unparse(node)
            case ast.Constant(value=str(text)) if "0-9a-f" in text and is_pattern_of_address(text):
                yield text


def is_pattern_of_address(text: str) -> bool:
    try:
        pattern = re.compile(text)
    except re.error:
        return False
    return any(pattern.fullmatch(one) for one in ("0000:82:1f.7", "82:1f.7", "1f.7"))


def modules() -> list[Path]:
    return [file for file in (paths.TREE / "hostwright").rglob("*.py") if file != OWN]


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(paths.TREE)))
def test_an_address_is_taken_apart_in_one_module(file: Path) -> None:
    assert list(find_takings(ast.parse(file.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        'function.address.rpartition(":")[2]',
        'function.bus.endswith(":00")',
        "self.address[:-5]",
        'bus.split(":")',
        r're.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")',
        r're.fullmatch(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])", text)',
    ],
)
def test_the_search_finds(line: str) -> None:
    assert list(find_takings(ast.parse(line)))
