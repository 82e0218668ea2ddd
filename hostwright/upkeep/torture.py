"""`./doit torture`: builds that are killed at seeded random moments. The next one must end well, with equal bits.

    a copy of the tree --host--> MANIFEST; then for each blow: unmake, host, strike, look for leftovers, host, compare

The copy shares the cache. Unmaking removes the image and one built package, so that a compiler may be struck as well.
"""

import ctypes
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hostwright.base import files, paths, run
from hostwright.base.errors import UserError
from hostwright.base.times import clock, limit
from hostwright.image import manifest
from hostwright.image.reproduce import NOT_COPIED

# Built in seconds, and in every image.
PACKAGE = "zlib"
MADE = ("host.img", "rootfs.tar", "MANIFEST", f"packages/{PACKAGE}.json")
# Seconds after which a struck build and all that it started must be gone.
GONE_LIMIT_S = limit(20.0)
# include/uapi/linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36

Note = Callable[[str], None]


@dataclass(frozen=True)
class Blow:
    """Signals for a build, `after_s` seconds from its start, `gap_s` seconds apart."""

    after_s: float
    signals: tuple[int, ...]
    gap_s: float = 0.0

    def __str__(self) -> str:
        names = " and ".join(signal.Signals(number).name for number in self.signals)
        return f"{names} after {self.after_s:.2f} s"


def plan(seed: int, kills: int, pairs: int, span_s: float) -> list[Blow]:
    """`kills` blows of SIGKILL and `pairs` of two other signals, at moments of a build that takes `span_s` seconds."""
    dice = Random(seed)
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    single = [Blow(dice.uniform(0.0, span_s), (signal.SIGKILL,)) for _ in range(kills)]
    double = [
        Blow(dice.uniform(0.5, span_s), tuple(dice.choices(ending, k=2)), dice.choice((0.0, 0.01, 0.3)))
        for _ in range(pairs)
    ]
    return [*single, *double]


def torture(python: str, blows: tuple[int, int], seed: int, log: Path, note: Note) -> int:
    """Strike `blows` (kills, pairs) builds; the number that ended well. UserError names the first that did not."""
    with _copied_tree() as tree:
        argv = ["env", f"--chdir={tree}", python, "-m", "doit", "host"]
        run.check("the build before the first blow", argv, log)
        expected = manifest.load(tree / "dist" / "MANIFEST")
        span_s = _time(tree, argv, log)
        planned = plan(seed, *blows, span_s)
        for number, blow in enumerate(planned, 1):
            note(f"blow {number} of {len(planned)}: {blow} of {clock(span_s)}")
            _suffer(blow, tree, argv, log)
            found = manifest.load(tree / "dist" / "MANIFEST")
            if wrong := manifest.differences(expected, found):
                raise UserError(f"after {blow} (seed {seed}), these differ: {', '.join(wrong)}")
    return len(planned)


@contextmanager
def _copied_tree() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="torture-", dir=paths.cache()))
    try:
        shutil.copytree(paths.TREE, base / "tree", ignore=NOT_COPIED, symlinks=True)
        yield base / "tree"
    finally:
        files.remove(base)


def _time(tree: Path, argv: list[str], log: Path) -> float:
    """How long a build from unmade takes, in seconds."""
    _unmake(tree)
    start = time.monotonic()
    run.check("the build that is timed", argv, log)
    return time.monotonic() - start


def _unmake(tree: Path) -> None:
    for name in MADE:
        files.remove(tree / "dist" / name)
    for entry in paths.store().glob(f"{PACKAGE}-*"):
        files.remove(entry)


def _suffer(blow: Blow, tree: Path, argv: list[str], log: Path) -> None:
    """Strike a build, and let the next one end."""
    _unmake(tree)
    mounts = Path("/proc/self/mounts").read_text()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _strike(blow, argv, log)
    if left := _left_behind():
        raise UserError(f"after {blow}, these still run: {', '.join(left)}")
    if Path("/proc/self/mounts").read_text() != mounts:
        raise UserError(f"after {blow}, a mount is left: see /proc/self/mounts")
    run.check(f"the build after {blow}", argv, log)


def _strike(blow: Blow, argv: list[str], log: Path) -> None:
    child = run.start(argv, log)
    try:
        if not run.ends_within(child, blow.after_s):
            _send(blow, child.pid)
        if not run.ends_within(child, GONE_LIMIT_S):
            raise UserError(f"{blow} did not end the build within {GONE_LIMIT_S:g} s")
    finally:
        run.close_pipe(child)


def _send(blow: Blow, process: int) -> None:
    for number in blow.signals:
        with suppress(ProcessLookupError):
            os.kill(process, number)
        time.sleep(blow.gap_s)


def _left_behind() -> list[str]:
    """What the struck build started and left: as orphans, they are children of this process now."""
    end = time.monotonic() + GONE_LIMIT_S
    while (left := _orphans()) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _orphans() -> list[str]:
    """The names of this process's children that run; those that have ended are taken off the kernel's list."""
    own, names = str(os.getpid()), []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ChildProcessError):
            # The name may hold blanks and brackets (proc_pid_stat(5)).
            head, _, rest = status.read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if parent == own and state == "Z":
                os.waitpid(int(status.parent.name), os.WNOHANG)
            elif parent == own:
                names.append(head.partition("(")[2])
    return names
