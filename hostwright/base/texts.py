"""Text that people write, read from the tree: what cannot be read is their mistake, with file, line and remedy."""

import errno
from pathlib import Path

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.escape import visible

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


def name_file(file: Path) -> str:
    """The name of a file as messages give it: relative to the tree if it is in there."""
    return str(file.relative_to(paths.TREE)) if file.is_relative_to(paths.TREE) else str(file)


def read_text(file: Path, hint: str = "") -> str:
    """The text of `file`; UserError if it is missing, no file, or not UTF-8. `hint` says how to get a missing one."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(name_file(file), error) from None
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        what = "is not a file" if file.is_dir() else "does not exist"
        raise UserError(f"{name_file(file)} {what}", hint or restore(file)) from None


def not_utf8(name: str, error: UnicodeDecodeError) -> UserError:
    """The message for bytes of the file `name` that are not UTF-8, with their line."""
    number = error.object[: error.start].count(b"\n") + 1
    what = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
    return UserError(f"{name}:{number}: {what}", "save the file as UTF-8 text")


def restore(file: Path) -> str:
    """The hint that brings a committed file back."""
    return f"restore it: git checkout -- {name_file(file)}"


def plain(text: str, most: int = 100) -> str:
    """`text` for a message: at most `most` characters, and none that a terminal would obey."""
    shown = text if len(text) <= most else f"{text[:most]}..."
    return visible(shown).replace("\n", "\\n").replace("\t", "\\t")


def show(text: str, most: int = 60) -> str:
    """The same in quotes."""
    return f'"{plain(text, most)}"'
