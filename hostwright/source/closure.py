"""The packages that a list of seeds needs, according to the indexes of an archive."""

from collections.abc import Iterable, Iterator, Sequence

from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats.control import Stanza, dependencies
from hostwright.source.pins import pin_of

DEPENDENCIES = ("Pre-Depends", "Depends")


def parse_seeds(text: str) -> tuple[list[str], frozenset[str]]:
    """Wanted and excluded package names of a seeds file."""
    words = [line.split("#")[0].strip() for line in text.splitlines()]
    wanted = [word for word in words if word and not word.startswith("-")]
    return wanted, frozenset(word[1:] for word in words if word.startswith("-"))


def lock(
    stanzas: Iterable[Stanza], seeds: Sequence[str], excluded: frozenset[str], file: str = "buildroot/seeds"
) -> list[Pin]:
    """The closure of `seeds` under Depends and Pre-Depends, sorted by name; a seed may be a virtual package.

    If several packages satisfy a dependency, a seed is preferred, otherwise the first. Raises UserError with the `file`
    of the seeds if the archive lacks a package.
    """
    chosen = _close(_Index(stanzas), seeds, excluded, file)
    return sorted(map(pin_of, chosen.values()), key=lambda pin: pin.rank)


def find_unmet(
    stanzas: Iterable[Stanza], seeds: Sequence[str], file: str = "buildroot/seeds"
) -> list[tuple[str, str]]:
    """Each package of the closure with a dependency, as alternatives, that no package of the archive satisfies."""
    index = _Index(stanzas)
    return [
        (name, " | ".join(alternatives))
        for name, stanza in _close(index, seeds, frozenset(), file).items()
        for field in DEPENDENCIES
        for alternatives in dependencies(stanza, field)
        if not any(one in index.real or one in index.virtual for one in alternatives)
    ]


def _close(index: "_Index", seeds: Sequence[str], excluded: frozenset[str], file: str) -> dict[str, Stanza]:
    chosen: dict[str, Stanza] = {}
    queue = list(seeds)
    while queue:
        name = queue.pop(0)
        if name in excluded:
            continue
        stanza = index.find(name, file)
        if stanza["Package"] not in chosen:
            chosen[stanza["Package"]] = stanza
            queue += list(_needs(stanza, index, {*seeds, *chosen, *excluded}))
    return chosen


class _Index:
    """Packages by name and by the names that they provide."""

    def __init__(self, stanzas: Iterable[Stanza]) -> None:
        self.real: dict[str, Stanza] = {}
        self.virtual: dict[str, list[str]] = {}
        for stanza in stanzas:
            self.real[stanza["Package"]] = stanza
            for name in dependencies(stanza, "Provides"):
                self.virtual.setdefault(name[0], []).append(stanza["Package"])

    def find(self, name: str, file: str) -> Stanza:
        """The paragraph of a package, or of a provider of that name; raises UserError with `file` if there is none."""
        real = name if name in self.real else min(self.virtual.get(name, [name]))
        try:
            return self.real[real]
        except KeyError:
            raise UserError(f"{file}: the archive has no package {name}") from None

    def resolve(self, alternatives: list[str], settled: set[str]) -> str:
        """The package that satisfies one dependency; '' if a settled package already does."""
        offers = [
            o
            for name in alternatives
            for o in ([name] if name in self.real else sorted(self.virtual.get(name, [])))
        ]
        # Another package may provide the name of a real one: sysvinit-utils provides lsb-base.
        providers = [one for name in alternatives for one in self.virtual.get(name, [])]
        if any(name in settled for name in [*alternatives, *providers]) or not offers:
            return ""
        return offers[0]


def _needs(stanza: Stanza, index: _Index, settled: set[str]) -> Iterator[str]:
    for field in DEPENDENCIES:
        for alternatives in dependencies(stanza, field):
            if name := index.resolve(alternatives, settled):
                yield name
