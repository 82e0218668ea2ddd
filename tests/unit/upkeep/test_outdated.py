"""`./doit outdated`: pins compared with an index of sources, without a network."""

import pytest

from hostwright.formats import control
from hostwright.recipe import Source
from hostwright.upkeep import outdated

A, B = "a" * 64, "b" * 64
INDEX = f"""\
Package: mini
Version: 1:1.10-2
Directory: pool/main/m/mini
Checksums-Sha256:
 {A} 1 mini_1.10.orig.tar.gz
 {B} 1 mini_1.10.orig-data.tar.gz

Package: mini
Version: 1:1.2-1
Extra-Source-Only: yes
Directory: pool/main/m/mini
Checksums-Sha256:
 {A} 1 mini_1.2.orig.tar.gz

Package: zlib
Version: 1:1.3.dfsg+really1.3.1-1
Directory: pool/main/z/zlib
Checksums-Sha256:
 {A} 1 zlib_1.3.dfsg+really1.3.1.orig.tar.gz
"""
ASKED: list[str] = []


def said(*held: str, **pins: list[tuple[str, str]]) -> list[str]:
    """The lines for recipes whose pins are tarballs and digests; the archive also holds the tarballs `held`."""
    ASKED.clear()

    def is_held(path: str) -> bool:
        ASKED.append(path)
        return path.rpartition("/")[2] in held

    sources = {recipe: [source(*one) for one in files] for recipe, files in pins.items()}
    stanzas = list(control.parse_stanzas(INDEX))
    return outdated.render(list(outdated.states(sources, stanzas, is_held)))


def source(file: str, sha256: str) -> Source:
    package = file.partition("_")[0]
    return Source(f"pool/main/{package[0]}/{package}/{file}", sha256)


def test_nothing_is_older() -> None:
    lines = said(
        mini=[("mini_1.10.orig.tar.gz", A), ("mini_1.10.orig-data.tar.gz", B)],
        zlib=[("zlib_1.3.dfsg+really1.3.1.orig.tar.gz", A)],
    )
    assert lines == ["none of 3 pins is older than trixie's newest"]
    assert ASKED == []


def test_an_older_pin_that_is_still_listed() -> None:
    lines = said(mini=[("mini_1.2.orig.tar.gz", A)])
    assert lines == [
        "mini  1.2  -> 1.10",
        "older than trixie's newest, or gone from the archive: 1 of 1 pins",
    ]


def test_columns_stand_below_each_other() -> None:
    lines = said(other=[("mini_1.2.orig.tar.gz", A)], z=[("zlib_1.3.0.1.orig.tar.gz", A)])
    assert lines[:2] == [
        "other (mini)  1.2      -> 1.10",
        "z (zlib)      1.3.0.1  -> 1.3.dfsg+really1.3.1  the pin has left the archive",
    ]


def test_an_older_pin_that_has_left() -> None:
    assert said(mini=[("mini_1.9.orig.tar.gz", A)])[0] == "mini  1.9  -> 1.10  the pin has left the archive"
    assert ASKED == ["pool/main/m/mini/mini_1.9.orig.tar.gz"]


def test_an_older_pin_of_another_suite() -> None:
    assert said("mini_1.9.orig.tar.gz", mini=[("mini_1.9.orig.tar.gz", A)])[0] == "mini  1.9  -> 1.10"


def test_a_newer_pin_of_another_suite_is_no_fault() -> None:
    lines = said("mini_2.0.orig.tar.gz", "solo_1.orig.tar.xz", mini=[("mini_2.0.orig.tar.gz", A)],
                 solo=[("solo_1.orig.tar.xz", A)])  # fmt: skip
    assert lines == [
        "none of 2 pins is older than trixie's newest",
        "of another suite, and newer than trixie's: mini 2.0, solo 1",
    ]


@pytest.mark.parametrize(
    ("file", "newest"), [("mini_2.0.orig.tar.gz", "1.10"), ("solo_1.orig.tar.xz", "none")]
)
def test_a_newer_pin_that_no_archive_holds(file: str, newest: str) -> None:
    lines = said(x=[(file, A)])
    assert lines[0].endswith(f"-> {newest}  the pin has left the archive")
    assert len(lines) == 2


def test_other_bytes_under_the_same_name() -> None:
    assert said(mini=[("mini_1.10.orig.tar.gz", B)])[0].endswith("the archive has another sha256 for it")


def test_a_tarball_that_is_used_twice_is_told_once() -> None:
    assert len(said(mini=[("mini_1.2.orig.tar.gz", A)] * 2)) == 2


def test_the_version_order_is_debians() -> None:
    """1.9 is older than 1.10, and a tilde is older than the end."""
    lines = said(a=[("mini_1.10~rc1.orig.tar.gz", A)], b=[("mini_1.10+x.orig.tar.gz", A)])
    assert [line.split()[0] for line in lines[:-1]] == ["a", "b"]
    assert "b (mini)" in lines[1] and "left" in lines[1]
    assert said("mini_1.10+x.orig.tar.gz", b=[("mini_1.10+x.orig.tar.gz", A)])[0].startswith("none")
