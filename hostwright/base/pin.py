"""A pin: a file by its sha256, and where it may be found."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """A file of a Debian archive: pool path, sha256, size in bytes (0 if unknown), name and version of its package.

    `upstream` are further URLs of the same bytes. `into` is the folder below the source tree where a recipe's
    additional source is unpacked.
    """

    path: str
    sha256: str
    upstream: tuple[str, ...] = ()
    into: str = ""
    size: int = 0
    name: str = ""
    version: str = ""

    @property
    def file(self) -> str:
        """The file's name in the pool."""
        return self.path.rpartition("/")[2]

    @property
    def label(self) -> str:
        """How messages call it: by its package, otherwise by its file."""
        return self.name or self.file

    @property
    def rank(self) -> tuple[str, str, str]:
        """The order of a lock: by name."""
        return self.name, self.version, self.path

    def places(self, mirrors: Sequence[str]) -> tuple[str, ...]:
        """The addresses where it may be found: every mirror, then upstream."""
        return (*(f"{mirror}/{self.path}" for mirror in mirrors), *self.upstream)
