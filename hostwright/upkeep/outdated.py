"""`./doit outdated`: the recipes' pins, compared with the archive's signed index of sources.

    InRelease --gpgv--> Sources --newest of each package--> older pins; pins that the archive no longer holds

Only the index is fetched, and nothing is written.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hostwright.base.pin import Pin
from hostwright.formats import versions
from hostwright.formats.control import Stanza
from hostwright.sandbox import signature
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch, index
from hostwright.upkeep import source_index


@dataclass(frozen=True)
class State:
    """One pin: its version and the suite's newest ('' if there is none), as in the names of their tarballs.

    `fault` is the reason why the archive cannot provide the pin, or ''.
    """

    recipe: str
    package: str
    pinned: str
    newest: str
    fault: str = ""

    @property
    def is_older(self) -> bool:
        """Whether the suite has a newer version."""
        return versions.key(self.pinned) < versions.key(self.newest)

    @property
    def is_newer(self) -> bool:
        """Whether the pin is newer than the suite's newest version."""
        return versions.key(self.pinned) > versions.key(self.newest)


def find(shop: Workshop, pins: Mapping[str, Sequence[Pin]]) -> list[str]:
    """The lines about the pins of each recipe.

    Raises UserError if the archive cannot be reached or its signature is wrong.
    """
    release = signature.signed_release(shop)
    stanzas = signature.kept_index(index.SOURCES, release, shop.archives)
    return render(list(states(pins, stanzas, lambda path: fetch.is_offered(path, shop.archives))))


def states(
    pins: Mapping[str, Sequence[Pin]], stanzas: Sequence[Stanza], is_held: Callable[[str], bool]
) -> Iterator[State]:
    """The state of every pin. For pins that the index does not list, `is_held` asks the archive.

    Those may be of another suite.
    """
    packages, listed = source_index.newest(stanzas), index.source_files(stanzas)
    for recipe, pinned in pins.items():
        # One tarball may be unpacked in two places.
        for path, sha256 in {one.path: one.sha256 for one in pinned}.items():
            name, version = _name_and_version(path)
            newest = versions.upstream(packages[name]["Version"]) if name in packages else ""
            yield State(recipe, name, version, newest, _fault(path, sha256, listed, is_held))


def _name_and_version(path: str) -> tuple[str, str]:
    """Source package and version from the pool path of a tarball."""
    name, _, rest = path.rpartition("/")[2].partition("_")
    return name, re.sub(r"\.orig(-[A-Za-z0-9-]+)?\.tar\.\w+$", "", rest)


def _fault(path: str, sha256: str, listed: Mapping[str, str], is_held: Callable[[str], bool]) -> str:
    if path in listed:
        return "" if listed[path] == sha256 else "the archive has another sha256 for it"
    return "" if is_held(path) else "the pin has left the archive"


def render(found: Sequence[State]) -> list[str]:
    """A line for each pin that is older or cannot be fetched.

    One more line lists the pins that are newer than the suite's.
    """
    due = [one for one in found if one.is_older or one.fault]
    newer = sorted({f"{one.package} {one.pinned}" for one in found if one.is_newer and not one.fault})
    rows = [(_name(one), one.pinned, f"-> {one.newest or 'none'}", one.fault) for one in due]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    count = f"older than {index.SUITE}'s newest, or gone from the archive: {len(due)} of {len(found)} pins"
    return [
        *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows),
        count if due else f"none of {len(found)} pins is older than {index.SUITE}'s newest",
        *([f"of another suite, and newer than {index.SUITE}'s: {', '.join(newer)}"] if newer else []),
    ]


def _name(one: State) -> str:
    return one.recipe if one.recipe == one.package else f"{one.recipe} ({one.package})"
