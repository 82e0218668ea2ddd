"""Built packages, kept under a key made of everything that went into them.

    key = recipe value + build script + source digests + patches + build root + output digests of the needs
    store/<name>-<key>/{manifest.json,tree/}

The same key is never built twice; a changed need with an equal output gives the same key.
"""

import glob
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import canonical, code, paths
from hostwright.base.errors import UserError
from hostwright.base.files import folder_replaced, locked, remove, try_locked, write
from hostwright.build import stage

KEY_DIGITS = 32


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
        return stage.load((self.folder / "manifest.json").read_text())

    def stamp(self) -> str:
        """The text of dist/packages/<name>.json."""
        fields = {"name": self.name, "version": self.version, "key": self.key, "digest": self.digest}
        return json.dumps(fields, indent=1) + "\n"


def make_key(*inputs: str) -> str:
    """The key of a package: hex digits over all that goes in, and over the code that stages what comes out."""
    return canonical.digest(code.engine().module("build.stage").digest, *inputs)[:KEY_DIGITS]


def find(name: str, version: str, key: str) -> Built | None:
    """The package of this key, if it was built."""
    manifest = paths.store() / f"{name}-{key}" / "manifest.json"
    if not manifest.exists():
        return None
    return Built(name, version, key, stage.tree_digest(stage.load(manifest.read_text())))


def read_stamp(name: str) -> Built:
    """The package as this tree last built it; UserError if it was not built here or left the store."""
    stamp = paths.package_stamp(name)
    if not stamp.exists():
        raise UserError(f"package {name} is not built", f"run ./doit package:{name}")
    built = Built(**json.loads(stamp.read_text()))
    if not built.folder.exists():
        raise UserError(f"package {name} is no longer in the cache", f"run ./doit package:{name}")
    return built


def is_stamped(name: str) -> bool:
    """Whether dist/packages has this package and the store still holds it."""
    try:
        read_stamp(name)
    except (UserError, ValueError, TypeError):
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
        (new / "manifest.json").write_text(stage.dump(entries))
    return built
