"""The guesses from a source package: its kind of build, its needs, its sentence and its home page."""

import pytest

from hostwright.formats import control as archive
from hostwright.formats.tarball import Contents
from hostwright.recipe import Build, Configure, Kernel, Make, Meson, MesonPart, Recipe, Source
from hostwright.upkeep import guesses, source_index


def contents(*files: str, **texts: str) -> Contents:
    return Contents(frozenset(files), {name.replace("_", "."): text for name, text in texts.items()})


@pytest.mark.parametrize(
    ("files", "build", "why"),
    [
        (["configure", "configure.ac", "Makefile", "meson.build"], Configure(), "configure"),
        (["configure", "Makefile"], Configure(), "configure, which is not autoconf's"),
        (["configure.ac"], Configure(before=("autoreconf -i",)), "configure.ac without configure"),
        (["configure.in", "Makefile"], Configure(before=("autoreconf -i",)), "configure.in without"),
        (
            ["configure", "configure.ac", "Makefile.am"],
            Configure(before=("autoreconf -i",)),
            "configure.ac without Makefile.in",
        ),
        (["configure", "configure.ac", "Makefile.am", "Makefile.in"], Configure(), "configure"),
        (["meson.build", "Makefile", "CMakeLists.txt"], Meson(), "meson.build"),
        (["Makefile", "src/meson.build"], Make(variables=("PREFIX=/usr",)), "Makefile"),
        (["GNUmakefile"], Make(variables=("PREFIX=/usr",)), "GNUmakefile"),
        (
            ["README", "thing/configure.ac", "tests/Makefile"],
            Configure(before=("cd thing", "autoreconf -i")),
            "thing/configure.ac",
        ),
        (["a b/meson.build", "README"], Meson(before=("cd 'a b'",)), "a b/meson.build"),
        (["src/Makefile", "doc/Makefile"], Make(("PREFIX=/usr",), before=("cd src",)), "src/Makefile"),
        (
            ["CMakeLists.txt", "setup.py", "tests/Makefile", "x/y"],
            guesses.NO_BUILD,
            "CMakeLists.txt, setup.py",
        ),
        (["README", "a/b", "c/d"], guesses.NO_BUILD, "no build system"),
    ],
)
def test_the_kind_of_build(files: list[str], build: Build, why: str) -> None:
    found = guesses.way("thing", contents(*files), is_meson=False)
    assert found.build == build
    assert found.why.startswith(why)
    assert found.is_known == (build != guesses.NO_BUILD)


def test_of_two_ways_debians_is_taken() -> None:
    both = contents("configure", "configure.ac", "meson.build")
    assert guesses.way("thing", both, is_meson=True).build == Meson()
    wrapped = contents("configure", "meson.build")
    assert guesses.way("thing", wrapped, is_meson=True).build == Configure()
    assert guesses.way("thing", contents("configure.ac"), is_meson=True).build == Configure(
        before=("autoreconf -i",)
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("  --enable-static[=PKGS]  build", ("--disable-static",)),
        ("  --disable-nls  do not", ("--disable-nls",)),
        ("--enable-static[=PKGS]\n--disable-nls\n", ("--disable-static", "--disable-nls")),
        ("--enable-statics --disable-nlsx", ()),
    ],
)
def test_options_that_the_script_knows(text: str, options: tuple[str, ...]) -> None:
    found = contents("configure", "configure.ac", configure=text)
    assert guesses.way("thing", found, is_meson=False).build == Configure(options=options)


def test_options_that_the_script_will_know() -> None:
    found = contents("configure.ac", configure_ac="LT_INIT([dlopen])\nAM_GNU_GETTEXT([external])\n")
    build = guesses.way("thing", found, is_meson=False).build
    assert isinstance(build, Configure)
    assert build.options == ("--disable-static", "--disable-nls")


def test_a_tarball_without_a_folder_cannot_be_unpacked_as_others_are() -> None:
    found = guesses.way("thing", Contents(frozenset({"Makefile"}), {}, is_flat=True), is_meson=False)
    assert (found.build, found.is_known) == (guesses.NO_BUILD, False)


@pytest.mark.parametrize(
    ("path", "is_wanted"),
    [("configure", True), ("a/configure.ac", True), ("a/b/configure", False), ("configure.sub", False)],
)
def test_what_is_read_of_a_tarball(path: str, is_wanted: bool) -> None:
    assert guesses.wants(path) == is_wanted


INDEX = """\
Package: thing
Binary: thing, libthing-dev
Version: 1
Build-Depends: debhelper-compat (= 13), libssl-dev | libtls-dev, zlib1g-dev, linux-libc-dev, libthing-dev,
 libnone-dev, libz-dev | zlib1g-dev, libpam0g-dev, meson, swig, pkgconf, flex | bison-old

Package: openssl
Binary: libssl-dev, openssl
Version: 1

Package: zlib
Binary: zlib1g-dev
Version: 1

Package: pam
Binary: libpam0g-dev
Version: 1

Package: linux
Binary: linux-libc-dev
Version: 1
"""


def recipe(name: str, package: str, build: Build) -> Recipe:
    source = Source(f"pool/main/x/{package}/{package}_1.orig.tar.xz", "0" * 64)
    return Recipe(name, "1", "MIT", "https://a/", source, build)


RECIPES = [
    recipe("linux", "linux", Kernel()),
    recipe("linux-headers", "linux", Make()),
    recipe("openssl", "openssl", Make()),
    recipe("pam-part", "pam", MesonPart()),
    recipe("z", "zlib", Make()),
    recipe("z-again", "zlib", Make()),
]


def test_needs_are_recipes_and_the_rest_is_told() -> None:
    packages = source_index.newest(archive.parse_stanzas(INDEX))
    found = guesses.needs(packages["thing"], packages, RECIPES, ["flex", "meson"])
    assert found.recipes == ("glibc", "linux-headers", "openssl", "z")
    assert found.missing == ("libnone-dev (of no source package)", "libpam0g-dev (of pam)")
    assert found.tools == ("swig",)


CONTROL = """\
Source: thing
Build-Depends: x

Package: libthing-dev
Description: thing - headers

Package: thing-tools
Architecture: any
Description: do things, e.g. this.
 And a longer text.
"""


@pytest.mark.parametrize(
    ("control", "package", "sentence"),
    [
        (CONTROL, "thing", "do things, e.g; this."),
        (CONTROL, "libthing-dev", "thing - headers."),
        (CONTROL.partition("Package: thing-tools")[0], "thing", "thing - headers."),
        ("", "thing", "say here what it is for."),
        ('Package: a\nDescription: the "best"\\n \u2019 \u201cx\u201d \u00e9', "a", "the bestn ' x."),
        (f"Package: a\nDescription: {'long ' * 40}", "a", f"{'long ' * 15}long."),
    ],
)
def test_the_sentence(control: str, package: str, sentence: str) -> None:
    assert guesses.sentence(control, package) == sentence


@pytest.mark.parametrize(
    ("homepage", "source", "home"),
    [
        ("https://a.example/x", "https://b", "https://a.example/x"),
        ("http://a.example/x", "", "https://a.example/x"),
        ("", "ftp://b.example", "https://b.example"),
        ("", "", "https://"),
        ('https://a"+x', "", "https://"),
    ],
)
def test_the_home_page(homepage: str, source: str, home: str) -> None:
    assert guesses.home({"Homepage": homepage} if homepage else {}, source) == home
