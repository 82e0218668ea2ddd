"""Source packages in the archive's Sources index: the newest version, its files, the source of a library; pure.

Fields: deb-src-control(5), dsc(5), and Debian Policy, 7.1, for relations.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import versions
from hostwright.formats.control import Stanza

# A relation of Build-Depends: name, :qualifier, (version), [architectures], <profiles>.
_RELATION = re.compile(
    r"([a-z0-9][a-z0-9+.-]+)(?::\w+)?\s*(?:\([^)]*\))?\s*(?:\[([^]]*)\])?\s*((?:<[^>]*>\s*)*)"
)
_OURS = {"amd64", "any", "any-amd64", "linux-any"}


def newest(stanzas: Iterable[Stanza]) -> dict[str, Stanza]:
    """Each source package's newest paragraph.

    Paragraphs that the archive keeps only because a binary contains their code are left out.
    """
    found: dict[str, Stanza] = {}
    for one in stanzas:
        have = found.get(one["Package"])
        if one.get("Extra-Source-Only") != "yes" and (have is None or _is_older(have, one)):
            found[one["Package"]] = one
    return found


def _is_older(one: Stanza, other: Stanza) -> bool:
    return versions.key(one["Version"]) < versions.key(other["Version"])


def find(name: str, packages: dict[str, Stanza]) -> Stanza:
    """The paragraph of a source package; raises UserError with similar names if there is none."""
    if name in packages:
        return packages[name]
    makers = [package for package, one in packages.items() if name in binaries(one)]
    known_as = [package for package, one in packages.items() if _last_word(one.get("Homepage", "")) == name]
    likely = [*makers, *known_as][:5] or difflib.get_close_matches(name, packages, n=5)
    raise UserError(
        f"the archive has no source package {name}",
        f"did you mean {' or '.join(likely)}?" if likely else "see the archive's list of source packages",
    )


def _last_word(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2].removesuffix(".git").lower()


def binaries(stanza: Stanza) -> list[str]:
    """The names of the packages that a source package builds."""
    return stanza.get("Binary", "").replace(",", " ").split()


def makers(names: Iterable[str], packages: dict[str, Stanza]) -> dict[str, str]:
    """The source package that builds each of `names`, as far as there is one."""
    wanted = set(names)
    return {name: package for package, one in packages.items() for name in wanted.intersection(binaries(one))}


def built(package: str, stanzas: Iterable[Stanza]) -> list[Stanza]:
    """The paragraphs of Packages that come from a source package (deb-control(5), Source)."""
    return [one for one in stanzas if one.get("Source", one["Package"]).partition(" ")[0] == package]


def tarballs(stanza: Stanza) -> dict[str, Pin]:
    """The upstream tarballs of a source package by their folder: '' for the main one, which comes first.

    Raises UserError if there is none, or one in a format that recipes do not support.
    """
    stem = f"{stanza['Package']}_{versions.upstream(stanza['Version'])}.orig"
    form = re.compile(re.escape(stem) + r"(?:-([A-Za-z0-9-]+))?\.tar\.(?:gz|bz2|xz)")
    found = {match[1] or "": one for one in _files(stanza) if (match := form.fullmatch(one.file))}
    if "" not in found:
        raise UserError(
            f"the source package {stanza['Package']} {stanza['Version']} has no {stem}.tar.gz, .bz2 or .xz",
            "it may be Debian's own: write the recipe by hand, see docs/recipes.md",
        )
    return {folder: found[folder] for folder in sorted(found)}


def packaging(stanza: Stanza) -> Pin | None:
    """The tarball of the folder debian/; None if the packaging is a diff."""
    return next((one for one in _files(stanza) if re.search(r"\.debian\.tar\.\w+$", one.file)), None)


def _files(stanza: Stanza) -> Iterator[Pin]:
    for line in stanza.get("Checksums-Sha256", "").split("\n"):
        if len(words := line.split()) == 3:
            yield Pin(f"{stanza['Directory']}/{words[2]}", words[0], size=int(words[1]))


def build_needs(stanza: Stanza) -> list[list[str]]:
    """The build dependencies on amd64, each a list of alternatives, without those of tests and documents."""
    fields = (stanza.get(name, "") for name in ("Build-Depends", "Build-Depends-Arch"))
    relations = [word for field in fields for word in field.replace("\n", " ").split(",") if word.strip()]
    groups = ([name for word in one.split("|") if (name := _relation(word.strip()))] for one in relations)
    return [group for group in groups if group]


def _relation(text: str) -> str:
    """The name in a relation that applies here, otherwise ''."""
    found = _RELATION.match(text)
    if not found:
        return ""
    name, places, profiles = found.groups()
    lists = [one.split() for one in re.findall(r"<([^>]*)>", profiles)]
    return name if _holds_here((places or "any").split()) and _is_wanted(lists) else ""


def _holds_here(places: Sequence[str]) -> bool:
    if places[0].startswith("!"):
        return not _OURS & {place[1:] for place in places}
    return bool(_OURS & set(places))


def _is_wanted(profiles: Sequence[Sequence[str]]) -> bool:
    """Whether a restriction formula holds when only the profiles nocheck and nodoc are set (deb-src-control(5))."""
    on = {"nocheck", "nodoc"}
    return not profiles or any(
        all((word[1:] not in on) if word.startswith("!") else word in on for word in one) for one in profiles
    )
