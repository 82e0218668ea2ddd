"""The installer's pins, renewed from the archive's signed indexes for `./doit lock`.

    InRelease --gpgv--> Packages (netboot package), the installer's Packages (parts) --> guest/installer.lock

An archive may list files that it does not hold, and a netboot package works only with module parts of its kernel. So
each pin is checked against the archive. If the archive lists a part but does not hold it, the part that is pinned now
replaces it, provided that the archive holds that one. If a part is still missing, the netboot package that is pinned
now is tried. If that fails too, the lock stays unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats.control import Stanza
from hostwright.guest import initrd, udeb
from hostwright.sandbox import signature
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch, index
from hostwright.source.closure import lock, parse_seeds
from hostwright.source.pins import pin_of, render_lock
from hostwright.upkeep.lock import differences

FILE = "guest/installer.lock"
SEEDS = "guest/installer.seeds"


@dataclass(frozen=True)
class Renewal:
    """The number of pins, the changes, and the listed or pinned files that the archive does not hold."""

    pins: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The pins for one netboot package, and a line for each that the archive does not hold."""

    pins: tuple[Pin, ...]
    notes: tuple[str, ...]
    is_whole: bool


def renew(shop: Workshop) -> Renewal:
    """Write guest/installer.lock anew if a complete set exists.

    Raises UserError if a signature or a digest is wrong, or if no archive answers.
    """
    release, mirrors = signature.signed_release(shop), shop.archives
    packages = signature.index(index.PACKAGES, release, mirrors)
    parts = signature.index(index.UDEBS, release, mirrors)
    before = initrd.load_lock()
    pinned = [pin for pin in before if pin.name == initrd.NETBOOT]
    offered = [pin_of(one) for one in packages if one["Package"] == initrd.NETBOOT]
    notes: list[str] = []
    for netboot in dict.fromkeys([*offered, *pinned]):
        choice = choose(netboot, parts, before, mirrors)
        notes += choice.notes
        if choice.is_whole:
            return _write(choice.pins, before, notes)
    lost = [_lost(pin) for pin in before if not fetch.is_offered(pin.path, mirrors)]
    return Renewal(len(before), (), (*dict.fromkeys([*notes, *lost]), f"{FILE} stays unchanged"))


def _write(pins: Sequence[Pin], before: Sequence[Pin], notes: Sequence[str]) -> Renewal:
    files.write(initrd.lock_file(), render_lock(pins))
    return Renewal(len(pins), tuple(differences(before, pins)), tuple(dict.fromkeys(notes)))


def choose(netboot: Pin, parts: Sequence[Stanza], before: Sequence[Pin], mirrors: Sequence[str]) -> Choice:
    """The parts that an install with this netboot package needs, as far as the archive holds them."""
    if not fetch.is_offered(netboot.path, mirrors):
        return Choice((), (_lost(netboot),), is_whole=False)
    kernel, tree = initrd.read_netboot(fetch.fetch(netboot, mirrors, lambda _: None))
    release = initrd.kernel_release(kernel)
    try:
        needed = closure(parts, tree, release)
    except UserError as error:
        return Choice(
            (), (f"{netboot.name} {netboot.version}, Linux {release}: {error.message}",), is_whole=False
        )
    found, notes = [netboot], list[str]()
    for pin in needed:
        held, lines = stand_in(pin, before, mirrors)
        found += [held] if held else []
        notes += lines
    return Choice(tuple(sorted(found, key=lambda pin: pin.rank)), tuple(notes), len(found) == len(needed) + 1)


def closure(parts: Sequence[Stanza], tree: udeb.Tree, release: str) -> list[Pin]:
    """The parts of guest/installer.seeds and their dependencies outside the initrd, for one kernel release."""
    fitting = [one for one in parts if one.get("Kernel-Version", release) == release]
    wanted, excluded = parse_seeds((paths.GUEST / "installer.seeds").read_text())
    return lock(fitting, wanted, excluded | udeb.provided(tree), SEEDS)


def stand_in(pin: Pin, before: Sequence[Pin], mirrors: Sequence[str]) -> tuple[Pin | None, list[str]]:
    """The pin if the archive holds it, otherwise the present pin of that name if the archive holds that one.

    Also returns a line for each file that is not held.
    """
    notes: list[str] = []
    for one in dict.fromkeys([pin, *(old for old in before if old.name == pin.name)]):
        if fetch.is_offered(one.path, mirrors):
            return one, [f"{line}; {one.version} stays" for line in notes]
        notes.append(_lost(one))
    return None, notes


def _lost(pin: Pin) -> str:
    return f"{FILE}: the archive does not hold {pin.name} {pin.version}"
