"""What a person sees of a run, and how a run ends: in order, by an error, or by Ctrl-C."""

import fcntl
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from doit.exceptions import BaseFail
from doit.globals import Globals

from hostwright.base import jobs, paths, run, system
from hostwright.base.errors import UserError
from hostwright.base.escape import visible
from hostwright.base.times import clock
from hostwright.tasks import signals, times, variables
from hostwright.tasks.board import Board

_board: list[Board] = []


def board() -> Board:
    """The board of this run."""
    if not _board:
        _board.append(Board())
    return _board[0]


class Reporter:
    """doit's reporter: one line when a task ends, a live line in between, state saved after each task."""

    desc = "one line a task, with times and an estimate of what is left"

    def __init__(self, outstream: IO[str], options: dict[str, Any]) -> None:
        self._failed: list[str] = []
        self._ran = 0
        self._lock: IO[str] | None = None

    def initialize(self, tasks: dict[str, Any], selected_tasks: list[str]) -> None:
        self._lock = _only_run()
        board().waiting = {name for name in _closure(tasks, selected_tasks) if tasks[name].actions}
        signals.watch(_leave)
        threading.Thread(target=board().watch, args=(jobs.jobs(),), daemon=True).start()

    def get_status(self, task: Any) -> None: ...  # noqa: ANN401

    def execute_task(self, task: Any) -> None:  # noqa: ANN401
        if task.actions:
            board().start(task.name)

    def add_success(self, task: Any) -> None:  # noqa: ANN401
        Globals.dep_manager.backend.dump()
        if task.actions:
            self._ran += 1
            seconds = board().end(task.name)
            times.remember(task.name, seconds)
            board().say(f"done  {task.name:24} {clock(seconds):>12}")

    def add_failure(self, task: Any, fail: BaseFail) -> None:  # noqa: ANN401
        Globals.dep_manager.backend.dump()
        board().end(task.name)
        self._failed.append(task.name)
        board().say(
            f"FAILED  {task.name}\n{fail.get_msg().rstrip()}\n  again: {again(task.name, sys.argv[1:])}"
        )

    def skip_uptodate(self, task: Any) -> None:  # noqa: ANN401
        board().waiting.discard(task.name)

    def skip_ignore(self, task: Any) -> None: ...  # noqa: ANN401

    def cleanup_error(self, exception: BaseFail) -> None:
        board().say(exception.get_msg())

    def runtime_error(self, msg: str) -> None:
        board().say(msg)

    def teardown_task(self, task: Any) -> None: ...  # noqa: ANN401

    def complete_run(self) -> None:
        board().close()
        jobs.close()
        if not self._failed and not self._ran:
            print("everything is up to date", file=sys.stderr)


def again(task: str, words: Sequence[str]) -> str:
    """The command that runs one task again, with those variables of the command line `words` that it uses."""
    used = {one.name for one in variables.used_by(task)}
    return shlex.join(
        ["./doit", task, *(word for word in words if word.partition("=")[0] in used and "=" in word)]
    )


def _only_run() -> IO[str]:
    """Hold the lock of this tree; a second run at the same time reports that and ends with status 2."""
    paths.DIST.mkdir(parents=True, exist_ok=True)
    handle = (paths.DIST / ".lock").open("a+")
    handle.seek(0)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = handle.read().strip()
        which, how = (f" (process {other})", f": kill {other}") if other else ("", "")
        print(
            f"error: another ./doit is running in this tree{which}\n  hint: wait for it, or end it{how}",
            file=sys.stderr,
        )
        os._exit(2)
    handle.truncate(0)
    print(os.getpid(), file=handle, flush=True)
    return handle


def _closure(tasks: dict[str, Any], selected: list[str]) -> set[str]:
    """The selected tasks with all that they depend on."""
    found: set[str] = set()
    left = list(selected)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += tasks[name].task_dep
    return found


def _leave(number: int) -> None:
    """End all children and leave: finished tasks are saved already, and the next run goes on from there."""
    _end("\ninterrupted; the next ./doit goes on from here", 128 + number)


def _end(message: str, status: int) -> None:
    run.end_for_good()
    board().close()
    jobs.close()
    print(message, file=sys.stderr, flush=True)
    os._exit(status)


def fail_cleanly(message: str) -> None:
    """Show a user's mistake and leave with status 2; whatever runs is ended."""
    if board().started:
        _end(f"error: {visible(message)}", 2)
    board().close()
    print(f"error: {visible(message)}", file=sys.stderr)
    sys.exit(2)


@contextmanager
def plain_errors() -> Iterator[None]:
    """The boundary of a run: a mistake of the user, and what the system refuses, end it with one message and status 2.

    Any other error is ours, and keeps its traceback.
    """
    try:
        yield
    except UserError as error:
        fail_cleanly(str(error))
    except OSError as error:
        known = system.explain(error)
        if known is None:
            raise
        fail_cleanly(str(known))
