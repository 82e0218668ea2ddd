"""How doit gets its tasks: the command line is checked first, and an error of any part of a run is one message.

pyproject.toml names the class, so that it works with doit alone as well.
"""

import difflib
import fnmatch
import functools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from doit.cmd_base import DodoTaskLoader

from hostwright.base import paths, texts
from hostwright.base.errors import UserError
from hostwright.machine import grammar, toml, values
from hostwright.tasks import reporter, variables

# Commands of doit whose words are names of tasks.
_NAMING = ("list", "info", "clean", "forget", "ignore", "help", "reset-dep", "strace")
# So many names fit into a message.
_MOST_NAMES = 12

Tasks = Mapping[str, Any]


class Loader(DodoTaskLoader):  # type: ignore[misc]
    """doit's own loader, with a checked command line and errors that a person can act on."""

    def setup(self, opt_values: Any) -> None:  # noqa: ANN401
        with reporter.plain_errors():
            variables.check_once(sys.argv[1:])
            variables.check_given(variables.given())
            choose_folder(variables.given().get("machine", ""))
            super().setup(opt_values)

    def load_tasks(self, cmd: Any, pos_args: Sequence[str]) -> list[Any]:  # noqa: ANN401
        with reporter.plain_errors():
            loaded: list[Any] = super().load_tasks(cmd, pos_args)
            tasks = {task.name: task for task in loaded}
            check_words(cmd.name, pos_args, tasks, self.cmd_names)
            if cmd.name == "run" and variables.given():
                _check_use(pos_args, tasks, cmd.sel_tasks or ())
            if cmd.name == "help":
                for task in loaded:
                    task.doc = f"{task.doc}{variables.describe(task.name)}"
        cmd._execute = _plain(cmd._execute)
        return loaded


def choose_folder(file: str) -> None:
    """Have the results of another machine than host.toml go to a folder of its own, dist/NAME.

    Raises UserError for a name that dist/ has for something else. Any other mistake in the file is left to its reader.
    """
    if not file or Path(file).absolute() == paths.TREE / "host.toml":
        return
    try:
        name = values.label(toml.parse(Path(file), toml.read(Path(file))).get("name"))
    except (UserError, grammar.BadValueError):
        return
    if name in paths.results():
        raise UserError(
            f'{file}: name = "{name}": dist/{name} is a result of every machine',
            "give the machine another name",
        )
    paths.use_machine(name)


def _plain(execute: Callable[..., object]) -> Callable[..., object]:
    """The command itself; doit reads the names of its arguments."""

    @functools.wraps(execute)
    def run(*words: object, **named: object) -> object:
        with reporter.plain_errors():
            return execute(*words, **named)

    return run


def check_words(command: str, words: Sequence[str], tasks: Tasks, commands: Sequence[str]) -> None:
    """Raise UserError for a word that names neither task nor target, with the nearest name."""
    if command == "info" and len(words) != 1:
        raise UserError(
            f"info takes one task, and got {len(words)}", "write ./doit info TASK, as in ./doit info kernel"
        )
    if command == "run":
        words = _names(words, tasks)
    elif command not in _NAMING:
        return
    for word in words:
        if not (_matching(word, tasks) or (command == "run" and _is_target(word, tasks))):
            raise _no_task(word, tasks, commands if command == "run" else ())


def _names(words: Sequence[str], tasks: Tasks) -> list[str]:
    """The words that select tasks: without options, and without what stands behind a task that takes words."""
    names = []
    for word in words:
        if not word.startswith("-"):
            names.append(word)
        if word in tasks and tasks[word].pos_arg:
            break
    return names


def _matching(word: str, tasks: Tasks) -> list[str]:
    return [word] if word in tasks else fnmatch.filter(tasks, word) if "*" in word else []


def _is_target(word: str, tasks: Tasks) -> bool:
    return any(word in task.targets for task in tasks.values())


def _no_task(word: str, tasks: Tasks, commands: Iterable[str]) -> UserError:
    group, _, part = word.partition(":")
    if part and group in tasks and tasks[group].has_subtask:
        parts = [name for name in tasks if name.startswith(f"{group}:")]
        return UserError(
            f"{texts.plain(word)}: {group} has no part {texts.show(part)}", _offer_parts(word, parts)
        )
    hint = f"{_ask(word, [*tasks, *commands])}./doit list shows all"
    return UserError(f"{texts.plain(word)}: there is no such task", hint)


def _ask(word: str, names: Sequence[str]) -> str:
    """The question after the nearest name; '' if none is near."""
    near = difflib.get_close_matches(word[:100].lower(), names, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _offer_parts(word: str, parts: Sequence[str]) -> str:
    question = _ask(word, parts)
    if not parts:
        return f"the machine file has no [[guest]]; {word.partition(':')[0]} works on each"
    if len(parts) > _MOST_NAMES:
        return f"{question}./doit list --all {word.partition(':')[0]} shows all"
    return f"{question}known here: {', '.join(parts)}"


def _check_use(words: Sequence[str], tasks: Tasks, default: Sequence[str]) -> None:
    names = _names(words, tasks) or list(default)
    selected = {name for word in names for name in _matching(word, tasks)}
    variables.check_use(variables.given(), _closure(selected, tasks), " ".join(names))


def _closure(selected: Iterable[str], tasks: Tasks) -> set[str]:
    """The selected tasks and all that they depend on, by name or by a file."""
    makers = {target: name for name, task in tasks.items() for target in task.targets}
    found: set[str] = set()
    left = list(selected)
    while left:
        name = left.pop()
        if name not in found and name in tasks:
            found.add(name)
            task = tasks[name]
            left += [*task.task_dep, *(makers[file] for file in task.file_dep if file in makers)]
    return found
