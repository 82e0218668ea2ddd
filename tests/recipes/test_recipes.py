"""Every recipe is a value of the right shape; nothing is built or fetched here."""

import ast
import importlib
import re
import statistics
from dataclasses import fields, replace
from pathlib import Path

import pytest

from hostwright import recipe
from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.build import recipes, script
from hostwright.formats import spdx
from hostwright.recipe import Kernel, Recipe, Source

FILES = sorted(file for file in paths.RECIPES.glob("*.py") if file.stem != "__init__")
NAMES = recipes.recipe_names()

POOL_PATH = re.compile(
    r"pool/main/(lib)?[a-z0-9]/[a-z0-9.+-]+/[A-Za-z0-9._+~-]+\.orig(-[a-z0-9-]+)?\.tar\.(gz|bz2|xz)"
)
LINES_MAX, LINES_MEDIAN = 40, 22


def loaded(file: Path) -> Recipe:
    """The recipe of a module's file."""
    value = importlib.import_module(f"recipes.{file.stem}").RECIPE
    assert isinstance(value, Recipe)
    return value


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_is_named_as_its_module(file: Path) -> None:
    assert loaded(file).name == file.stem.replace("_", "-")


def test_recipes_are_short() -> None:
    """All lines count."""
    lines = {file.stem: len(file.read_text().splitlines()) for file in FILES}
    assert {name: count for name, count in lines.items() if count > LINES_MAX} == {}
    assert statistics.median(lines.values()) < LINES_MEDIAN


def test_words_are_read_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_FOLDER", tmp_path)
    (tmp_path / "probe.options").write_text("# why\n--two  \n\n  --one=a b\n--two\n")
    assert recipe.words("probe.options") == ("--two", "--one=a b", "--two")


def test_every_list_of_words_belongs_to_a_recipe() -> None:
    """A recipe reads the lists that are named as itself, and each list is read."""
    lists = [one.name for one in paths.RECIPES.iterdir() if one.is_file() and one.suffix != ".py"]
    used = [
        (file.stem, name)
        for file in FILES
        for name in re.findall(r"words\(['\"](.*?)['\"]\)", file.read_text())
    ]
    assert sorted(name for _, name in used) == sorted(lists)
    assert all(name.startswith(f"{stem}.") for stem, name in used)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_has_no_logic(file: Path) -> None:
    """It imports the vocabulary alone, and assigns values."""
    tree = ast.parse(file.read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert modules == ["hostwright.recipe"]
    forbidden = (ast.Import, ast.If, ast.IfExp, ast.For, ast.While, ast.FunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in ast.walk(tree) if isinstance(node, forbidden)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_docstring_is_one_plain_sentence(file: Path) -> None:
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert text is not None
    name, _, sentence = text.partition(": ")
    assert name == loaded(file).name
    assert re.fullmatch(r"[^.\n]*(?:\.\S[^.\n]*)*\.", sentence), sentence


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_pool_paths_with_a_digest(name: str) -> None:
    for one in recipes.sources(recipes.load_recipe(name)):
        assert POOL_PATH.fullmatch(one.path), one.path
        assert re.fullmatch(r"[0-9a-f]{64}", one.sha256)
        assert all(url.startswith("https://") for url in one.upstream)


@pytest.mark.parametrize("name", NAMES)
def test_license_and_home(name: str) -> None:
    value = recipes.load_recipe(name)
    assert spdx.fault(value.license) == ""
    assert value.home.startswith("https://")


@pytest.mark.parametrize("name", NAMES)
def test_the_version_is_that_of_the_source(name: str) -> None:
    """The archive adds its own marks to some versions: +dfsg, or a really in between."""
    value = recipes.load_recipe(name)
    assert value.version in value.source.path.rpartition("/")[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_promises_files(name: str) -> None:
    value = recipes.load_recipe(name)
    assert value.files
    assert len(set(value.files)) == len(value.files)
    assert all(re.fullmatch(r"(usr|etc|boot)/[^/].*[^/]", path) for path in value.files)


def test_a_promise_does_not_change_the_packages_identity() -> None:
    value = recipes.load_recipe("zlib")
    assert recipes.identity(replace(value, files=())) == recipes.identity(value)


def test_locales_are_of_the_c_library_that_reads_them() -> None:
    """Their format is private to each version of it."""
    assert recipes.load_recipe("glibc-locales").source == recipes.load_recipe("glibc").source


@pytest.mark.parametrize("name", NAMES)
def test_needs_exist_and_are_named_once(name: str) -> None:
    needs = recipes.load_recipe(name).needs
    assert set(needs) <= set(NAMES)
    assert len(set(needs)) == len(needs)


def test_needs_have_no_circle() -> None:
    assert set(recipes.closure(NAMES)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_test_names_an_absolute_path(name: str) -> None:
    smoke = recipes.load_recipe(name).smoke
    assert not smoke or smoke[0].startswith(("/usr/bin/", "/usr/sbin/"))


@pytest.mark.parametrize(
    "name", [one for one in NAMES if not isinstance(recipes.load_recipe(one).build, Kernel)]
)
def test_a_recipe_becomes_a_script(name: str) -> None:
    text = script.script(recipes.load_recipe(name))
    assert text.startswith("set -eu\n")
    assert "/work" not in text
    assert "\n\n" not in text


def test_an_unknown_field_fails() -> None:
    values = {field.name: "" for field in fields(Recipe)}
    with pytest.raises(TypeError, match="colour"):
        Recipe(**values, colour="red")  # type: ignore[arg-type, call-arg]


def test_a_recipe_cannot_be_changed() -> None:
    value = recipes.load_recipe(NAMES[0])
    with pytest.raises(AttributeError):
        value.version = "0"  # type: ignore[misc]


def test_an_unknown_recipe_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no-such-package") as caught:
        recipes.load_recipe("no-such-package")
    assert "recipes/no_such_package.py" in caught.value.hint


def test_a_circle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def circular(name: str) -> Recipe:
        source = Source("pool/main/a/a/a_1.orig.tar.xz", sha256="0" * 64)
        need = {"egg": "hen", "hen": "egg"}[name]
        return Recipe(name, "1", "MIT", "https://a/", source, recipe.Files(()), needs=(need,))

    monkeypatch.setattr(recipes, "load_recipe", circular)
    with pytest.raises(UserError, match="egg -> hen -> egg"):
        recipes.closure(["egg"])


def test_the_recipe_in_the_documentation_is_a_real_one() -> None:
    page = (paths.TREE / "docs" / "recipes.md").read_text()
    shown = page.partition("```python\n")[2].partition("```")[0]
    assert shown in [file.read_text() for file in FILES]
