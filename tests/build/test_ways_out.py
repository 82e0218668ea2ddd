"""The probe in each kind of sandbox: what it finds is the table of docs/security.md."""

import functools
import os
import re
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.sandbox import buildroot, seccomp
from hostwright.vm import process
from hostwright.vm.board import Accelerator
from tests.build import probing, ways_out
from tests.build.probing import Column

PAGE = paths.TREE / "docs" / "security.md"
CALLS = "usr/include/x86_64-linux-gnu/asm/unistd_64.h"
# Younger than the build root's headers.
YOUNGER = {"open_tree_attr"}


def tabled() -> dict[str, dict[str, str]]:
    """The table of the page: for each column its cells by the names of the ways."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    start = next(number for number, line in enumerate(lines) if line.startswith("| way out |"))
    head, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:])
    body = [row for row in rows if len(row) == len(head)]
    return {title: {row[0]: row[at] for row in body} for at, title in enumerate(head) if at}


@functools.cache
def possible() -> list[Column]:
    return probing.possible()


@functools.cache
def found(column: Column) -> dict[str, str]:
    return {way: probing.cell(answer) for way, answer in probing.probe(column).items()}


@pytest.mark.parametrize("column", possible(), ids=lambda column: column.title)
def test_the_table_is_what_the_probe_finds(column: Column) -> None:
    assert tabled()[column.title] == found(column)


@pytest.mark.parametrize("column", possible(), ids=lambda column: column.title)
def test_bubblewrap_contains_a_machine_whoever_starts_it(column: Column) -> None:
    is_open = [way for way, answer in found(column).items() if answer != "closed"]
    if column.kind == "bwrap":
        assert is_open == ([probing.ROOT_ROW] if column.root and not column.machine else [])
    else:
        assert len(is_open) < 10


def test_the_page_has_every_column() -> None:
    assert list(tabled()) == [column.title for column in probing.COLUMNS]
    assert len(ways_out.WAYS) >= 30


def test_the_ways_are_open_without_a_sandbox(tmp_path: Path) -> None:
    """Or the table would praise a probe that cannot find anything."""
    answers = probing.uncontained(tmp_path)
    is_open = {way for way, answer in answers.items() if answer == "open"}
    assert is_open >= {
        "read a file of the machine",
        "reach the machine's loopback",
        "reach an abstract socket of the machine",
        "see a process of the machine",
        "signal a process of the same user",
        "trace a process",
        "read the memory of a process",
        "reach shared memory of the machine",
    }


def test_the_numbers_of_the_calls_are_the_kernels() -> None:
    text = (buildroot.root(buildroot.load_lock()) / "tools" / CALLS).read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}
    ours = {**seccomp.REFUSED, **seccomp.MISSING, "clone": seccomp.CLONE, "ioctl": seccomp.IOCTL}
    assert {name: known[name] for name in ours if name not in YOUNGER} == {
        name: number for name, number in ours.items() if name not in YOUNGER
    }


def test_a_machine_enters_a_folder_that_is_closed_to_others(tmp_path: Path) -> None:
    """Whoever starts it: root without capabilities could not."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "disk").touch(mode=0o644)
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    # As QEMU writes its later serial ports: to a pipe, by name.
    job = process.plan_job(("sh", "-c", "pwd >/dev/stdout; echo new >disk"), home, tools, Accelerator.TCG)
    with process.running(job, tmp_path / "log") as (console, status):
        console.wait_for_end(30)
        assert status() == 0
        assert console.text.split() == ["/output"]
    assert (home / "disk").read_text() == "new\n"
    assert (home / "disk").stat().st_uid == os.geteuid()
