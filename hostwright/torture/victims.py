"""What `./doit torture` strikes: a copy of the tree with a cache of its own, and in it one small run of each kind.

    build    compile one package            image    write host.img
    fetch    three sources, from loopback   proof    boot a few topologies
    install  the begin of an unattended install; the next run must get as far, and is ended then

Each victim is unmade before a blow. What it made is compared by digest: whatever is there after the blow must be
whole, and after the next run all of it must be there.
"""

import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files, intact, paths
from hostwright.base.pin import Pin
from hostwright.build import recipes, stage
from hostwright.image.reproduce import NOT_COPIED

# Compiled in two seconds, and in every image.
PACKAGE = "libaio"
# Small, and fetched beside each other.
FETCHED = ("zlib", "bzip2", "expat")
# The image of the copy has no room to spare: most of the time would go into its empty end.
_ROOT_MIB = 320
_NOT_SHARED = (".lock", ".part", intact.DAMAGED)


@dataclass(frozen=True)
class Place:
    """A copied tree and its cache below `base`; `mirror` is the archive that `fetch` uses."""

    base: Path
    python: str
    mirror: str = ""

    @property
    def tree(self) -> Path:
        """The copy of the tree."""
        return self.base / "tree"

    @property
    def dist(self) -> Path:
        """What the copy makes."""
        return self.tree / "dist"

    @property
    def cache(self) -> Path:
        """The cache that the copy uses."""
        return self.base / "cache" / "hostwright"

    def argv(self, *words: str) -> list[str]:
        """The command that runs doit in the copy."""
        named = [f"HOSTWRIGHT_MIRROR={self.mirror}"] if self.mirror else []
        return ["env", *self.environment(), *named, self.python, "-m", "doit", *words]

    def environment(self) -> list[str]:
        """The words of env(1) with which a program finds the copy and its cache."""
        return [
            f"--chdir={self.tree}",
            f"XDG_CACHE_HOME={self.base / 'cache'}",
            f"TMPDIR={self.base / 'tmp'}",
        ]


@dataclass(frozen=True)
class Victim:
    """A run of `words`; `unmake` removes what it makes, `made` has the digests of what is there of it.

    A run with a `sign` takes too long: the next one is ended in order as soon as it has said that.
    """

    name: str
    words: tuple[str, ...]
    unmake: Callable[[Place], None]
    made: Callable[[Place], dict[str, str]]
    sign: str = ""


def copy(place: Place) -> None:
    """Copy this tree, and of the cache all that its victims use; the build root is only read, and is shared."""
    shutil.copytree(paths.TREE, place.tree, ignore=NOT_COPIED, symlinks=True)
    machine = place.tree / "host.toml"
    machine.write_text(re.sub(r"(?m)^root_mib *=.*$", f"root_mib = {_ROOT_MIB}", machine.read_text()))
    for folder in (place.cache, place.base / "tmp", place.cache / "buildroot"):
        folder.mkdir(parents=True, mode=0o700)
    for one in (paths.cache() / "buildroot").iterdir():
        (place.cache / "buildroot" / one.name).symlink_to(one)
    for name in ("downloads", "store", "installer", "archive"):
        _copy_entries(paths.cache() / name, place.cache / name)


def _copy_entries(source: Path, target: Path) -> None:
    """Copy the files and folders of a part of the cache, without what another run is just making."""
    target.mkdir()
    for one in source.iterdir() if source.exists() else ():
        is_record = one.name.endswith(".checked")
        if one.name.endswith(_NOT_SHARED) or (one.name.startswith(".") and not is_record):
            continue
        try:
            _copy_entry(one, target / one.name)
        except (OSError, shutil.Error):
            files.remove(target / one.name)


def _copy_entry(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def find(name: str) -> Victim:
    """The victim of this name."""
    return next(one for one in _all() if one.name == name)


def pins() -> list[Pin]:
    """What `fetch` fetches."""
    return [pin for name in FETCHED for pin in recipes.sources(recipes.load_recipe(name))]


def _all() -> tuple[Victim, ...]:
    fetched = tuple(f"sources:{name}" for name in FETCHED)
    return (
        Victim("build", (f"package:{PACKAGE}",), _unmake_build, _built),
        Victim("fetch", fetched, _unmake_fetch, _fetched),
        Victim("image", ("host",), _unmake_image, _image),
        Victim("proof", ("host", "prove-groups", "n=1"), _unmake_proof, _proof),
        Victim("install", ("guest", "offline=yes"), _unmake_install, _installed, sign="watch the install"),
    )


# Which of them cost seconds, and which minutes.
CHEAP, ALL = ("build", "fetch", "image"), ("build", "fetch", "image", "proof", "install")


def _unmake_build(place: Place) -> None:
    _remove([place.dist / "packages" / f"{PACKAGE}.json", *place.cache.glob(f"store/{PACKAGE}-*")])


def _built(place: Place) -> dict[str, str]:
    trees = {one.parent.name: one for one in place.cache.glob(f"store/{PACKAGE}-*/tree")}
    found = {name: stage.tree_digest(stage.scan(tree)) for name, tree in trees.items()}
    manifests = [*place.cache.glob(f"store/{PACKAGE}-*/manifest.json")]
    return found | _digests(place, [place.dist / "packages" / f"{PACKAGE}.json", *manifests])


def _downloads(place: Place) -> list[Path]:
    return [place.cache / "downloads" / pin.sha256 for pin in pins()]


def _unmake_fetch(place: Place) -> None:
    _remove(_downloads(place))


def _fetched(place: Place) -> dict[str, str]:
    return _digests(place, _downloads(place))


def _images(place: Place) -> list[Path]:
    return [place.dist / name for name in ("host.img", "rootfs.tar", "MANIFEST")]


def _unmake_image(place: Place) -> None:
    _remove(_images(place))


def _image(place: Place) -> dict[str, str]:
    return _digests(place, _images(place))


def _proofs(place: Place) -> list[Path]:
    return [place.dist / "proof-groups" / "agreement.txt"]


def _unmake_proof(place: Place) -> None:
    _remove(_proofs(place))


def _proof(place: Place) -> dict[str, str]:
    return _digests(place, _proofs(place))


def _unmake_install(place: Place) -> None:
    """Nothing: no run of an install is let to its end."""


def _installed(place: Place) -> dict[str, str]:
    """The guests that count as installed, which must be none."""
    return _digests(place, place.dist.glob("guest/*/disk.qcow2"))


def _remove(found: Iterable[Path]) -> None:
    for one in found:
        files.remove(one)


def _digests(place: Place, found: Iterable[Path]) -> dict[str, str]:
    """The digest of each file that is there, by its name below the place."""
    digests = {}
    for file in found:
        with suppress(FileNotFoundError):
            digests[str(file.relative_to(place.base))] = files.digest(file)
    return digests
