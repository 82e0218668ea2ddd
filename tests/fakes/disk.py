"""A disk that fails, without root: the calls of Python that change files raise an error from the n-th one on.

A full disk refuses what needs space, a read-only one refuses every change, and a failing one fails once.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# What needs space, and what only takes a name away.
GROWING = ("mkdir", "link", "symlink", "sendfile", "fsync")
CHANGING = ("rename", "replace", "unlink", "rmdir", "chmod", "utime", "truncate")


class Disk:
    """Counts the changes below a folder; `fail(number, at)` makes them fail from the change `at` on."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.changes, self.hits = str(folder), 0, 0
        self._number, self._at = 0, 0
        for name in (*GROWING, *CHANGING):
            patch.setattr(os, name, self._failing(name, getattr(os, name)))
        opened = self._opening(io.open)
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)

    def fail(self, number: int, at: int) -> None:
        """Fail with this errno at the change `at`, counted from 1 on; 0 never fails."""
        self.changes, self.hits, self._number, self._at = 0, 0, number, at

    def change(self, path: object, grows: bool) -> None:
        """Count a change of a path, and fail if it is time to."""
        if isinstance(path, str | Path) and not str(path).startswith(self.folder):
            return
        self.changes += 1
        is_due = self._at and (
            self.changes == self._at if self._number == errno.EIO else self.changes >= self._at
        )
        if is_due and (grows or self._number != errno.ENOSPC):
            self.hits += 1
            name = str(path) if isinstance(path, str | Path) else None
            raise OSError(self._number, os.strerror(self._number), name)

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:  # noqa: ANN401
            self.change(words[0], name in GROWING)
            # No power fails in a test, and syncing takes most of its time.
            return None if name == "fsync" else real(*words, **named)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *words: Any, **named: Any) -> Any:  # noqa: ANN401
            is_ours = isinstance(file, str | Path) and str(file).startswith(self.folder)
            if not is_ours or not set(mode) & set("wax+"):
                return real(file, mode, *words, **named)
            self.change(file, grows=True)
            return File(real(file, mode, *words, **named), self)

        return call


class File:
    """An open file whose writes count; as with the real ones, their errors name no path."""

    def __init__(self, real: Any, disk: Disk) -> None:  # noqa: ANN401
        self._real, self._disk = real, disk

    def write(self, content: Any) -> Any:  # noqa: ANN401
        self._disk.change(None, grows=True)
        return self._real.write(content)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._real, name)
