"""doit's memory, made safe: a checker that is not fooled by time stamps, and a state file saved after every task.

doit 0.37's own checker takes an equal mtime for an equal file, and its state file is written only at the end.
"""

from collections.abc import Callable
from os import stat_result
from pathlib import Path
from typing import Any

from doit.dependency import FileChangedChecker, JsonDB

from hostwright.base import files
from hostwright.tasks import reporter

FileState = tuple[int, int, int, int, str]


class Checker(FileChangedChecker):  # type: ignore[misc]
    """A file is unchanged if size, mtime, ctime and inode are, or else if its sha256 is."""

    def check_modified(self, file_path: str, file_stat: stat_result, state: FileState) -> bool:
        if files.marks_of(file_stat) == list(state[:4]):
            return False
        return file_stat.st_size != state[0] or files.digest(Path(file_path)) != state[4]

    def get_state(self, dep: str, current_state: FileState | None) -> FileState | None:
        path = Path(dep)
        marks = files.marks(path)
        if current_state and marks == list(current_state[:4]):
            return None
        size, modified, changed, inode = marks
        return size, modified, changed, inode, files.digest(path)


class State(JsonDB):  # type: ignore[misc]
    """doit's JSON state, replaced as a whole whenever it is saved."""

    def __init__(self, name: str, codec: Any, **rest: Any) -> None:  # noqa: ANN401
        with reporter.plain_errors():
            try:
                super().__init__(name, codec, **rest)
            except OSError:
                raise
            except Exception:
                # A state that cannot be read only costs a check of everything: the store still has the results.
                Path(name).unlink()
                super().__init__(name, codec, **rest)

    def dump(self) -> None:
        encode: Callable[[Any], str] = self.codec.encode
        files.write(Path(self.name), encode(self._db))
