"""One way to write a task down, so that every task knows what decides it, is timed, and fails with a message."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from doit.exceptions import TaskError, TaskFailed

from hostwright.base import canonical, code, files, jobs, paths, run, system, times
from hostwright.base.errors import UserError
from hostwright.tasks import reporter

Task = dict[str, Any]
Act = Callable[..., object]


class Decided:
    """What decides the result of a task besides the files that it reads: the code that it runs, and values.

    doit calls it to learn whether both are what they were when the task last ended well.
    """

    def __init__(self, act: Act, value: str | Callable[[], str]) -> None:
        self._act, self._value = act, value

    @cached_property
    def text(self) -> str:
        """The digest of code and values, as hex digits."""
        action = code.find_action(self._act)
        value = self._value() if callable(self._value) else self._value
        return canonical.digest(action.digest, code.engine().text(action.modules), value)

    def configure_task(self, task: Any) -> None:  # noqa: ANN401
        """Have doit keep the digest when the task ends well."""
        task.value_savers.append(lambda: {"decided": self.text})

    def __call__(self, task: object, values: dict[str, str]) -> bool:
        return values.get("decided") == self.text


def step(  # noqa: PLR0913
    act: Act | None = None,
    *,
    doc: str = "",
    reads: Iterable[Path] = (),
    writes: Iterable[Path] = (),
    after: Sequence[str] = (),
    value: str | Callable[[], str] = "",
    holds: Sequence[Callable[[], bool]] = (),
    name: str = "",
    always: bool = False,
    counted: bool = True,
) -> Task:
    """A task: `act` runs when its code, a file in `reads` or `value` changed, or one of `writes` or `holds` fails.

    The code is computed from `act`. A task that neither reads nor writes files depends on `holds` alone. `always`
    runs it every time; `counted` steps hold a token of the job pool while they run. A task that sets doit's `pos_arg`
    to "words" gets the words behind its name on the command line as the arguments of `act`.
    """
    read, written = [str(path) for path in reads], [str(path) for path in writes]
    is_decided = act and (read or written)
    task: Task = {
        "actions": [(_guarded, [act, counted])] if act else None,
        "file_dep": read,
        "targets": written,
        "task_dep": list(after),
        "uptodate": [False] if always else [*holds, *([Decided(act, value)] if act and is_decided else [])],
        "clean": [(_clean, [written])],
        "io": {"capture": False},
        "verbosity": 2,
    }
    return task | ({"name": name} if name else {}) | ({"doc": doc} if doc else {})


Make = Callable[[], Task | Iterator[Task]]


def listed(find: Callable[[], Make]) -> Make:
    """The entry of the table of contents for the function that `find` gives; the task has its name and docstring.

    doit lists tasks in the order of the lines of their functions, and takes the line of `find` for this one.
    """
    make = find()

    def entry() -> Task | Iterator[Task]:
        made, name = make(), task_name(make)
        return {"basename": name, **made} if isinstance(made, dict) else _group(name, make.__doc__, made)

    entry.__doc__ = make.__doc__
    entry.__wrapped__ = find  # type: ignore[attr-defined]
    return entry


def _group(name: str, doc: str | None, parts: Iterator[Task]) -> Iterator[Task]:
    """The parts of a task, and the task itself: it is there without any part as well."""
    yield {"basename": name, "name": None, "doc": doc}
    yield from parts


def task_name(make: Callable[..., object]) -> str:
    """The name of the task that a function makes, as it is written on the command line."""
    return make.__name__.strip("_").replace("_", "-")


def made_from(tasks: Iterable[Task]) -> str:
    """The digest of all that decides these tasks: code, values, and the files of the tree that they read."""
    return canonical.digest(*(_made_from(task) for task in tasks))


def _made_from(task: Task) -> list[object]:
    decided = [one.text for one in task["uptodate"] if isinstance(one, Decided)]
    own = [Path(file) for file in task["file_dep"] if _is_of_the_tree(Path(file))]
    return [decided, {str(file.relative_to(paths.TREE)): files.digest(file) for file in own}]


def _is_of_the_tree(file: Path) -> bool:
    return file.is_relative_to(paths.TREE) and not file.is_relative_to(paths.DIST)


def _clean(targets: Sequence[str]) -> None:
    with reporter.plain_errors():
        for target in targets:
            files.remove(Path(target))


def _guarded(act: Act, counted: bool, words: Sequence[str] = ()) -> TaskError | TaskFailed | None:
    """Run `act`; a failed program fails the task. A mistake in the input, or what the system refuses, is an error.

    None of these shows a traceback.
    """
    try:
        times.factor()
        files.make_private(paths.cache())
        if counted:
            with jobs.token():
                act(*words)
        else:
            act(*words)
    except run.ProgramError as error:
        return TaskFailed(str(error))
    except UserError as error:
        return TaskError(str(error))
    except OSError as error:
        known = system.explain(error)
        if known is None:
            raise
        return TaskError(str(known))
    return None
