"""Debian's texts about a package: copyright file, synopses, names of its patches.

    .debian.tar --> debian/copyright, debian/control, debian/patches/series
    Packages --> a .deb --> usr/share/doc/*/copyright, if the archive does not hold the .debian.tar

Copyright files in packages: Debian Policy, 12.5.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright.base.pin import Pin
from hostwright.formats import deb, tarball
from hostwright.formats.control import Stanza
from hostwright.sandbox import signature
from hostwright.source import fetch, index
from hostwright.source.pins import pin_of
from hostwright.upkeep import source_index

_FILES = ("copyright", "control", "patches/series")


@dataclass(frozen=True)
class Texts:
    """The texts of the files with these names, '' for a missing one.

    `origin` is the file they were read from.
    """

    copyright: str = ""
    control: str = ""
    series: str = ""
    origin: str = ""


def read(stanza: Stanza, release: str, mirrors: Sequence[str]) -> Texts:
    """The texts of a source package.

    An archive may list files that it does not hold. The packages built from the source then provide all but the
    patches.
    """
    packaging = source_index.packaging(stanza)
    if packaging and fetch.is_offered(packaging.path, mirrors):
        found = tarball.look(_fetch(packaging, mirrors), packaging.file, _FILES.__contains__).texts
        text, control, series = (found.get(name, "") for name in _FILES)
        return Texts(text, control, series, packaging.file)
    built = source_index.built(stanza["Package"], signature.kept_index(index.PACKAGES, release, mirrors))
    control = "\n\n".join(f"Package: {one['Package']}\nDescription: {_synopsis(one)}" for one in built)
    text, origin = _copyright(map(pin_of, built), lambda pin: _read_deb(pin, mirrors))
    return Texts(text, control, origin=origin)


def _synopsis(stanza: Stanza) -> str:
    return stanza.get("Description", "").partition("\n")[0]


def _copyright(pins: Iterable[Pin], read_deb: Callable[[Pin], str]) -> tuple[str, str]:
    """The first copyright file that a package contains itself, and its origin; the smallest package comes first."""
    for pin in sorted(pins, key=lambda one: (one.size, one.name)):
        if text := read_deb(pin):
            return text, f"{pin.name} {pin.version}"
    return "", ""


def _read_deb(pin: Pin, mirrors: Sequence[str]) -> str:
    """The copyright file in a `.deb`.

    It is '' if the archive does not hold the `.deb`, or if another package contains the file.
    """
    if not fetch.is_offered(pin.path, mirrors):
        return ""
    place = _fetch(pin, mirrors)
    found = (
        content
        for path, _, content in deb.read(place, "data", "usr/share/doc/")
        if path.endswith("/copyright")
    )
    return next(found, b"").decode(errors="replace")


def _fetch(one: Pin, mirrors: Sequence[str]) -> Path:
    return fetch.fetch(one, mirrors, lambda _: None)
