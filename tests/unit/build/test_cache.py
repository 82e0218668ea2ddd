"""The cache is not trusted by its names: a byte that flips is noticed before it is used, and mended."""

import hashlib
import http.server
import json
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import files, intact, paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.build import package, recipes, store
from hostwright.recipe import Files, Recipe
from hostwright.sandbox.workshop import Workshop, open_at
from hostwright.source import fetch
from hostwright.upkeep import audit

DICE = random.Random(12)
CONTENT = DICE.randbytes(50_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PIN = Pin("pool/thing.tar.xz", SHA256, size=len(CONTENT), name="thing")
RECIPE = Recipe("thing", "1.0", "MIT", "https://example.org/", PIN, Files(()), view="tools")
TREE = {f"usr/lib/{number}": DICE.randbytes(DICE.randrange(1, 9000)) for number in range(6)}


def flip(file: Path, at: int) -> None:
    """Flip one bit, as a disk might: neither size nor times say so."""
    content, status = bytearray(file.read_bytes()), file.stat()
    content[at % len(content)] ^= 1 << at % 8
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(status.st_mode & 0o7777)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A mirror with the source, and a build that stages TREE; each build is noted in the log."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, format: str, *args: object) -> None:
            return

    def run(recipe: Recipe, folder: Path, needs: list[store.Built], shop: Workshop) -> None:
        (folder / "sources").mkdir()
        (folder / "patches").mkdir()
        package.place_inputs(recipe, folder)
        assert files.digest(folder / "sources" / "source-0") == SHA256
        for path, content in TREE.items():
            (folder / "out" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "out" / path).write_bytes(content)
        with shop.log.open("a") as log:
            log.write("built\n")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "PACKAGES", tmp_path / "packages")
    monkeypatch.setattr(recipes, "load_recipe", lambda name: RECIPE)
    monkeypatch.setattr(package, "_run_script", run)
    monkeypatch.setattr(paths, "log_file", lambda task: tmp_path / "log")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("HOSTWRIGHT_MIRROR", f"http://127.0.0.1:{running.server_port}")
        yield open_at(tmp_path / "log")
        running.shutdown()


def builds(shop: Workshop) -> int:
    return shop.log.read_text().count("built") if shop.log.exists() else 0


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_of_a_download_is_fetched_again_before_it_is_built(shop: Workshop, seed: int) -> None:
    fetch.have(PIN)
    flip(fetch.local(SHA256), random.Random(seed).randrange(1 << 20))
    assert fetch.is_damaged(SHA256)
    package.build_package("thing", shop)
    assert files.digest(fetch.local(SHA256)) == SHA256
    assert intact.set_aside(fetch.local("none")).name == "none.damaged"
    assert fetch.local(SHA256).with_name(f"{SHA256}.damaged").exists()


@pytest.mark.parametrize("seed", range(24))
def test_a_flipped_bit_in_the_store_is_noticed_and_the_package_built_again(shop: Workshop, seed: int) -> None:
    dice = random.Random(seed)
    built = package.build_package("thing", shop)
    assert store.is_whole(built.folder) and builds(shop) == 1
    victims = sorted(one for one in built.folder.rglob("*") if one.is_file() and one.name != "checked.json")
    flip(dice.choice(victims), dice.randrange(1 << 20))
    assert audit.find_damaged(["thing"], []) == [built.folder]
    with pytest.raises(UserError, match="package thing is damaged in the cache"):
        store.read_whole("thing")
    assert package.ready("thing", shop) == built
    assert builds(shop) == 2
    assert {path: (built.tree / path).read_bytes() for path in TREE} == TREE
    assert audit.find_damaged(["thing"], []) == []
    assert intact.is_intact(built.tree / "usr/lib/0", hashlib.sha256(TREE["usr/lib/0"]).hexdigest())


@pytest.mark.parametrize(
    "text",
    ["", "[", "[1]", '["x"]', "{}", "null", '[{"path": 1}]', '[{"path":"a","kind":"file","mode":"z"}]'],
)
def test_a_manifest_that_is_cut_or_wrong_is_damage_and_no_defect(shop: Workshop, text: str) -> None:
    built = package.build_package("thing", shop)
    (built.folder / "manifest.json").write_text(text)
    assert store.find("thing", "1.0", built.key) is None
    assert not built.folder.exists()
    assert package.build_package("thing", shop) == built


@pytest.mark.parametrize("spoil", ["gone", "more", "mode", "link", "no-manifest", "no-tree"])
def test_a_tree_that_differs_otherwise_is_damaged(shop: Workshop, spoil: str) -> None:
    built = package.build_package("thing", shop)
    file = built.tree / "usr/lib/0"
    if spoil in ("gone", "link"):
        file.unlink()
    if spoil == "link":
        file.symlink_to("1")
    elif spoil == "more":
        (built.tree / "usr/lib/more").write_text("x")
    elif spoil == "mode":
        file.chmod(0o755)
    elif spoil == "no-manifest":
        (built.folder / "manifest.json").unlink()
    elif spoil == "no-tree":
        shutil.rmtree(built.tree)
    assert not store.is_whole(built.folder)
    assert package.ready("thing", shop) == built


def test_what_did_not_change_is_not_read_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    built = package.build_package("thing", shop)
    assert store.is_whole(built.folder) and intact.is_intact(fetch.local(SHA256), SHA256)
    real = files.digest

    def digest(file: Path) -> str:
        assert file.name == "manifest.json", f"{file} is read"
        return real(file)

    monkeypatch.setattr(files, "digest", digest)
    monkeypatch.setattr("hostwright.build.stage.digest", digest)
    assert store.is_whole(built.folder) and intact.is_intact(fetch.local(SHA256), SHA256)
    with pytest.raises(AssertionError, match="is read"):
        store.is_whole(built.folder, again=True)


def test_a_record_that_is_damaged_itself_only_costs_time(shop: Workshop) -> None:
    built = package.build_package("thing", shop)
    for text in ("", "{", "[]", json.dumps(["wrong"])):
        (built.folder / "checked.json").write_text(text)
        intact.record(fetch.local(SHA256)).write_text(text)
        assert store.is_whole(built.folder) and intact.is_intact(fetch.local(SHA256), SHA256)


def test_verify_names_the_damaged_and_sets_them_aside(shop: Workshop) -> None:
    built = package.build_package("thing", shop)
    flip(built.tree / "usr/lib/1", 3)
    flip(fetch.local(SHA256), 4)
    other = replace(PIN, sha256="0" * 64)
    found = audit.find_damaged(["thing"], [PIN, PIN, other])
    assert found == [built.folder, fetch.local(SHA256)]
    with pytest.raises(UserError, match="damaged in the cache: ") as caught:
        audit.require_none(found)
    assert "repair=yes" in caught.value.hint
    assert len(audit.repair(found)) == 2
    assert not store.is_stamped("thing") and not fetch.is_here(SHA256), "the next build makes them again"
    assert audit.require_none(audit.find_damaged(["thing"], [PIN])) == []


def test_the_cache_is_closed_to_others(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    for folder in (old, tmp_path / "new" / "cache"):
        files.make_private(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
