"""The newc format, read and written without GNU cpio."""

import gzip
import lzma
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright.base.errors import UserError
from hostwright.formats import cpio
from hostwright.formats.cpio import Entry

FILE = stat.S_IFREG | 0o644
LINK = stat.S_IFLNK | 0o777
NODE = stat.S_IFCHR | 0o600

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..", cpio.TRAILER)
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
NUMBERS = st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
ENTRIES = st.one_of(
    st.builds(Entry, PATHS, st.sampled_from([FILE, FILE | 0o4111]), st.binary(max_size=70)),
    st.builds(Entry, PATHS, st.just(LINK), st.binary(min_size=1, max_size=20)),
    st.builds(Entry, PATHS, st.just(NODE), st.just(b""), NUMBERS),
)


def is_tree(entries: list[Entry]) -> bool:
    taken = [entry.path for entry in entries]
    inside = {parent for path in taken for parent in cpio.parents(path)}
    return len(set(taken)) == len(taken) and not inside & set(taken)


TREES = st.lists(ENTRIES, max_size=8).filter(is_tree)


@given(TREES)
def test_what_is_written_is_read_again(entries: list[Entry]) -> None:
    found = cpio.read(cpio.write(entries))
    assert [entry for entry in found if not entry.is_folder] == sorted(entries, key=lambda entry: entry.path)
    assert cpio.write(found) == cpio.write(entries)


@given(TREES, st.randoms(use_true_random=False))
def test_the_order_of_the_entries_makes_no_difference(entries: list[Entry], random: object) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cpio.write(shuffled) == cpio.write(entries)


@given(TREES, st.data())
def test_a_cut_archive_is_refused(entries: list[Entry], data: st.DataObject) -> None:
    archive = cpio.write(entries)
    with pytest.raises(UserError, match="damaged at byte"):
        cpio.read(archive[: data.draw(st.integers(6, len(archive) - 4))])


def test_parents_come_first_and_are_made() -> None:
    found = cpio.read(cpio.write([Entry("a/b/c", FILE, b"x"), Entry("a-b", FILE), Entry("a", 0o40700)]))
    assert found == [
        Entry("a", 0o40700),
        Entry("a-b", FILE),
        Entry("a/b", cpio.FOLDER_MODE),
        Entry("a/b/c", FILE, b"x"),
    ]


def test_the_bytes_are_those_of_the_format() -> None:
    fields = [1, 0o100644, 0, 0, 1, 1767225600, 2, 0, 0, 0, 0, 2, 0]
    head = b"070701" + b"".join(b"%08x" % number for number in fields) + b"f\0"
    assert cpio.write([Entry("f", FILE, b"hi")]).startswith(head + b"hi\0\0" + b"070701")


def newc(name: bytes, content: bytes = b"", magic: bytes = b"070701", **fields: int) -> bytes:
    names = ["ino", "mode", "uid", "gid", "nlink", "mtime", "size", "", "", "", "", "name_size", "sum"]
    values = {"mode": FILE, "nlink": 1, "size": len(content), "name_size": len(name) + 1, **fields}
    head = magic + b"".join(b"%08X" % values.get(key, 0) for key in names) + name + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


END = newc(b"TRAILER!!!", mode=0)


@pytest.mark.parametrize("last_has_it", [True, False])
def test_all_names_of_a_hard_linked_file_have_its_content(last_has_it: bool) -> None:
    first, last = (b"", b"data") if last_has_it else (b"data", b"")
    archive = newc(b"./one", first, ino=7, nlink=2) + newc(b"two", last, ino=7, nlink=2)
    other = newc(b"three", b"", ino=7, nlink=2)
    found = cpio.read(newc(b".", mode=0o40755) + archive + END + other + END)
    assert found == [Entry("one", FILE, b"data"), Entry("two", FILE, b"data"), Entry("three", FILE, b"")]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bytes])
def test_archives_follow_one_another_and_the_later_one_wins(compress: type[bytes]) -> None:
    first = cpio.write([Entry("a", FILE, b"old"), Entry("b", FILE, b"kept")])
    second = cpio.write([Entry("a", LINK, b"b")])
    found = cpio.read(compress(first) + bytes(9) + compress(second))
    assert found == [Entry("a", LINK, b"b"), Entry("b", FILE, b"kept")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x28\xb5\x2f\xfd\x00\x00", "begins with 28 b5 2f fd"),
        (newc(b"a") + b"garbage" * 20, "damaged at byte 112: no header"),
        (newc(b"a").replace(b"070701" + b"0" * 8, b"070701" + b"x" * 8) + END, "not a hexadecimal number"),
        (newc(b"a", b"hi", b"070702", sum=5) + END, "sum of the content is wrong"),
        (gzip.compress(END, mtime=0)[:-5], "ends too early"),
        (gzip.compress(END, mtime=0)[:-5] + b"x" * 5, "compressed part is damaged"),
        (newc(b"a"), "damaged at byte 112: it ends"),
    ],
)
def test_damage_is_said(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cpio.read(data)


def test_a_right_sum_is_accepted() -> None:
    archive = newc(b"a", b"hi", b"070702", sum=ord("h") + ord("i")) + END
    assert cpio.read(archive) == [Entry("a", FILE, b"hi")]


@pytest.mark.parametrize("paths", [["a", "a"], ["../a"], ["/a"], ["."], [""], ["a", "a/b"]])
def test_what_is_no_tree_is_not_written(paths: list[str]) -> None:
    with pytest.raises(ValueError, match=r"twice|below"):
        cpio.write([Entry(path, FILE) for path in paths])


def test_nothing_is_an_empty_archive() -> None:
    assert cpio.read(b"") == cpio.read(cpio.write([])) == []
