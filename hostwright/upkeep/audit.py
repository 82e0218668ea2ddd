"""The cache, read again: what this tree uses of it, compared with manifests and pins.

    stamps of dist/packages --> store, each tree with its manifest      \\
    pins of locks and recipes --> downloads, each file with its sha256  --> the damaged; repair() sets them aside
"""

from collections.abc import Iterable
from pathlib import Path

from hostwright.base import intact
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.build import store
from hostwright.source import fetch


def find_damaged(packages: Iterable[str], pins: Iterable[Pin]) -> list[Path]:
    """The places in the cache that are not what their names say; what is not there is not damaged."""
    built = [store.read_stamp(name).folder for name in packages if store.is_stamped(name)]
    trees = [folder for folder in built if not store.is_whole(folder, again=True)]
    files = {pin.sha256: fetch.local(pin.sha256) for pin in pins if fetch.is_damaged(pin.sha256)}
    return [*trees, *files.values()]


def require_none(damaged: list[Path]) -> list[str]:
    """Raise UserError that names each damaged place; no lines if there is none."""
    if damaged:
        raise UserError(
            "damaged in the cache: " + ", ".join(map(str, damaged)),
            "./doit verify repair=yes sets them aside, and the next build makes or fetches them again",
        )
    return []


def repair(damaged: list[Path]) -> list[str]:
    """Set each damaged place aside; a line for each."""
    return [f"set aside as {intact.set_aside(place)}: the next build replaces it" for place in damaged]
