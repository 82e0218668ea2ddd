"""How doit gets its tasks: an error of any part of a run is one message.

pyproject.toml names the class, so that it works with doit alone as well.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from doit.cmd_base import DodoTaskLoader

from hostwright.tasks import reporter


class Loader(DodoTaskLoader):  # type: ignore[misc]
    """doit's own loader, with a checked command line and errors that a person can act on."""

    def setup(self, opt_values: Any) -> None:  # noqa: ANN401
        with reporter.plain_errors():
            super().setup(opt_values)

    def load_tasks(self, cmd: Any, pos_args: Sequence[str]) -> list[Any]:  # noqa: ANN401
        with reporter.plain_errors():
            loaded: list[Any] = super().load_tasks(cmd, pos_args)
        cmd._execute = _plain(cmd._execute)
        return loaded


def _plain(execute: Callable[..., object]) -> Callable[..., object]:
    """The command itself; doit reads the names of its arguments."""

    @functools.wraps(execute)
    def run(*words: object, **named: object) -> object:
        with reporter.plain_errors():
            return execute(*words, **named)

    return run
