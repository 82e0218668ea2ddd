"""checksec's lines, against the decisions."""

import tarfile
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.formats import elf
from hostwright.source.pins import read_lock
from hostwright.upkeep import checksec, hardening
from hostwright.upkeep.checksec import Program

GOOD = (
    "Full RELRO,Canary found,NX enabled,PIE enabled,No RPATH,No RUNPATH,No Symbols,Yes,4,6,/build/usr/bin/["
)
LIBRARY = (
    "Full RELRO,No Canary found,NX enabled,DSO,No RPATH,No RUNPATH,No Symbols,No,0,0,/build/usr/lib/a,b.so"
)
BAD = "Partial RELRO,No Canary found,NX disabled,No PIE,RPATH,RUNPATH,No Symbols,No,0,6,/build/usr/bin/bad"
CANARY = Program("usr/lib/a,b.so", frozenset({"canary"}))
ALL = frozenset({"relro", "canary", "nx", "pie", "rpath", "runpath", "fortify"})


def test_each_line_is_a_program_and_what_it_lacks() -> None:
    assert checksec.parse(f"{GOOD}\n{LIBRARY}\n{BAD}\n") == [
        Program("usr/bin/[", frozenset()),
        CANARY,
        Program("usr/bin/bad", ALL),
    ]


@pytest.mark.parametrize(
    "line", ["Error: not an ELF file", GOOD.replace("/build/", "/"), GOOD.replace(",6,", ",,")]
)
def test_a_line_that_is_no_result_is_an_error(line: str) -> None:
    with pytest.raises(UserError, match="no result"):
        checksec.parse(line)


def test_what_lacks_something_without_a_reason_is_a_fault() -> None:
    refused = {"canary": {"usr/lib/*.so": "no function of it has an array"}}
    assert checksec.faults([CANARY], refused) == []
    other = Program("usr/bin/x", frozenset({"canary", "nx"}))
    assert checksec.faults([CANARY, other], refused) == [
        "usr/bin/x: lacks canary; no reason is given",
        "usr/bin/x: lacks nx; no reason is given",
    ]


def test_a_reason_that_fits_no_program_is_a_fault() -> None:
    assert checksec.faults(
        [CANARY], {"canary": {"usr/lib/*": "x", "usr/bin/*": "y"}, "nx": {"usr/lib/*": "z"}}
    ) == [
        "usr/bin/*: refused canary, but checksec does not miss it",
        "usr/lib/*: refused nx, but checksec does not miss it",
    ]


def test_the_table_counts_and_gives_reasons() -> None:
    text = checksec.render(
        [CANARY, Program("usr/bin/x", frozenset())], {"canary": {"usr/lib/*": "no arrays"}}
    )
    assert "checksec: 2 programs and libraries; relro 2, canary 1, nx 2" in text
    assert "| canary | `usr/lib/*` | 1 | no arrays |" in text


def test_a_property_that_is_none_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "checksec.toml"
    file.write_text('[canaries]\n"usr/bin/x" = "y"\n')
    with pytest.raises(UserError, match="canaries: not a property"):
        checksec.reasons(file)


def test_programs_are_found_by_their_content(tmp_path: Path) -> None:
    for name, content in {
        "bin/sh": b"#!/bin/sh",
        "usr/lib/modules/6/a.ko": elf.MAGIC,
        "e": b"",
    }.items():
        place = tmp_path / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (tmp_path / "tree/bin/true").write_bytes(Path("/bin/true").resolve().read_bytes())
    with tarfile.open(tmp_path / "tar", "w") as tar:
        tar.add(tmp_path / "tree", "")
    (tmp_path / "out").mkdir()
    assert checksec.programs(tmp_path / "tar", tmp_path / "out") == ["bin/true"]


def test_checksec_is_pinned() -> None:
    assert checksec.CHECKSEC in {pin.name for pin in read_lock(hardening.LOCK)}
