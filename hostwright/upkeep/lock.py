"""Renewing buildroot/lock and firmware/lock from the archive's signed indexes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostwright.base import files, paths
from hostwright.base.pin import Pin
from hostwright.machine.firmware import FIRMWARE
from hostwright.sandbox.signature import index, signed_release
from hostwright.sandbox.workshop import Workshop
from hostwright.source import closure, fetch, release
from hostwright.source.index import FIRMWARE as FIRMWARE_PACKAGES
from hostwright.source.index import PACKAGES, SOURCES, source_files
from hostwright.source.pins import lock_date, parse_lock, pin_of, render_lock


@dataclass(frozen=True)
class Renewal:
    """The changes of the lock, and the notes about the sources, one line each."""

    pins: int
    changed: tuple[str, ...]
    sources: tuple[str, ...]


def renew(shop: Workshop, sources: Mapping[str, Sequence[Pin]]) -> Renewal:
    """Write buildroot/lock anew; UserError if a signature, a date or a digest is wrong."""
    before = paths.LOCK.read_text()
    signed = signed_release(shop, lock_date(before))
    stanzas = index(PACKAGES, signed, shop.archives)
    wanted, excluded = closure.parse_seeds(paths.SEEDS.read_text())
    pins = closure.lock(stanzas, wanted, excluded)
    found = source_files(index(SOURCES, signed, shop.archives))
    files.write(paths.LOCK, render_lock(pins, release.read(signed)["Date"]))
    return Renewal(
        len(pins), tuple(differences(parse_lock(before), pins)), tuple(source_notes(sources, found))
    )


def renew_firmware(shop: Workshop) -> Renewal:
    """Write firmware/lock anew; what the archive lists and does not hold stays as it is pinned."""
    before = paths.FIRMWARE_LOCK.read_text()
    signed = signed_release(shop, lock_date(before))
    wanted = {part.package for part in FIRMWARE.values()}
    offered = [
        pin_of(one) for one in index(FIRMWARE_PACKAGES, signed, shop.archives) if one["Package"] in wanted
    ]
    pinned = {pin.name: pin for pin in parse_lock(before, "firmware/lock")}
    held = [one for one in offered if fetch.is_offered(one.path, shop.archives)]
    pins = sorted((pinned | {one.name: one for one in held}).values(), key=lambda pin: pin.rank)
    files.write(paths.FIRMWARE_LOCK, render_lock(pins, release.read(signed)["Date"]))
    return Renewal(len(pins), tuple(differences(list(pinned.values()), pins)), ())


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
