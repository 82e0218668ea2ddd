"""A recipe's fields, guessed from a source package; pure.

    its tarball's files --------> kind of build, options
    Build-Depends, recipes/ ----> needs
    debian/control, Homepage ---> sentence, home page

The module `formats.copyright` guesses the license.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from hostwright.formats.control import Stanza
from hostwright.formats.tarball import Contents
from hostwright.recipe import Build, Configure, Files, Kernel, Make, Meson, MesonPart, Recipe
from hostwright.upkeep import source_index

NO_BUILD = Files(("echo 'the recipe does not say yet how this is built' >&2", "exit 1"))
# Only the scheme of an unknown home page is known.
NO_HOME = "https://"
_AUTOCONF = ("configure.ac", "configure.in")
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
# Build systems that a person may know, but that no kind of build supports.
_OTHERS = (
    "CMakeLists.txt",
    "SConstruct",
    "Cargo.toml",
    "go.mod",
    "pyproject.toml",
    "setup.py",
    "Makefile.PL",
)
# An option, and the text in a configure script or its source that shows that it exists.
_OPTIONS = {
    "--disable-static": r"--enable-static\[|\bLT_INIT\b|\bA[CM]_PROG_LIBTOOL\b",
    "--disable-nls": r"--disable-nls\b|\bAM_GNU_GETTEXT\b",
}
# Debian's own helpers, and packages that exist under another name.
_HELPERS = re.compile(
    r"debhelper|dh-|dpkg-|autotools-dev|init-system-|pkg-config|pkgconf|g\+\+|gcc|libc6-dev|quilt"
)


@dataclass(frozen=True)
class Way:
    """How a source is built, as a recipe's fields; `why` names the files that show it."""

    build: Build
    why: str
    is_known: bool = True


@dataclass(frozen=True)
class Needs:
    """The required recipes, and Debian's further needs: libraries without a recipe, tools missing in the build root."""

    recipes: tuple[str, ...]
    missing: tuple[str, ...]
    tools: tuple[str, ...]


def wants(path: str) -> bool:
    """Whether the text of a file of the tarball helps to guess its build."""
    return path.count("/") < 2 and path.rpartition("/")[2] in ("configure", *_AUTOCONF)


def way(package: str, contents: Contents, is_meson: bool) -> Way:
    """How the source is built. Among several build systems it takes Debian's; `is_meson`: Debian uses Meson."""
    if contents.is_flat:
        return Way(NO_BUILD, "its files are in no folder of their own, see recipes/tzdata.py", is_known=False)
    tops = {path.partition("/")[0] for path in contents.paths if "/" in path}
    # Some sources keep their files one folder deeper. tests/Makefile does not make a package.
    deeper = tops if len(tops) == 1 else {package, "src"} & tops
    for folder in ("", *(f"{one}/" for one in sorted(deeper))):
        if found := _way_in(folder, contents, is_meson):
            return found
    others = [name for name in _OTHERS if name in contents.paths]
    reason = (
        f"{', '.join(others)}, which no kind of build supports"
        if others
        else "no build system was recognised"
    )
    return Way(NO_BUILD, reason, is_known=False)


def _way_in(folder: str, contents: Contents, is_meson: bool) -> Way | None:
    has = {name for name in contents.paths if name.startswith(folder)}
    enter = (f"cd {quote(folder.rstrip('/'))}",) if folder else ()
    meson, configure = _meson(folder, has, enter), _configure(folder, has, enter, contents.texts)
    # A configure that is not autoconf's may call meson itself, as QEMU's does.
    is_wrapped = f"{folder}configure" in has and not any(f"{folder}{name}" in has for name in _AUTOCONF)
    first, second = (meson, configure) if is_meson and not is_wrapped else (configure, meson)
    return first or second or _make(folder, has, enter)


def _meson(folder: str, has: set[str], enter: tuple[str, ...]) -> Way | None:
    file = f"{folder}meson.build"
    return Way(Meson(before=enter), file) if file in has else None


