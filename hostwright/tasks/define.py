"""One way to write a task down, so that every task is logged, timed and fails with a message for people."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from doit.exceptions import TaskError, TaskFailed
from doit.tools import config_changed

from hostwright.base import jobs, limits, run
from hostwright.base.errors import UserError

Task = dict[str, Any]
Act = Callable[..., object]


def step(  # noqa: PLR0913
    doc: str,
    act: Act | None = None,
    *,
    reads: Iterable[Path] = (),
    writes: Iterable[Path] = (),
    after: Sequence[str] = (),
    value: str = "",
    holds: Sequence[Callable[[], bool]] = (),
    name: str = "",
    always: bool = False,
    counted: bool = True,
) -> Task:
    """A task: `act` runs when a file in `reads` or `value` changed, one in `writes` is gone or one of `holds` is false.

    `always` runs it every time; `counted` steps hold a token of the job pool while they run. A task that sets doit's
    `pos_arg` to "words" gets the words behind its name on the command line as the arguments of `act`.
    """
    task: Task = {
        "doc": doc,
        "actions": [(_guarded, [act, counted])] if act else None,
        "file_dep": [str(path) for path in reads],
        "targets": [str(path) for path in writes],
        "task_dep": list(after),
        "uptodate": [False] if always else [*holds, *([config_changed(value)] if value else [])],
        "io": {"capture": False},
        "verbosity": 2,
    }
    return {"name": name, **task} if name else task


def _guarded(act: Act, counted: bool, words: Sequence[str] = ()) -> TaskError | TaskFailed | None:
    """Run `act`; a failed program fails the task, a mistake in the input is an error, neither shows a traceback."""
    try:
        limits.factor()
        if counted:
            with jobs.token():
                act(*words)
        else:
            act(*words)
    except run.ProgramError as error:
        return TaskFailed(str(error))
    except UserError as error:
        return TaskError(str(error))
    return None
