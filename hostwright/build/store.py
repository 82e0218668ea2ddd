"""Built packages, kept under a key made of everything that went into them.

    key = recipe value + build script + source digests + patches + build root + output digests of the needs
    store/<name>-<key>/{manifest.json,tree/}

The same key is never built twice; a changed need with an equal output gives the same key.
"""

import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import canonical, code, files, intact, paths
from hostwright.base.errors import UserError
from hostwright.base.files import folder_replaced, locked, remove, try_locked, write
from hostwright.build import stage

KEY_DIGITS = 32
# Beside the tree: what it holds, and the state in which its files were last found to be that.
_MANIFEST, _CHECKED = "manifest.json", "checked.json"


@dataclass(frozen=True)
class Built:
    """A package in the store, and the digest of its tree."""

    name: str
    version: str
    key: str
    digest: str

    @property
    def folder(self) -> Path:
        """The place of the package in the store."""
        return paths.store() / f"{self.name}-{self.key}"

    @property
    def tree(self) -> Path:
        """The staged tree."""
        return self.folder / "tree"

    def entries(self) -> list[stage.Entry]:
        """The manifest of the tree."""
        return stage.load((self.folder / _MANIFEST).read_text())

    def stamp(self) -> str:
        """The text of dist/packages/<name>.json."""
        fields = {"name": self.name, "version": self.version, "key": self.key, "digest": self.digest}
        return json.dumps(fields, indent=1) + "\n"


def make_key(*inputs: str) -> str:
    """The key of a package: hex digits over all that goes in, and over the code that stages what comes out."""
    return canonical.digest(code.engine().module("build.stage").digest, *inputs)[:KEY_DIGITS]


def find(name: str, version: str, key: str) -> Built | None:
    """The package of this key, if it was built; one that is damaged is set aside."""
    folder = paths.store() / f"{name}-{key}"
    if not folder.exists():
        return None
    if not is_whole(folder):
        intact.set_aside(folder)
        return None
    return Built(name, version, key, stage.tree_digest(stage.load((folder / _MANIFEST).read_text())))


def is_whole(folder: Path, again: bool = False) -> bool:
    """Whether a tree in the store is the one in its manifest.

    Its files are read if anything below the folder changed since they were last read, or `again`.
    """
    try:
        state = [_state(folder)]
        if not again and files.read_list(folder / _CHECKED) == state:
            return True
        entries = sorted(stage.load((folder / _MANIFEST).read_text()))
        setuid = tuple(entry.path for entry in entries if int(entry.mode, 8) & 0o4000)
        if stage.scan(folder / "tree", setuid) != entries:
            return False
    except (OSError, ValueError, TypeError, UserError):
        return False
    with suppress(OSError):
        write(folder / _CHECKED, json.dumps(state))
    return True


def _state(folder: Path) -> str:
    """A digest that changes with everything below a tree and with its manifest, without reading the tree."""
    found = [files.digest(folder / _MANIFEST)]
    for base, folders, names in os.walk(folder / "tree"):
        for name in sorted(names):
            status = os.lstat(f"{base}/{name}")
            found.append(f"{base}/{name} {status.st_mode} {files.marks_of(status)}")
        # A folder's own times change while packages are laid over it.
        found += [f"{base}/{name} {os.lstat(f'{base}/{name}').st_mode}" for name in folders]
    return canonical.digest(sorted(found))


def read_whole(name: str) -> Built:
    """As `read_stamp`, with the files of the package checked; UserError if they are damaged."""
    built = read_stamp(name)
    if not is_whole(built.folder):
        raise UserError(
            f"package {name} is damaged in the cache",
            "./doit verify repair=yes sets it aside; then run the task again",
        )
    return built


def read_stamp(name: str) -> Built:
    """The package as this tree last built it; UserError if it was not built here or left the store."""
    stamp = paths.package_stamp(name)
    if not stamp.exists():
        raise UserError(f"package {name} is not built", f"run ./doit package:{name}")
    built = _parse_stamp(name, stamp.read_text())
    if not built.folder.exists():
        raise UserError(f"package {name} is no longer in the cache", f"run ./doit package:{name}")
    return built


def _parse_stamp(name: str, text: str) -> Built:
    try:
        return Built(**json.loads(text))
    except (ValueError, TypeError):
        raise UserError(
            f"{paths.package_stamp(name)} cannot be read", f"delete it and run ./doit package:{name}"
        ) from None


def is_stamped(name: str) -> bool:
    """Whether dist/packages has this package and the store still holds it."""
    try:
        read_stamp(name)
    except UserError:
        return False
    return True


def write_stamp(built: Built) -> None:
    """Record which build of a package this tree uses; an equal record keeps its time stamp."""
    write(paths.package_stamp(built.name), built.stamp())


@contextmanager
def being_built(name: str, key: str) -> Iterator[Path]:
    """An empty work folder for one build, under a lock; a build that fails leaves it as `failed(name)`."""
    _remove_leftovers(name)
    folder = paths.work() / f"{name}-{key}"
    with locked(folder.with_suffix(".lock")):
        remove(folder)
        folder.mkdir(parents=True)
        try:
            yield folder
            remove(failed(name))
        except Exception:
            remove(failed(name))
            folder.rename(failed(name))
            raise
        finally:
            remove(folder)


def failed(name: str) -> Path:
    """The work folder of the last build of a package, if that failed."""
    return paths.work() / f"{name}.failed"


def _remove_leftovers(name: str) -> None:
    """Remove what killed builds of a package left: the folders whose lock nobody holds."""
    pattern = f"{glob.escape(name)}-{'[0-9a-f]' * KEY_DIGITS}"
    for folder in [path for path in paths.work().glob(pattern) if path.is_dir()]:
        with try_locked(folder.with_suffix(".lock")) as free:
            if free:
                remove(folder)


def keep(name: str, version: str, key: str, tree: Path, setuid: tuple[str, ...] = ()) -> Built:
    """Move a finished tree into the store, with its manifest; a tree with no file in it is a UserError."""
    entries = stage.scan(tree, setuid)
    if not any(entry.kind != "folder" for entry in entries):
        raise UserError(f"package {name} staged no file", "check its install targets")
    built = Built(name, version, key, stage.tree_digest(entries))
    with folder_replaced(built.folder) as new:
        tree.rename(new / "tree")
        (new / _MANIFEST).write_text(stage.dump(entries))
    return built
