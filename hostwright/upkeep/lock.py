"""Renewing buildroot/lock from the archive's signed indexes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostwright.base import files, paths
from hostwright.base.pin import Pin
from hostwright.sandbox.signature import index, signed_release
from hostwright.sandbox.workshop import Workshop
from hostwright.source import closure
from hostwright.source.index import PACKAGES, SOURCES, source_files
from hostwright.source.pins import parse_lock, render_lock


@dataclass(frozen=True)
class Renewal:
    """The changes of the lock, and the notes about the sources, one line each."""

    pins: int
    changed: tuple[str, ...]
    sources: tuple[str, ...]


def renew(shop: Workshop, sources: Mapping[str, Sequence[Pin]]) -> Renewal:
    """Write buildroot/lock anew; raises UserError if the archive's signature or an index's digest is wrong."""
    release = signed_release(shop)
    stanzas = index(PACKAGES, release, shop.archives)
    wanted, excluded = closure.parse_seeds(paths.SEEDS.read_text())
    pins = closure.lock(stanzas, wanted, excluded)
    found = source_files(index(SOURCES, release, shop.archives))
    before = parse_lock(paths.LOCK.read_text())
    files.write(paths.LOCK, render_lock(pins))
    return Renewal(len(pins), tuple(differences(before, pins)), tuple(source_notes(sources, found)))


def differences(before: Sequence[Pin], after: Sequence[Pin]) -> list[str]:
    """Packages that were added, were removed or changed their version."""
    old = {pin.name: pin.version for pin in before}
    new = {pin.name: pin.version for pin in after}
    names = sorted(old.keys() | new.keys())
    return [
        f"{name}: {old.get(name, '-')} -> {new.get(name, '-')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def source_notes(sources: Mapping[str, Sequence[Pin]], found: dict[str, str]) -> list[str]:
    """One line for each source that the archive no longer holds as pinned."""
    notes: list[str] = []
    for name, pinned in sources.items():
        for one in pinned:
            if found.get(one.path) != one.sha256:
                notes.append(f"recipes/{name}: {one.path} {_state(one, found)}")
    return notes


def _state(one: Pin, found: dict[str, str]) -> str:
    if one.path in found:
        return f"has another sha256 in the archive: {found[one.path]}"
    folder = one.path.rsplit("/", 1)[0]
    others = sorted(
        path.rsplit("/", 1)[1]
        for path in found
        if path.startswith(f"{folder}/") and ".orig." in path and not path.endswith(".asc")
    )
    return f"left the archive, which has {', '.join(others) or 'no version of it'}"
