"""Staged trees, their manifests, and the keys under which they are kept."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.build import package, script, stage, store
from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="thing",
    version="1.0",
    license="MIT",
    home="https://example.org/",
    source=Source("pool/t/thing_1.0.orig.tar.xz", sha256="a" * 64),
    build=Configure(),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "PACKAGES", tmp_path / "dist" / "packages")


def make_tree(root: Path, text: str = "hello") -> Path:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_text(text)
    (root / "usr/bin/tool").chmod(0o775)
    (root / "usr/bin/alias").symlink_to("tool")
    return root


def test_a_manifest_tells_content_not_circumstance(tmp_path: Path) -> None:
    one, other = make_tree(tmp_path / "one"), make_tree(tmp_path / "other")
    os.utime(other / "usr/bin/tool", (1, 1))
    (other / "usr/bin/tool").chmod(0o755)
    assert stage.tree_digest(stage.scan(one)) == stage.tree_digest(stage.scan(other))
    assert [(e.path, e.kind, e.mode) for e in stage.scan(one)] == [
        ("usr", "folder", "755"),
        ("usr/bin", "folder", "755"),
        ("usr/bin/alias", "link", "777"),
        ("usr/bin/tool", "file", "755"),
    ]


@pytest.mark.parametrize("spoil", ["content", "mode", "link", "new"])
def test_every_difference_is_seen(tmp_path: Path, spoil: str) -> None:
    tree = make_tree(tmp_path / "tree")
    before = stage.scan(tree)
    if spoil == "content":
        (tree / "usr/bin/tool").write_text("hellO")
    elif spoil == "mode":
        (tree / "usr/bin/tool").chmod(0o644)
    elif spoil == "link":
        (tree / "usr/bin/alias").unlink()
        (tree / "usr/bin/alias").symlink_to("other")
    else:
        (tree / "usr/new").write_text("")
    assert stage.differences(before, stage.scan(tree))
    assert stage.tree_digest(before) != stage.tree_digest(stage.scan(tree))


def test_set_user_id_only_where_declared(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    (tree / "usr/bin/tool").chmod(0o4755)
    assert {e.path: e.mode for e in stage.scan(tree)}["usr/bin/tool"] == "755"
    assert {e.path: e.mode for e in stage.scan(tree, ("usr/bin/tool",))}["usr/bin/tool"] == "4755"


def test_a_manifest_reads_back_as_written(tmp_path: Path) -> None:
    entries = stage.scan(make_tree(tmp_path / "tree"))
    assert stage.load(stage.dump(entries)) == entries


def test_what_is_kept_is_found_under_its_key(tmp_path: Path) -> None:
    built = store.keep("thing", "1.0", "k" * 32, make_tree(tmp_path / "tree"))
    assert store.find("thing", "1.0", "k" * 32) == built
    assert store.find("thing", "1.0", "l" * 32) is None
    assert (built.tree / "usr/bin/tool").read_text() == "hello"


def test_a_package_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree/usr").mkdir(parents=True)
    with pytest.raises(UserError, match="package thing staged no file"):
        store.keep("thing", "1.0", "k" * 32, tmp_path / "tree")


def test_a_stamp_counts_only_while_the_store_has_the_tree(tmp_path: Path) -> None:
    built = store.keep("thing", "1.0", "k" * 32, make_tree(tmp_path / "tree"))
    assert not store.is_stamped("thing")
    store.write_stamp(built)
    assert store.is_stamped("thing") and store.read_stamp("thing") == built
    files.remove(built.folder)
    assert not store.is_stamped("thing")


def key_of(recipe: Recipe, root: str = "root", needs: tuple[store.Built, ...] = ()) -> str:
    return package.key(recipe, script.script(recipe), root, needs)


def test_what_makes_no_difference_to_the_bytes_keeps_the_key() -> None:
    assert key_of(RECIPE) == key_of(
        replace(RECIPE, home="https://other.example/", smoke=("thing",), license="X")
    )


@pytest.mark.parametrize(
    "changed",
    [
        replace(RECIPE, version="1.1"),
        replace(RECIPE, source=Source("pool/t/thing_1.0.orig.tar.xz", sha256="b" * 64)),
        replace(RECIPE, build=Configure(options=("--disable-nls",))),
        replace(RECIPE, view="tools"),
        replace(RECIPE, setuid=("usr/bin/su",)),
    ],
)
def test_what_goes_in_changes_the_key(changed: Recipe) -> None:
    assert key_of(changed) != key_of(RECIPE)


def test_the_key_follows_what_needs_give_not_how_they_were_made() -> None:
    need = store.Built("zlib", "1", "k", "digest")
    assert key_of(RECIPE, needs=(need,)) == key_of(RECIPE, needs=(replace(need, key="other"),))
    assert key_of(RECIPE, needs=(need,)) != key_of(RECIPE, needs=(replace(need, digest="other"),))
    assert key_of(RECIPE, root="another build root") != key_of(RECIPE)


def test_a_sysroot_refuses_two_owners_of_one_file(tmp_path: Path) -> None:
    one = store.keep("one", "1", "a" * 32, make_tree(tmp_path / "t1"))
    two = store.keep("two", "1", "b" * 32, make_tree(tmp_path / "t2", "other"))
    (tmp_path / "sysroot").mkdir()
    with pytest.raises(UserError, match=r"usr/bin/.* is staged by two packages: one and two"):
        package.make_sysroot(tmp_path / "sysroot", [one, two])


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.replaced(target) as new:
        new.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with pytest.raises(RuntimeError), files.folder_replaced(target) as new:
        (new / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    left, busy, other = (
        tmp_path / name for name in (f".folder.{ended}.x", f".folder.{os.getpid()}.x", ".folder.x")
    )
    for folder in (left, busy, other):
        folder.mkdir()
        (folder / "half").write_text("")
    with files.folder_replaced(tmp_path / "folder") as new:
        (new / "whole").write_text("")
    assert set(tmp_path.iterdir()) == {busy, other, tmp_path / "folder"}


def test_an_equal_write_keeps_the_time_stamp(tmp_path: Path) -> None:
    files.write(tmp_path / "file", "same")
    os.utime(tmp_path / "file", (1, 1))
    files.write(tmp_path / "file", "same")
    assert (tmp_path / "file").stat().st_mtime == 1
    files.write(tmp_path / "file", "other")
    assert (tmp_path / "file").stat().st_mtime != 1


def test_even_a_closed_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("")
    (tmp_path / "a/b").chmod(0o500)
    files.remove(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_failed_build_leaves_one_folder_and_a_killed_ones_is_removed() -> None:
    killed, busy = (paths.work() / f"thing-{digit * store.KEY_DIGITS}" for digit in "ab")
    for folder in (killed, busy):
        folder.mkdir(parents=True)
    building = store.being_built("thing", "c" * store.KEY_DIGITS)
    with files.locked(busy.with_suffix(".lock")), pytest.raises(RuntimeError), building as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert {path for path in paths.work().iterdir() if path.is_dir()} == {busy, store.failed("thing")}
    assert (store.failed("thing") / "half").exists()
    with store.being_built("thing", "d" * store.KEY_DIGITS):
        pass
    assert not store.failed("thing").exists()
