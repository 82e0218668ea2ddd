"""Whether what lies in the cache is still what was put there, without reading it again each time.

file + sha256 --read once--> .<name>.checked: the digest, and the file's size, times and inode
the same marks later --> intact; others --> read again; another digest --> set aside as <name>.damaged
"""

import json
from contextlib import suppress
from pathlib import Path

from hostwright.base import files

DAMAGED = ".damaged"


def is_intact(file: Path, sha256: str, again: bool = False) -> bool:
    """Whether `file` has this digest; it is read if it changed since that was last found, or `again`."""
    try:
        state = [sha256, *files.marks(file)]
        if not again and files.read_list(record(file)) == state:
            return True
        if files.digest(file) != sha256:
            return False
    except OSError:
        return False
    with suppress(OSError):
        files.write(record(file), json.dumps(state))
    return True


def record(file: Path) -> Path:
    """Where the marks of a file that was found intact are kept."""
    return file.with_name(f".{file.name}.checked")


def set_aside(place: Path) -> Path:
    """Rename a damaged file or folder, for a look at it later; an older one of that name goes."""
    damaged = place.with_name(place.name + DAMAGED)
    files.remove(damaged)
    with suppress(FileNotFoundError):
        place.rename(damaged)
    return damaged