def _configure(folder: str, has: set[str], enter: tuple[str, ...], texts: Mapping[str, str]) -> Way | None:
    script = f"{folder}configure"
    source = next((f"{folder}{name}" for name in _AUTOCONF if f"{folder}{name}" in has), "")
    text = texts.get(script, "") + texts.get(source, "")
    options = tuple(option for option, sign in _OPTIONS.items() if re.search(sign, text))
    lacks = _not_generated(folder, has) if source else ""
    if lacks:
        return Way(Configure(options=options, before=(*enter, "autoreconf -i")), f"{source} without {lacks}")
    why = script if source else f"{script}, which is not autoconf's: check its options"
    return Way(Configure(options=options, before=enter), why) if script in has else None


def _not_generated(folder: str, has: set[str]) -> str:
    """The file that autoreconf generates and that a bare checkout lacks; '' if there is none."""
    if f"{folder}configure" not in has:
        return "configure"
    return "Makefile.in" if f"{folder}Makefile.am" in has and f"{folder}Makefile.in" not in has else ""


def _make(folder: str, has: set[str], enter: tuple[str, ...]) -> Way | None:
    file = next((f"{folder}{name}" for name in _MAKEFILES if f"{folder}{name}" in has), "")
    return Way(Make(variables=("PREFIX=/usr",), before=enter), file) if file else None


def needs(
    stanza: Stanza, packages: dict[str, Stanza], recipes: Sequence[Recipe], tools: Iterable[str]
) -> Needs:
    """The recipes for Debian's build dependencies; `tools` are the build root's packages."""
    groups = [group for group in source_index.build_needs(stanza) if not _HELPERS.match(group[0])]
    makers = source_index.makers((name for group in groups for name in group), packages)
    by_source = recipes_by_source(recipes)
    needed, missing, lacking = set(), [], []
    for group in groups:
        found = next((by_source[makers[one]] for one in group if makers.get(one) in by_source), None)
        if _is_library(group[0]) and found:
            needed.add(found)
        elif _is_library(group[0]) and makers.get(group[0]) != stanza["Package"]:
            missing.append(f"{group[0]} (of {makers.get(group[0], 'no source package')})")
        elif not _is_library(group[0]) and not set(group) & set(tools):
            lacking.append(group[0])
    return Needs(("glibc", *sorted(needed - {"glibc"})), tuple(missing), tuple(lacking))


def _is_library(name: str) -> bool:
    return name.endswith("-dev")


def recipes_by_source(recipes: Iterable[Recipe]) -> dict[str, str]:
    """Source package to the recipe that is built from it; the first if there are several.

    The kernel's source counts as headers only. A part of a project does not count as its libraries.
    """
    found: dict[str, str] = {}
    for one in recipes:
        if not isinstance(one.build, Kernel | MesonPart):
            found.setdefault(source_package(one.source.path), one.name)
    return found


def source_package(path: str) -> str:
    """The source package of a pool path."""
    return path.split("/")[-2]


def sentence(control: str, package: str) -> str:
    """A sentence for the docstring, from the synopsis of the main package in debian/control."""
    found: dict[str, str] = {}
    for block in re.split(r"\n[ \t]*\n", control):
        name = re.search(r"^Package:[ \t]*(\S+)", block, re.MULTILINE)
        text = re.search(r"^Description:[ \t]*(\S.*)$", block, re.MULTILINE)
        if name and text:
            found[name[1]] = text[1]
    names = [package, *(name for name in found if not re.search(r"-(dev|doc|dbg|udeb|data|common)$", name))]
    synopsis = next((found[name] for name in [*names, *found] if name in found), "")
    return _plain(synopsis) if synopsis else "say here what it is for."


def _plain(text: str) -> str:
    """One ASCII sentence that ends with a full stop and fits into a docstring's line."""
    letters = text.translate({0x2019: "'", 0x2013: "-", 0x2014: "-"}).encode("ascii", "ignore").decode()
    words = re.sub(r"\.(?=\s)", ";", re.sub(r'[\\"]', "", letters).strip().rstrip(".")).split()
    while len(" ".join(words)) > 80:
        words.pop()
    return f"{' '.join(words)}."


def home(stanza: Stanza, source: str) -> str:
    """The home page: Debian's Homepage, or the address in its copyright file; `https://` alone if none is known."""
    address = stanza.get("Homepage", "") or source
    plain = re.fullmatch(r"(?:https?|ftp|git)://([!#-\[\]-~]+)", address)
    return f"https://{plain[1]}" if plain else NO_HOME
