"""`./doit add NAME`: the first draft of a recipe, from the archive.

    InRelease --gpgv--> Sources --NAME--> .orig.tar, .debian.tar --fetched, sha256 checked, read-->
        guesses --> recipes/NAME.py, and a line for each guess

Nothing is unpacked. The recipe is written last and atomically, so an error leaves nothing behind.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.build.recipes import load_recipe, recipe_names
from hostwright.formats import copyright, spdx, tarball, versions
from hostwright.formats.control import Stanza
from hostwright.recipe import Recipe
from hostwright.sandbox import buildroot, signature
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch
from hostwright.source.index import SOURCES
from hostwright.upkeep import debian_texts, guesses, layout, source_index

Note = Callable[[str], None]


@dataclass(frozen=True)
class Draft:
    """A recipe to be edited, and the sources of its guesses.

    `twins` are recipes that are made from the same source.
    """

    recipe: Recipe
    stanza: Stanza
    way: guesses.Way
    needs: guesses.Needs
    license: copyright.Found
    debian: debian_texts.Texts
    twins: tuple[str, ...]


@dataclass(frozen=True)
class Upstream:
    """The upstream tarballs by their folder, and the content of the main one."""

    tarballs: dict[str, Pin]
    contents: tarball.Contents


def add(name: str, recipe_name: str, shop: Workshop, note: Note) -> list[str]:
    """Write the recipe of the source package `name`; returns lines with the guesses and the remaining work.

    If `recipe_name` is '', the recipe is named like the package. Raises UserError, and writes nothing, if the recipe
    exists already, if the archive has no such package, or if the package or one of its files cannot be fetched.
    """
    target, recipe_name = place(name, recipe_name)
    note("reading the archive's index")
    release, mirrors = signature.signed_release(shop), shop.archives
    packages = source_index.newest(signature.kept_index(SOURCES, release, mirrors))
    stanza = source_index.find(name, packages)
    note(f"fetching {name} {stanza['Version']}")
    source, debian = upstream(stanza, mirrors), debian_texts.read(stanza, release, mirrors)
    made = draft(recipe_name, stanza, packages, source, debian)
    files.write(target, render(made))
    return report(made, target)


def place(name: str, recipe_name: str) -> tuple[Path, str]:
    """The recipe's path and name; raises UserError for a name that is invalid or taken."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
        raise UserError(
            f"{name!r} is not the name of a source package", "write ./doit add NAME, as in add zlib"
        )
    wanted = recipe_name or re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", wanted):
        raise UserError(
            f"{wanted!r} is not a valid recipe name: use a-z, 0-9 and -, and start with a letter",
            f"choose one: ./doit add {name} as=NAME",
        )
    target = paths.RECIPES / f"{wanted.replace('-', '_')}.py"
    if target.exists():
        raise UserError(
            f"recipes/{target.name} exists already",
            f"edit it, or choose another name: ./doit add {name} as=NAME",
        )
    return target, wanted


def upstream(stanza: Stanza, mirrors: Sequence[str]) -> Upstream:
    """Fetch the upstream tarballs of a source package and read the main one."""
    tarballs = source_index.tarballs(stanza)
    fetch.fetch_all(list(tarballs.values()), mirrors, lambda _: None)
    main = tarballs[""]
    return Upstream(tarballs, tarball.look(fetch.local(main.sha256), main.file, guesses.wants))


def draft(
    name: str, stanza: Stanza, packages: dict[str, Stanza], source: Upstream, debian: debian_texts.Texts
) -> Draft:
    """Make all guesses, as the fields of a recipe."""
    recipes = [load_recipe(one) for one in recipe_names()]
    needs = guesses.needs(stanza, packages, recipes, {pin.name for pin in buildroot.load_lock()})
    is_meson = any("meson" in group for group in source_index.build_needs(stanza))
    way = guesses.way(stanza["Package"], source.contents, is_meson)
    found = copyright.read(debian.copyright)
    main, *extra = [Pin(one.path, one.sha256, into=into) for into, one in source.tarballs.items()]
    value = Recipe(
        name=name,
        version=versions.released(stanza["Version"]),
        license=found.main,
        home=guesses.home(stanza, found.source),
        source=main,
        extra=tuple(extra),
        needs=needs.recipes,
        build=way.build,
    )
    twins = [one.name for one in recipes if guesses.source_package(one.source.path) == stanza["Package"]]
    return Draft(value, stanza, way, needs, found, debian, tuple(twins))


def render(made: Draft) -> str:
    """The text of the recipe's file."""
    sentence = guesses.sentence(made.debian.control, made.stanza["Package"])
    comment = "" if made.way.is_known else f"{made.way.why[0].upper()}{made.way.why[1:]}."
    return layout.render_recipe(made.recipe, sentence, comment)


def report(made: Draft, target: Path) -> list[str]:
    """The lines for a person: each guess with its source, and the remaining work."""
    return [
        f"recipes/{target.name} is written; guessed:",
        *(f"  {line}" for line in _guessed(made)),
        "to edit:",
        *(f"  {line}" for line in _to_do(made)),
        f"then: ./doit package:{made.recipe.name}; docs/recipes.md has the steps",
    ]


def _guessed(made: Draft) -> list[str]:
    value, origin = made.recipe, made.debian.origin
    said = f"declares {made.license.said}" if made.license.said else "is not machine-readable"
    return [
        f"version  {value.version}, of Debian's {made.stanza['Version']}",
        f"source   {value.source.path}",
        *(f"extra    {one.path}, unpacked into {one.into}" for one in value.extra),
        f"license  {value.license}: "
        + (f"the copyright file of {origin} {said}" if origin else "no copyright file was found"),
        f"home     {value.home}",
        f"build    {type(value.build).__name__}: {made.way.why}",
        f"needs    {', '.join(value.needs)}",
    ]


def _to_do(made: Draft) -> list[str]:
    """Each line of the remaining work, and whether it applies."""
    others = (
        f"{'some files have' if made.license.said else 'the file names'} {'; '.join(made.license.others)}"
    )
    missing, tools = ", ".join(made.needs.missing), ", ".join(made.needs.tools)
    patches = _patches(made.debian.series)
    lines = [
        (f"{', '.join(made.twins)}: made from the same source", made.twins),
        (f"license: {spdx.fault(made.recipe.license)}", spdx.fault(made.recipe.license)),
        (
            "license: give the SPDX expression of what is installed",
            not copyright.is_listed(made.recipe.license),
        ),
        (f"license: {others}", made.license.others),
        ("home: not known", made.recipe.home == guesses.NO_HOME),
        ("build: describe how it is built", not made.way.is_known),
        ("build: disable what the host does not need; explain it if it is not obvious", made.way.is_known),
        (f"needs: no recipe provides {missing}: disable it, or add it first", missing),
        (f"tools: the build root lacks {tools}, which Debian builds it with", tools),
        (
            f"patches: Debian has {len(patches)}: {', '.join(patches[:4])}{', ...' * (len(patches) > 4)}",
            patches,
        ),
        ("files: promise what others rely on, such as its programs and the names of its libraries", True),
        ("smoke: a harmless command for the booted host, if it has one", True),
    ]
    return [line for line, is_due in lines if is_due]


def _patches(series: str) -> list[str]:
    """The names of the patches in a quilt series."""
    return [line.split()[0] for line in series.splitlines() if line.strip() and not line.startswith("#")]
