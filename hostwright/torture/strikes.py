"""`./doit torture`: runs that are struck at seeded random moments. The next one must end well, with equal bits.

    a copy of the tree and of its cache --> each victim made once; then for each blow: unmake, strike, look for what is
    left and what is half made, run again, compare

The copy in which a run did not end well is kept until the next torture.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from hostwright.base import files, paths, run
from hostwright.base.errors import UserError
from hostwright.base.times import clock, limit
from hostwright.image import manifest
from hostwright.torture import leftovers, slow, victims
from hostwright.torture.victims import Place, Victim

# Seconds that each source takes from the archive on loopback.
FETCH_S = 1.0
# A run may take so many times what it took undisturbed, and so many seconds more.
SLOWER, SLACK_S = 8, limit(120.0)
# The time after the sign of a run that is ended; the machine that it started runs by then.
AFTER_SIGN_S = 5.0
# Before it, the signals that end a run in order find no handler yet.
EARLIEST_PAIR_S = 0.5

Note = Callable[[str], None]


@dataclass(frozen=True)
class Blow:
    """Signals for a victim, at a share of the time that it takes, `gap_s` seconds apart."""

    victim: str
    share: float
    signals: tuple[int, ...]
    gap_s: float = 0.0

    def __str__(self) -> str:
        names = " and ".join(signal.Signals(number).name for number in self.signals)
        return f"{names} at {100 * self.share:.1f} % of {self.victim}"


@dataclass(frozen=True)
class Standard:
    """A victim undisturbed: the seconds that it takes, and the digests of what it makes."""

    seconds: float
    made: dict[str, str]


def plan(seed: int, kills: int, pairs: int, what: Sequence[str]) -> list[Blow]:
    """`kills` blows of SIGKILL and `pairs` of two other signals, in turn on each victim of `what`."""
    dice = Random(seed)
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    single = [Blow(what[number % len(what)], dice.random(), (signal.SIGKILL,)) for number in range(kills)]
    double = [
        Blow(
            what[number % len(what)],
            dice.random(),
            tuple(dice.choices(ending, k=2)),
            dice.choice((0.0, 0.01, 0.3)),
        )
        for number in range(pairs)
    ]
    return [*single, *double]


def torture(python: str, planned: Sequence[Blow], log: Path, note: Note) -> Counter[str]:
    """Strike as planned; how often each victim ended well. UserError names the first blow that did not."""
    leftovers.adopt_orphans()
    ended: Counter[str] = Counter()
    with copied(python) as place, slow.archive(slow.places(victims.pins()), FETCH_S) as mirror:
        places = {name: replace(place, mirror=mirror if name == "fetch" else "") for name in victims.ALL}
        standards = {}
        for name in dict.fromkeys(blow.victim for blow in planned):
            note(f"{name}, undisturbed")
            standards[name] = _measure(victims.find(name), places[name], log)
        known = _names(place)
        for number, blow in enumerate(planned, 1):
            standard = standards[blow.victim]
            note(f"blow {number} of {len(planned)}: {blow}, which takes {clock(standard.seconds)}")
            _suffer(blow, standard, places[blow.victim], log)
            _require(f"after {blow} and the next run, these are left", _names(place) - known)
            ended[blow.victim] += 1
    return ended


@contextmanager
def copied(python: str) -> Iterator[Place]:
    """A copy of the tree and of its cache, removed at the end unless something was not well."""
    place = Place(files.temporary_folder(paths.cache(), "torture"), python)
    try:
        victims.copy(place)
        yield place
    except UserError as error:
        raise UserError(
            error.message, f"{error.hint}{'; ' if error.hint else ''}kept: {place.base}"
        ) from None
    except BaseException:
        files.remove(place.base)
        raise
    files.remove(place.base)


def _measure(victim: Victim, place: Place, log: Path) -> Standard:
    """Make a victim twice: once with all that it needs, and once alone."""
    limit_s = limit(1800.0)
    _run(victim, place, log, limit_s)
    victim.unmake(place)
    start = time.monotonic()
    _run(victim, place, log, limit_s)
    seconds = time.monotonic() - start
    return Standard(seconds, victim.made(place))


def _names(place: Place) -> set[str]:
    """The names that runs gave in the copy and its cache; logs are named by tasks."""
    found = {f"cache/{name}" for name in leftovers.names(place.cache)}
    found |= {f"dist/{name}" for name in leftovers.names(place.dist) if not name.startswith("log/")}
    return found | {f"tmp/{name}" for name in leftovers.names(place.base / "tmp")}


def _suffer(blow: Blow, standard: Standard, place: Place, log: Path) -> None:
    """Strike a victim, look around, and let the next run end."""
    victim = victims.find(blow.victim)
    victim.unmake(place)
    mounts = leftovers.mounts()
    _strike(blow, victim, standard.seconds, place, log)
    _require(f"after {blow}, these still run", leftovers.processes())
    _require(f"after {blow}, these mounts are left", leftovers.mounts() - mounts)
    held = [*leftovers.held_locks(place.dist), *leftovers.held_locks(place.cache)]
    _require(f"after {blow}, these locks are held", held)
    found = victim.made(place)
    _require(f"after {blow}, these are there and not whole", found.items() - standard.made.items())
    _run(victim, place, log, SLOWER * standard.seconds + SLACK_S)
    _require(f"after {blow}, these differ", manifest.differences(standard.made, victim.made(place)))


def _require(what: str, found: object) -> None:
    """UserError if anything was found."""
    if found:
        listed = sorted(map(str, found)) if isinstance(found, list | set) else [str(found)]
        raise UserError(f"{what}: {', '.join(listed)}")


def _strike(blow: Blow, victim: Victim, seconds: float, place: Place, log: Path) -> None:
    after_s = blow.share * seconds
    if signal.SIGKILL not in blow.signals:
        after_s = max(after_s, EARLIEST_PAIR_S)
    child = run.start(place.argv(*victim.words), log)
    try:
        if not run.ends_within(child, after_s):
            _send(blow, child.pid)
        if not run.ends_within(child, leftovers.GONE_LIMIT_S):
            raise UserError(f"{blow} did not end the run within {leftovers.GONE_LIMIT_S:g} s")
    finally:
        run.close_pipe(child)


def _send(blow: Blow, process: int) -> None:
    for number in blow.signals:
        with suppress(ProcessLookupError):
            os.kill(process, number)
        time.sleep(blow.gap_s)


def _run(victim: Victim, place: Place, log: Path, limit_s: float) -> None:
    """Let a victim end well, or get as far as its sign; UserError if it does not, or takes too long."""
    own = log.with_name(f"{log.stem}-last.log")
    own.unlink(missing_ok=True)
    child = run.start(place.argv(*victim.words), own)
    try:
        if victim.sign:
            _await_sign(victim, child, own, limit_s)
        elif not run.ends_within(child, limit_s):
            raise UserError(f"{victim.name} does not end within {clock(limit_s)}", f"its log is {own}")
        elif child.returncode != 0:
            raise run.ProgramError(victim.name, child.returncode, own, run.tail(own))
    finally:
        run.close_pipe(child)


def _await_sign(victim: Victim, child: run.Child, own: Path, limit_s: float) -> None:
    """Wait for the sign and a little longer, end the run in order, and require that nothing of it is left."""
    end = time.monotonic() + limit_s
    while victim.sign not in own.read_text(errors="replace"):
        if run.ends_within(child, 0.2) or time.monotonic() > end:
            raise UserError(f"{victim.name} did not get as far as {victim.sign!r}:\n{run.tail(own)}")
    if run.ends_within(child, AFTER_SIGN_S):
        raise UserError(f"{victim.name} ended by itself:\n{run.tail(own)}")
    os.kill(child.pid, signal.SIGTERM)
    if not run.ends_within(child, leftovers.GONE_LIMIT_S):
        raise UserError(f"SIGTERM did not end {victim.name} within {leftovers.GONE_LIMIT_S:g} s")
    _require(f"after SIGTERM to {victim.name}, these still run", leftovers.processes())
