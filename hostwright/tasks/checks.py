"""Style, types and tests; the same for people and for CI."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hostwright.base import paths, run, texts
from hostwright.base.errors import UserError
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, step
from hostwright.tasks.inputs import machine

PYTHON_FILES = ("dodo.py", "hostwright", "recipes", "tests")
FAST = ("tests/unit", "tests/recipes")
BUILT = ("tests/boot", "tests/build")
INSTALLS = ("tests/install",)
PROVED = ("tests/proof",)

# Most of the fast tests wait for a child or a clock: more of them at a time than there are processors.
AT_A_TIME = ("-n", "4", "--dist", "worksteal")
# The tests of one file share the machine that it boots. Files begin in their order, so that what takes long does not
# begin last. Two run beside each other, as in the proof; an installer often waits, which leaves room for a third.
BY_FILE = ("--dist", "loadfile", "--no-loadscope-reorder")
TWO_MACHINES = ("-n", "2", *BY_FILE)
THREE_MACHINES = ("-n", "3", *BY_FILE)


def lint() -> Task:
    """check style, types and shell scripts"""
    return step(_lint, always=True)


def audit() -> Task:
    """judge kernel, programs and booted host by kernel-hardening-checker, checksec and lynis"""
    return step(_audit, after=["kernel-config", "host"], always=True, counted=False)


def torture() -> Task:
    """kill runs at random moments and spoil cached files; each next run must end well, with equal bits"""
    return step(_torture, after=["host"], always=True, counted=False)


def test_fast() -> Task:
    """lint, unit and recipe tests: everything that needs no build"""
    return _tests((*AT_A_TIME, *FAST), ["lint"])


def test_built() -> Task:
    """boot and inspect what was built, beside the proof"""
    return _tests((*TWO_MACHINES, *BUILT, "-m", "not long"), ["test-fast", "host", "medium"])


def test_long() -> Task:
    """boot what takes long: updates under BIOS, slots that hang, lynis"""
    return _tests((*TWO_MACHINES, *BUILT, "-m", "long"), ["host"])


def test_installs() -> Task:
    """install Debian with what was built, and spoil it"""
    # Alone, since faults must be reported within their limits, and many machines slow down the proof's inner guest.
    return _tests((*THREE_MACHINES, *INSTALLS), ["test-built", "prove"])


def test() -> Task:
    """all tests, on what was really built and booted"""
    return _tests(PROVED, ["test-fast", "test-built", "prove", "test-installs"])


def _tests(words: Sequence[str], after: Sequence[str]) -> Task:
    """A task that runs pytest with `words`."""
    return step(partial(_pytest, *words), after=after, always=True)


def _audit() -> None:
    from hostwright.upkeep import checksec, hardening, lynis

    log, note = paths.log_file("audit"), partial(reporter.board().note, "audit")
    checks, refused = hardening.check(paths.KERNEL / "config", log), hardening.refusals()
    programs, reasons = checksec.audit(log, note), checksec.reasons()
    # Last, since it takes minutes: what it finds is worth nothing on an image with a fault that is known.
    _judge(hardening.render(checks, refused), hardening.faults(checks, refused), hardening.REFUSED)
    _judge(checksec.render(programs, reasons), checksec.faults(programs, reasons), checksec.REFUSED)
    report, left = lynis.audit(machine(), log, note), hardening.refusals(lynis.REFUSED)
    _judge(lynis.render(report, left), lynis.faults(report, left), lynis.REFUSED)


def _judge(table: str, faults: Sequence[str], decisions: Path) -> None:
    reporter.board().say(table)
    if faults:
        raise UserError(
            "\n".join(faults), f"set it right, or give the reason in {texts.name_file(decisions)}"
        )


def _torture() -> None:
    from hostwright.torture import flips, strikes

    note = partial(reporter.board().note, "torture")
    seed, log = variables.number("seed"), paths.log_file("torture")
    what = variables.text("what").split(",")
    planned = strikes.plan(seed, variables.number("kills"), variables.number("pairs"), what)
    ended = strikes.torture(sys.executable, planned, log, note) if planned else {}
    for name, count in ended.items():
        reporter.board().say(f"{name}: {count} runs were struck; each next one ended well, with equal bits")
    if count := variables.number("flips"):
        for line in flips.sweep_copy(sys.executable, count, seed, log, note):
            reporter.board().say(line)


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
    """Every file whose first line names sh: the launcher, CI's entry, and what host, guest and proof run."""
    candidates = [
        paths.TREE / "doit",
        paths.TREE / ".ci" / "run",
        *paths.ROOTFS.rglob("*"),
        *(paths.TREE / "guest").rglob("*"),
        *(paths.TREE / "hostwright").rglob("*.sh"),
    ]
    return sorted(file for file in candidates if file.is_file() and not file.is_symlink() and is_shell(file))


def is_shell(file: Path) -> bool:
    """Whether a file's first line starts a POSIX shell."""
    with file.open("rb") as source:
        return source.readline().split()[:1] == [b"#!/bin/sh"]


def _pytest(*words: str) -> None:
    if run.attached([sys.executable, "-m", "pytest", "--durations=5", *words], paths.TREE) != 0:
        raise UserError("the tests above failed")
