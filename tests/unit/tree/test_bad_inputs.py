"""Hundreds of bad inputs, made from the grammars: each is refused with file, place and remedy, never by a traceback."""

import functools
import importlib
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.build import kernel, recipes
from hostwright.machine import grammar
from hostwright.machine.load import SCHEMA, load
from hostwright.pci import capture
from hostwright.source import pins
from hostwright.tasks import variables
from tests.fakes import bad_inputs

SEED = 12
# At least so many refusals of each kind; 800 in all.
LEAST = {
    "host.toml": 500,
    "network": 60,
    "recipe": 280,
    "fragment": 120,
    "lock": 120,
    "capture": 40,
    "variable": 120,
}
# Keys whose example needs a file, or another key beside it.
ON_A_BRIDGE = ("vlan", "gateway", "ipv6_gateway", "dhcp_range")
DEPENDENT = {
    *("capture", "kernel.microcode", "guest.bridge", "guest.storage"),
    *("guest.devices", "guest.install.late_commands"),
    *(f"{table}.{key}" for table in ("network", "bridge") for key in (*ON_A_BRIDGE, "ipv6")),
    "network.nat",
}
CAPTURE = paths.GOLDEN / "groups" / "t1-to-t10.tar.xz"


def refused(act: Callable[[], object], what: str, place: str = "") -> int:
    """1 if `act` ends in a UserError that names `place` and a remedy in printable text, 0 if it ends well."""
    try:
        act()
    except UserError as error:
        text = str(error)
        assert error.hint, f"{what}: no remedy: {text}"
        assert place in text, f"{what}: {place} is not named: {text}"
        assert text.replace("\n", "").isprintable(), f"{what}: {text!r}"
        return 1
    return 0


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty tree, in which files are written and read."""
    here = paths.TREE
    for name in ("TREE", "RECIPES", "KCONFIG", "LOCK"):
        monkeypatch.setattr(paths, name, tmp_path / getattr(paths, name).relative_to(here))
    for name in ("recipes", "kconfig", "buildroot"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    recipes.load_recipe.cache_clear()
    recipes.recipe_names.cache_clear()


def test_every_bad_machine_file_is_refused(tmp_path: Path) -> None:
    file, count = tmp_path / "host.toml", 0
    for what, text, place in bad_inputs.bad_pages(random.Random(SEED)):
        file.write_text(text)
        assert refused(lambda: load(file), what, place), f"{what} is accepted:\n{text}"
        assert refused(lambda: load(file), what, str(file))
        count += 1
    assert count >= LEAST["host.toml"]


def test_every_bad_network_is_refused(tmp_path: Path) -> None:
    """Each key of the good file is good by itself: what is refused is what they say together."""
    file, count = tmp_path / "host.toml", 0
    file.write_text(bad_inputs.NETWORK)
    assert not refused(lambda: load(file), "a good network")
    for what, text, place in bad_inputs.bad_networks(random.Random(SEED), 6):
        file.write_text(text)
        assert refused(lambda: load(file), what, f": {place}"), f"{what} is accepted:\n{text}"
        count += 1
    assert count >= LEAST["network"]


def test_hostile_texts_in_every_key_are_refused_or_taken(tmp_path: Path) -> None:
    file, count = tmp_path / "host.toml", 0
    for what, text in bad_inputs.doubtful_pages():
        file.write_text(text)
        count += refused(lambda: load(file), what, str(file))
    assert count >= LEAST["host.toml"]


def test_a_key_of_tomorrow_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    table = grammar.Section(dict, {"depth": grammar.Field(grammar.integer(1, 2), "depth = 1", required=True)})
    new = grammar.Field(grammar.sections(table), "[[tomorrow]]", default=[])
    monkeypatch.setattr(bad_inputs, "SCHEMA", grammar.Section(dict, {**SCHEMA.fields, "tomorrow": new}))
    made = [what for what, _, _ in bad_inputs.bad_pages(random.Random(SEED)) if "tomorrow" in what]
    assert (
        "tomorrow.depth = 1.5" in made and "without tomorrow.depth" in made and "tomorrow: one table" in made
    )


def test_the_generator_knows_every_key_and_its_good_files_are_good(tmp_path: Path) -> None:
    """Otherwise a file could be refused for another reason than the one meant."""
    file, dependent = tmp_path / "host.toml", set()
    for way, key, field in bad_inputs.all_keys():
        file.write_text(bad_inputs.page(way, [], []))
        load(file)
        file.write_text(bad_inputs.page(way, [field.example]))
        is_whole = not field.required and "..." not in field.example
        if is_whole and refused(lambda: load(file), key, str(file)):
            dependent.add(".".join([*(name for name, _, _ in way), key]))
    assert dependent == DEPENDENT
    assert {way[0][0] if way else key for way, key, _ in bad_inputs.all_keys()} == set(SCHEMA.fields)


def test_every_bad_recipe_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, count = tree / "recipes/probe.py", 0
    (tree / "recipes/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tree))
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "recipes"}

    def read() -> object:
        sys.modules.pop("recipes.probe", None)
        recipes.load_recipe.cache_clear()
        recipes.recipe_names.cache_clear()
        importlib.invalidate_caches()
        return recipes.load_recipe("probe")

    try:
        file.write_text(bad_inputs.recipe_text())
        assert not refused(read, "a good recipe")
        for what, text in bad_inputs.bad_recipes(random.Random(SEED)):
            file.write_text(text)
            assert refused(read, what, "recipes/probe.py"), f"{what} is accepted"
            count += 1
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "recipes"]:
            del sys.modules[name]
        sys.modules.update(kept)
    assert count >= LEAST["recipe"]


def test_every_bad_fragment_is_refused(tree: Path) -> None:
    machine, count = SCHEMA({"name": "x"}), 0
    for content in bad_inputs.bad_fragments(random.Random(SEED), 60):
        (tree / "kconfig/a.config").write_bytes(content)
        assert refused(lambda: kernel.requests(machine), repr(content), "kconfig/a.config:2"), content
        count += 1
    assert count >= LEAST["fragment"]


def test_every_bad_lock_is_refused(tree: Path) -> None:
    count = 0
    for content in bad_inputs.bad_locks(random.Random(SEED), 60):
        paths.LOCK.write_bytes(content)
        assert refused(lambda: pins.read_lock(paths.LOCK), repr(content), "buildroot/lock:2"), content
        count += 1
    assert count >= LEAST["lock"]


def test_every_bad_capture_is_refused_or_read(tmp_path: Path) -> None:
    dice, good, file, count = random.Random(SEED), CAPTURE.read_bytes(), tmp_path / "machine.tar", 0
    for _ in range(40):
        file.write_bytes(good[: dice.randrange(len(good) - 64)])
        count += refused(lambda: capture.load(file), "a cut capture", str(file))
        flipped = bytearray(good)
        flipped[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
        file.write_bytes(flipped)
        count += refused(lambda: capture.load(file), "a flipped capture", str(file))
        file.write_bytes(dice.randbytes(dice.randrange(1, 4000)))
        count += refused(lambda: capture.load(file), "noise", str(file))
    assert count >= LEAST["capture"]


def test_every_bad_variable_is_refused() -> None:
    count = 0
    for name, value in bad_inputs.bad_variables(random.Random(SEED)):
        check = functools.partial(variables.check_given, {name: value})
        assert refused(check, f"{name}={value!r}", f"{name}="), (name, value)
        count += 1
    assert count >= LEAST["variable"]


def test_the_inputs_are_as_many_as_promised() -> None:
    assert sum(LEAST.values()) >= 800
