"""Style, types and tests; the same for people and for CI."""

import sys
from functools import partial
from pathlib import Path

from hostwright import paths, run
from hostwright.errors import UserError
from hostwright.tasks.define import Task, step

PYTHON_FILES = ("dodo.py", "hostwright", "recipes", "tests")
FAST = ("tests/unit", "tests/recipes")
BUILT = ("tests/boot", "tests/build")
INSTALLS = ("tests/install",)
PROVED = ("tests/proof",)

# Most of the fast tests wait for a child or a clock: more of them at a time than there are processors.
AT_A_TIME = ("-n", "4", "--dist", "worksteal")
# The tests of one file share the machine that it boots. Files begin in their order, so that what takes long does not
# begin last. Two run beside each other, as in the proof; an installer often waits, which leaves room for a third.
TWO_MACHINES = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
THREE_MACHINES = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")


def lint() -> Task:
    return step("check style, types and shell scripts", _lint, always=True)


def test_fast() -> Task:
    task = step(
        "lint, unit and recipe tests: everything that needs no build",
        partial(_pytest, *AT_A_TIME, *FAST),
        after=["lint"],
        always=True,
    )
    return task | {"basename": "test-fast"}


def test_built() -> Task:
    task = step(
        "boot and inspect what was built, beside the proof",
        partial(_pytest, *TWO_MACHINES, *BUILT),
        after=["test-fast", "host", "medium"],
        always=True,
    )
    return task | {"basename": "test-built"}


def test_installs() -> Task:
    # On its own: a fault is told in time, and among many machines the guest inside the proof's host gets very slow.
    task = step(
        "install Debian with what was built, and spoil it",
        partial(_pytest, *THREE_MACHINES, *INSTALLS),
        after=["test-built", "prove"],
        always=True,
    )
    return task | {"basename": "test-installs"}


def test() -> Task:
    return step(
        "all tests, on what was really built and booted",
        partial(_pytest, *PROVED),
        after=["test-fast", "test-built", "prove", "test-installs"],
        always=True,
    )


def _lint() -> None:
    for what, argv in _linters():
        if run.attached(argv, paths.TREE) != 0:
            raise UserError(f"{what} found the faults above")


def _linters() -> list[tuple[str, list[str]]]:
    return [
        ("ruff format", [_tool("ruff"), "format", "--check", "--quiet", *PYTHON_FILES]),
        ("ruff", [_tool("ruff"), "check", "--quiet", *PYTHON_FILES]),
        ("mypy", [_tool("mypy"), "--no-error-summary"]),
        ("shellcheck", [_tool("shellcheck"), "--shell=sh", *map(str, shell_scripts())]),
    ]


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def shell_scripts() -> list[Path]:
    """Every file of the tree whose first line names sh: the launcher, CI's entry, the host's own scripts."""
    candidates = [
        paths.TREE / "doit",
        paths.TREE / ".ci" / "run",
        *paths.ROOTFS.rglob("*"),
        *(paths.TREE / "guest").rglob("*"),
    ]
    return sorted(file for file in candidates if file.is_file() and not file.is_symlink() and is_shell(file))


def is_shell(file: Path) -> bool:
    """Whether a file's first line starts a POSIX shell."""
    with file.open("rb") as source:
        return source.readline().split()[:1] == [b"#!/bin/sh"]


def _pytest(*words: str) -> None:
    if run.attached([sys.executable, "-m", "pytest", "--durations=5", *words], paths.TREE) != 0:
        raise UserError("the tests above failed")
