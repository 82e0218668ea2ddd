"""A corruption sweep: one bit flipped in each of many cached files in turn, in a copy of the cache.

    a copy of the cache --choose--> files
    each of them --flip--> noticed by its user, or by verify --> set aside --> mended

A download comes again from an archive on loopback. The parts of the installer and the filter are made again. A package
is not compiled again: what a build would give is its own tree without the flip, which is kept as a build's is.
"""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from hostwright.base import files, intact, paths, run
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.build import recipes, store
from hostwright.guest import initrd
from hostwright.sandbox import buildroot, seccomp
from hostwright.sandbox.workshop import open_at
from hostwright.source import fetch, mirrors
from hostwright.source.depot import Depot
from hostwright.torture import slow, strikes
from hostwright.upkeep import audit

# Each flip reads its file several times.
_LARGEST = 16 << 20

Note = Callable[[str], None]


@dataclass(frozen=True)
class Spot:
    """A file in the cache; `suffer` flips a bit in it and raises UserError unless that is noticed and mended."""

    kind: str
    name: str
    suffer: Callable[[Random], None]


def sweep_copy(python: str, count: int, seed: int, log: Path, note: Note) -> list[str]:
    """Flip a bit in `count` files of a copy of the cache; a line for each kind of file."""
    note(f"{count} files of a copy of the cache")
    with strikes.copied(python) as place, slow.archive(_served()) as mirror:
        shutil.copytree(paths.PACKAGES, place.dist / "packages")
        named = [*place.environment(), f"HOSTWRIGHT_MIRROR={mirror}"]
        argv = ["env", *named, python, "-m", "hostwright.torture.flips", str(count), str(seed), str(log)]
        status, out, err = run.capture(argv)
        if status != 0:
            raise UserError(f"the sweep (seed {seed}) ended with status {status}: {err.strip()}")
    found = json.loads(out)
    return [
        f"{kind}: a bit flipped in {number} files, each noticed and mended" for kind, number in found.items()
    ]


def choose(spots: list[Spot], count: int, dice: Random) -> list[Spot]:
    """`count` spots: all of the kinds that have few, then the others in turn; no spot twice."""
    kinds: dict[str, list[Spot]] = {}
    for spot in spots:
        kinds.setdefault(spot.kind, []).append(spot)
    for found in kinds.values():
        dice.shuffle(found)
    turns = max(map(len, kinds.values()), default=0)
    chosen = [found[turn] for turn in range(turns) for found in kinds.values() if turn < len(found)]
    return chosen[:count]


def find_spots(dice: Random, log: Path) -> list[Spot]:
    """The files of the cache that a flip is known to be noticed in."""
    downloads = [Spot("download", pin.label, partial(_download, pin)) for pin in _pins() if _is_usable(pin)]
    return [*downloads, *_packages(dice), *_kit(log), *_archive(), Spot("filter", "seccomp", _filter)]


def _pins() -> list[Pin]:
    known = [pin for name in recipes.recipe_names() for pin in recipes.sources(recipes.load_recipe(name))]
    return list({pin.sha256: pin for pin in (*buildroot.load_lock(), *initrd.load_lock(), *known)}.values())


def _served() -> dict[str, Path]:
    """What the archive on loopback has: the downloads, and what a depot kept."""
    folder = paths.cache() / "archive"
    kept = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    return slow.places(_pins()) | kept


def _is_usable(pin: Pin) -> bool:
    return fetch.is_here(pin.sha256) and 0 < fetch.local(pin.sha256).stat().st_size <= _LARGEST


