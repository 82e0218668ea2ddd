"""Source packages of an index: the newest version, its parts, its other names."""

import pytest

from hostwright.base.errors import UserError
from hostwright.formats import control
from hostwright.upkeep import source_index

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
INDEX = f"""\
Package: tree-compiler
Binary: tree-compiler, libtree1,
 libtree-dev
Version: 1.7-2
Directory: pool/main/t/tree-compiler
Homepage: https://example.org/utils/tc.git
Build-Depends: debhelper-compat (= 13), libyaml-dev (>= 0.2) | libyaml2-dev, python3:any, flex <!nocheck>,
 texlive <!nodoc>, valgrind [amd64 arm64], libwin-dev [hurd-any], libmac-dev [!amd64], libbsd-dev [!linux-any],
 crossy <cross>, kept <!cross>, both [linux-any] <!stage1> <!nocheck>,
Build-Depends-Arch: libarch-dev
Build-Depends-Indep: doxygen
Checksums-Sha256:
 {A} 100 tree-compiler_1.7-2.dsc
 {B} 200 tree-compiler_1.7.orig.tar.xz
 {C} 300 tree-compiler_1.7.orig-extra-bits.tar.gz
 {D} 400 tree-compiler_1.7-2.debian.tar.xz
 {D} 400 tree-compiler_1.7.orig.tar.xz.asc

Package: tree-compiler
Version: 1.10-1
Extra-Source-Only: yes

Package: tree-compiler
Version: 1.6-9

Package: native
Binary: native
Version: 3
Directory: pool/main/n/native
Checksums-Sha256:
 {A} 100 native_3.dsc
 {B} 200 native_3.tar.xz
"""


@pytest.fixture
def packages() -> dict[str, control.Stanza]:
    return source_index.newest(control.parse_stanzas(INDEX))


def test_the_newest_that_is_not_kept_for_a_binary(packages: dict[str, control.Stanza]) -> None:
    assert {name: one["Version"] for name, one in packages.items()} == {
        "tree-compiler": "1.7-2",
        "native": "3",
    }


def test_the_order_of_the_index_does_not_matter(packages: dict[str, control.Stanza]) -> None:
    assert source_index.newest(reversed(list(control.parse_stanzas(INDEX)))) == packages


@pytest.mark.parametrize("name", ["libtree-dev", "tc", "tree-complier"])
def test_a_near_name_is_offered(packages: dict[str, control.Stanza], name: str) -> None:
    with pytest.raises(UserError, match=f"no source package {name}") as caught:
        source_index.find(name, packages)
    assert caught.value.hint == "did you mean tree-compiler?"


def test_nothing_near_is_no_guess(packages: dict[str, control.Stanza]) -> None:
    with pytest.raises(UserError) as caught:
        source_index.find("zzz", packages)
    assert "did you mean" not in caught.value.hint


def test_a_package_is_found(packages: dict[str, control.Stanza]) -> None:
    assert source_index.find("native", packages)["Version"] == "3"


def test_who_builds_a_library(packages: dict[str, control.Stanza]) -> None:
    assert source_index.makers(["libtree-dev", "libtree1", "unknown"], packages) == {
        "libtree-dev": "tree-compiler",
        "libtree1": "tree-compiler",
    }


def test_tarballs_by_their_folder(packages: dict[str, control.Stanza]) -> None:
    found = source_index.tarballs(packages["tree-compiler"])
    assert [(into, one.path, one.sha256, one.size) for into, one in found.items()] == [
        ("", "pool/main/t/tree-compiler/tree-compiler_1.7.orig.tar.xz", B, 200),
        ("extra-bits", "pool/main/t/tree-compiler/tree-compiler_1.7.orig-extra-bits.tar.gz", C, 300),
    ]


def test_a_package_of_debians_own_has_no_upstream(packages: dict[str, control.Stanza]) -> None:
    with pytest.raises(UserError, match=r"native 3 has no native_3\.orig\.tar") as caught:
        source_index.tarballs(packages["native"])
    assert "docs/recipes.md" in caught.value.hint
    assert source_index.packaging(packages["native"]) is None


def test_debians_part(packages: dict[str, control.Stanza]) -> None:
    found = source_index.packaging(packages["tree-compiler"])
    assert found is not None
    assert (found.path.rpartition("/")[2], found.sha256) == ("tree-compiler_1.7-2.debian.tar.xz", D)


def test_needs_of_the_build_here(packages: dict[str, control.Stanza]) -> None:
    """Needs of tests, documents and other machines are left out."""
    assert source_index.build_needs(packages["tree-compiler"]) == [
        ["debhelper-compat"],
        ["libyaml-dev", "libyaml2-dev"],
        ["python3"],
        ["valgrind"],
        ["kept"],
        ["both"],
        ["libarch-dev"],
    ]
    assert source_index.build_needs(packages["native"]) == []


def test_what_was_built_from_a_source() -> None:
    text = "Package: a\nVersion: 1\n\nPackage: liba\nSource: a (2)\n\nPackage: b\nSource: ab\n"
    assert [one["Package"] for one in source_index.built("a", control.parse_stanzas(text))] == ["a", "liba"]
