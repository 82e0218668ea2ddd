"""Indexes of the archive and the lock made from them."""

import hashlib
import lzma

import pytest

from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import control
from hostwright.source import closure, index
from hostwright.source.pins import parse_lock, render_lock

INDEX = """\
Package: gcc
Version: 14
Filename: pool/g/gcc.deb
Size: 10
SHA256: {a}
Depends: libc6 (>= 2.3), cpp | gpp, awk, optional:any
Pre-Depends: early

Package: libc6
Version: 2
Filename: pool/l/libc6.deb
Size: 11
SHA256: {b}

Package: cpp
Version: 1
Filename: pool/c/cpp.deb
Size: 12
SHA256: {a}
Depends: gcc,
 libc6

Package: mawk
Version: 1
Filename: pool/m/mawk.deb
Size: 13
SHA256: {a}
Provides: awk (= 1)

Package: early
Version: 1
Filename: pool/e/early.deb
Size: 14
SHA256: {a}

Package: optional
Version: 1
Filename: pool/o/optional.deb
Size: 15
SHA256: {a}
""".format(a="a" * 64, b="b" * 64)


def stanzas() -> list[control.Stanza]:
    return list(control.parse_stanzas(INDEX))


def test_the_lock_is_the_closure_of_the_seeds() -> None:
    pins = closure.lock(stanzas(), ["gcc"], frozenset())
    assert [pin.name for pin in pins] == ["cpp", "early", "gcc", "libc6", "mawk", "optional"]
    assert pins[2] == Pin("pool/g/gcc.deb", "a" * 64, size=10, name="gcc", version="14")


def test_an_excluded_package_stays_out() -> None:
    names = [pin.name for pin in closure.lock(stanzas(), ["gcc"], frozenset({"optional", "early"}))]
    assert names == ["cpp", "gcc", "libc6", "mawk"]


def test_an_unknown_seed_is_named() -> None:
    with pytest.raises(UserError, match="no package gnat"):
        closure.lock(stanzas(), ["gnat"], frozenset())
    with pytest.raises(UserError, match="guest/parts: the archive"):
        closure.lock(stanzas(), ["gnat"], frozenset(), "guest/parts")


def test_a_seed_may_name_what_a_package_provides() -> None:
    names = [pin.name for pin in closure.lock(stanzas(), ["awk", "mawk"], frozenset())]
    assert names == ["mawk"]


def test_a_seed_does_for_what_it_provides() -> None:
    text = INDEX + f"\nPackage: gawk\nVersion: 1\nFilename: x\nSize: 1\nSHA256: {'a' * 64}\nProvides: awk\n"
    known = list(control.parse_stanzas(text))
    assert "mawk" not in [pin.name for pin in closure.lock(known, ["gawk", "gcc"], frozenset())]
    assert "mawk" not in [pin.name for pin in closure.lock(known, ["gcc", "gawk"], frozenset())]


def test_what_a_chosen_package_provides_is_not_fetched_under_its_own_name() -> None:
    text = INDEX.replace("Provides: awk (= 1)", "Provides: awk (= 1), early")
    found = closure.lock(control.parse_stanzas(text), ["mawk", "gcc"], frozenset())
    assert "early" not in [pin.name for pin in found]
    assert "early" in [pin.name for pin in closure.lock(control.parse_stanzas(text), ["gcc"], frozenset())]


def test_the_lock_reads_back_as_written() -> None:
    pins = closure.lock(stanzas(), ["gcc"], frozenset())
    assert parse_lock(render_lock(pins)) == pins


@pytest.mark.parametrize(
    "line", ["gcc 14 pool/x 10", "gcc 14 pool/x ten " + "a" * 64, "gcc 14 pool/x 10 " + "g" * 64]
)
def test_a_broken_pin_names_its_line(line: str) -> None:
    with pytest.raises(UserError, match=r"buildroot/lock:2: not a pin"):
        parse_lock(f"# head\n{line}\n")
    with pytest.raises(UserError, match=r"guest/lock:1: not a pin"):
        parse_lock(line, "guest/lock")


def test_seeds_know_comments_and_exclusions() -> None:
    assert closure.parse_seeds("# why\ngcc # here\n-dpkg\n\n") == (["gcc"], frozenset({"dpkg"}))


def release_for(data: bytes) -> str:
    return f"Origin: x\nSHA256:\n {hashlib.sha256(data).hexdigest()} {len(data)} main/P.xz\n"


def test_an_index_is_opened_only_if_its_digest_is_the_signed_one() -> None:
    data = lzma.compress(INDEX.encode())
    assert len(index.read_index(data, release_for(data), "main/P.xz")) == 6
    with pytest.raises(UserError, match=r"main/P\.xz: its sha256 is not the one"):
        index.read_index(data + b"x", release_for(data), "main/P.xz")
    with pytest.raises(UserError, match="does not list other"):
        index.read_index(data, release_for(data), "other")


def test_source_files_by_pool_path() -> None:
    text = "Package: zlib\nDirectory: pool/z\nChecksums-Sha256:\n " + "c" * 64 + " 5 zlib.orig.tar.gz\n"
    assert index.source_files(control.parse_stanzas(text)) == {"pool/z/zlib.orig.tar.gz": "c" * 64}