def flip(file: Path, dice: Random) -> int:
    """Flip one bit of a file, with its size, time and mode as they were; the place of its byte."""
    status = file.stat()
    place = dice.randrange(status.st_size)
    file.chmod(0o600)
    with file.open("r+b") as sink:
        sink.seek(place)
        byte = sink.read(1)[0]
        sink.seek(place)
        sink.write(bytes([byte ^ 1 << place % 8]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    file.chmod(status.st_mode & 0o7777)
    return place


def _require(is_well: bool, what: str) -> None:
    if not is_well:
        raise UserError(what)


def _forge(file: Path, sha256: str) -> None:
    """Record a file as found intact, as if the disk had changed it without a trace."""
    files.write(intact.record(file), json.dumps([sha256, *files.marks(file)]))


def _download(pin: Pin, dice: Random) -> None:
    """Every second flip leaves no trace; only verify can find that one."""
    place = fetch.local(pin.sha256)
    _require(fetch.is_intact(pin.sha256), f"{place} is damaged before the flip")
    flip(place, dice)
    if dice.random() < 0.5:
        _forge(place, pin.sha256)
        found = audit.find_damaged([], [pin])
        _require(found == [place], f"{place}: verify finds no damage")
        audit.repair(found)
    else:
        _require(not fetch.is_intact(pin.sha256), f"{place}: the damage is not noticed before it is used")
    _require(not place.exists(), f"{place} is damaged and not set aside")
    _require(files.digest(fetch.have(pin)) == pin.sha256, f"{place} is not mended")
    files.remove(place.with_name(place.name + intact.DAMAGED))


def _packages(dice: Random) -> Iterator[Spot]:
    """A file of each package in turn, and its manifest."""
    for name in (one for one in recipes.recipe_names() if store.is_stamped(one)):
        built = store.read_stamp(name)
        found = sorted(one for one in built.tree.rglob("*") if one.is_file() and not one.is_symlink())
        few = [one for one in found if 0 < one.stat().st_size <= _LARGEST]
        for file in (built.folder / "manifest.json", *dice.sample(few, min(len(few), 8))):
            yield Spot("package", str(file), partial(_package, built, file.relative_to(built.folder)))


def _package(built: store.Built, file: Path, dice: Random) -> None:
    _require(store.is_whole(built.folder), f"{built.folder} is damaged before the flip")
    whole = (built.folder / file).read_bytes()
    flip(built.folder / file, dice)
    if dice.random() < 0.5:
        found = audit.find_damaged([built.name], [])
        _require(found == [built.folder], f"{built.folder / file}: verify finds no damage")
        audit.repair(found)
    else:
        found_again = store.find(built.name, built.version, built.key)
        _require(found_again is None, f"{built.folder / file}: the damage is not noticed before it is used")
    _require(not built.folder.exists(), f"{built.folder} is damaged and not set aside")
    _keep_again(built, file, whole)


def _keep_again(built: store.Built, file: Path, whole: bytes) -> None:
    """Keep the tree as its build would, without the flip."""
    damaged = built.folder.with_name(built.folder.name + intact.DAMAGED)
    mode = (damaged / file).stat().st_mode & 0o7777
    (damaged / file).write_bytes(whole)
    (damaged / file).chmod(mode)
    setuid = recipes.load_recipe(built.name).setuid
    again = store.keep(built.name, built.version, built.key, damaged / "tree", setuid)
    _require(again == built, f"{built.folder} is not mended")
    files.remove(damaged)


def _kit(log: Path) -> Iterator[Spot]:
    """The installer's kernel, initrd and questions."""
    kit = initrd.build_initrd(initrd.load_lock(), open_at(log))
    for file in (kit.kernel, kit.initrd, kit.templates, kit.digests):
        yield Spot("installer", file.name, partial(_installer, file, log))


def _installer(file: Path, log: Path, dice: Random) -> None:
    before = {one.name: files.digest(one) for one in file.parent.iterdir() if not one.name.startswith(".")}
    flip(file, dice)
    kit = initrd.build_initrd(initrd.load_lock(), open_at(log))
    after = {name: files.digest(kit.folder / name) for name in before}
    _require(after == before, f"{file} is not mended")
    files.remove(kit.folder.with_name(kit.folder.name + intact.DAMAGED))


def _archive() -> Iterator[Spot]:
    """What a depot keeps under its digest."""
    folder = paths.cache() / "archive"
    for file in sorted(folder.glob("dists/**/by-hash/SHA256/*")):
        yield Spot("archive", file.name, partial(_depot, folder, file))


def _depot(folder: Path, file: Path, dice: Random) -> None:
    path, before = str(file.relative_to(folder)), files.digest(file)
    flip(file, dice)
    depot = Depot(folder, mirrors.find_mirrors())
    _require(
        depot.find(path) is None and not file.exists(),
        f"{file}: the damage is not noticed before it is served",
    )
    with depot.take(path) as stream:
        for _ in stream.blocks:
            pass
    _require(files.digest(file) == before, f"{file} is not mended")
    files.remove(file.with_name(file.name + intact.DAMAGED))


def _filter(dice: Random) -> None:
    seccomp.place()
    flip(seccomp.path(), dice)
    seccomp.place()
    _require(seccomp.path().read_bytes() == seccomp.program(), f"{seccomp.path()} is not mended")


def sweep(count: int, seed: int, log: Path) -> Counter[str]:
    """Flip a bit in `count` files, one after the other; how many of each kind. UserError names the first missed."""
    dice, done = Random(seed), Counter[str]()
    for number, spot in enumerate(choose(find_spots(dice, log), count, dice), 1):
        with log.open("a") as sink:
            print(f"flip {number}: {spot.kind} {spot.name}", file=sink)
        spot.suffer(dice)
        done[spot.kind] += 1
    return done


def main(words: list[str]) -> int:
    """Sweep the cache that the environment names: COUNT SEED LOG; it must be a copy."""
    try:
        print(json.dumps(sweep(int(words[0]), int(words[1]), Path(words[2]))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
