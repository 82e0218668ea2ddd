"""What is running, since when, and for how long still.

Durations come from the last run of the same task (`times.json` in the cache) or, the first time, from the
measured table in `durations.toml`; both are in seconds on this or on a 2-core machine.
"""

import os
import sys
import threading
import time

from hostwright.base.escape import visible, visible_line
from hostwright.base.times import clock
from hostwright.tasks.times import expected_times

QUIET_S = 30.0

LIVE_S = 0.5

# Of a terminal that does not report its width.
DEFAULT_COLUMNS = 80


def columns() -> int:
    """The width of the terminal that the live line is on, as it is now."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_COLUMNS
    except (OSError, ValueError):
        return DEFAULT_COLUMNS


class Board:
    """The tasks under way and those still to come; prints a live line on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.expected = expected_times()
        self.waiting: set[str] = set()
        self.started: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        self._live = sys.stderr.isatty()
        self._shown = False
        self._lock = threading.RLock()
        self._stop = threading.Event()

    def start(self, task: str) -> None:
        """A task began."""
        with self._lock:
            self.waiting.discard(task)
            self.started[task] = time.monotonic()

    def end(self, task: str) -> float:
        """A task ended; its seconds."""
        with self._lock:
            self.waiting.discard(task)
            self.notes.pop(task, None)
            return time.monotonic() - self.started.pop(task, time.monotonic())

    def note(self, task: str, text: str) -> None:
        """A few words on where a task stands."""
        self.notes[task] = visible_line(text)

    def say(self, text: str) -> None:
        """Print a line above the live one."""
        with self._lock:
            self._clear()
            print(visible(text), file=sys.stderr, flush=True)

    def remaining(self, jobs: int) -> float:
        """Seconds until everything is done, by the estimates and `jobs` tasks at a time."""
        now = time.monotonic()
        running = [
            max(0.0, self.expected.get(task, 0.0) - (now - since)) for task, since in self.started.items()
        ]
        waiting = [self.expected.get(task, 0.0) for task in self.waiting]
        return max([0.0, *running, (sum(running) + sum(waiting)) / jobs])

    def line(self, jobs: int) -> str:
        """The live line: each running task with its time, and what is left in all."""
        now = time.monotonic()
        parts = [
            f"{task} {clock(now - since)}{self._left(task, now - since)}"
            for task, since in self.started.items()
        ]
        return f"{' | '.join(parts)} -- about {clock(self.remaining(jobs))} left in all"

    def _left(self, task: str, elapsed: float) -> str:
        note = f" ({self.notes[task]})" if task in self.notes else ""
        expected = self.expected.get(task, 0.0)
        return note or (f" of {clock(expected)}" if expected > elapsed else "")

    def watch(self, jobs: int) -> None:
        """Show the board until `close`; to be run in a thread of its own."""
        while not self._stop.wait(LIVE_S if self._live else QUIET_S):
            with self._lock:
                if self.started:
                    self._show(self.line(jobs))

    def close(self) -> None:
        """Stop showing."""
        self._stop.set()
        with self._lock:
            self._clear()

    def _show(self, text: str) -> None:
        if self._live:
            self._clear()
            print(text[: columns() - 1], end="", file=sys.stderr, flush=True)
            self._shown = True
        else:
            print(f"   {text}", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr)
            self._shown = False
