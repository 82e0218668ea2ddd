"""A recipe, a fragment or a lock that cannot be read: one error with file, line and remedy."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.build import kernel, recipe_file, recipes
from hostwright.machine.load import SCHEMA
from hostwright.source import pins

SHA = "0" * 64
GOOD = f'''"""probe: a probe."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="probe",
    version="1.0",
    license="MIT",
    home="https://HOST/",
    source=Source("pool/main/p/probe/probe_1.0.orig.tar.xz", sha256="{SHA}"),
    build=Make(),
    needs=("zlib",),
)
'''


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty tree whose recipes can be imported."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/__init__.py").write_text("")
    here = paths.TREE
    for name in ("TREE", "RECIPES", "KCONFIG", "PATCHES", "LOCK"):
        monkeypatch.setattr(paths, name, tmp_path / getattr(paths, name).relative_to(here))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "recipes"}
    forget()
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "recipes"]:
        del sys.modules[name]
    sys.modules.update(loaded)
    forget()


def forget() -> None:
    importlib.invalidate_caches()
    recipes.load_recipe.cache_clear()
    recipes.recipe_names.cache_clear()


def refusal(tree: Path, text: str | bytes, name: str = "probe") -> str:
    (tree / "recipes" / f"{name}.py").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as caught:
        recipes.load_recipe(name)
    assert caught.value.hint
    return str(caught.value)


def test_a_whole_recipe_is_read(tree: Path) -> None:
    (tree / "recipes/probe.py").write_text(GOOD)
    assert recipes.load_recipe("probe").needs == ("zlib",)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("build=Make(),", "build=Make]", "recipes/probe.py:11: not valid Python"),
        ("build=Make(),", "build=Mke(),", "recipes/probe.py:11: NameError: name 'Mke' is not defined"),
        ("    build=Make(),\n", "", "recipes/probe.py:5: TypeError: "),
        ("Make, Recipe", "Mkae, Recipe", "recipes/probe.py:3: ImportError: cannot import name 'Mkae'"),
        ("hostwright.recipe", "hostwright.recpe", "recipes/probe.py:3: ModuleNotFoundError"),
        ("RECIPE =", "RECIP =", "recipes/probe.py: there is no RECIPE in it"),
        ("RECIPE =", "RECIPE = None and", "recipes/probe.py: there is no RECIPE in it"),
        ("RECIPE = Recipe(", "RECIPE = dict(", "recipes/probe.py: RECIPE is a dict, not a Recipe"),
        ('needs=("zlib",)', 'needs=("zlib")', 'recipes/probe.py:12: needs must be a tuple of texts'),
        ("build=Make()", "build=Make", "recipes/probe.py:11: build must be one of Configure, Make"),
        ("build=Make()", 'build=Make(variables=["A=b"])', "recipes/probe.py:11: variables must be a tuple"),
        ('source=Source("pool', 'source=("pool', "recipes/probe.py:10: not valid Python"),
        (SHA, "12ab", 'recipes/probe.py:10: sha256 cannot be "12ab"'),
        ('version="1.0"', "version=1.0", 'recipes/probe.py:7: version must be a text in quotes, not "1.0"'),
        ('version="1.0"', 'version="1 0"', 'recipes/probe.py:7: version cannot be "1 0"'),
        ('name="probe"', 'name="prob"', 'recipes/probe.py:6: the name "prob" is not the file\'s'),
        ("needs=", 'view="all", needs=', 'recipes/probe.py:12: view cannot be "all"'),
        ('needs=("zlib",)', 'needs=words("probe.words")', "recipes/probe.py:12: NameError"),
        ("Recipe, Source\n", 'Recipe, Source, words\n\nwords("none")\n', "recipes/probe.py:5: FileNotFoundError"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_recipe_names_file_line_and_remedy(tree: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    assert told in refusal(tree, GOOD.replace(old, new))


@pytest.mark.parametrize("text", [b"\xff\xfe = 1\n", b"\0", b"x = '\xe4'\n", b"(" * 5000])
def test_a_recipe_that_is_no_text_is_named(tree: Path, text: bytes) -> None:
    assert refusal(tree, text).startswith("recipes/probe.py")


def test_a_missing_recipe_offers_the_nearest(tree: Path) -> None:
    (tree / "recipes/probe.py").write_text(GOOD)
    with pytest.raises(UserError, match=r'no recipe "prob"[^?]*did you mean probe\?'):
        recipes.load_recipe("prob")


def test_a_need_without_a_recipe_names_who_needs_it(tree: Path) -> None:
    (tree / "recipes/probe.py").write_text(GOOD)
    (tree / "recipes/zlib_ng.py").write_text(GOOD.replace('"probe"', '"zlib-ng"').replace('"zlib",', ""))
    with pytest.raises(
        UserError, match=r"(?s)recipes/probe.py:12: there is no recipe \"zlib\".*did you mean zlib-ng\?"
    ):
        recipes.closure(["probe"])


def test_needs_in_a_circle_name_each_place(tree: Path) -> None:
    (tree / "recipes/probe.py").write_text(GOOD)
    (tree / "recipes/zlib.py").write_text(
        GOOD.replace('"probe"', '"zlib"').replace('("zlib",)', '("probe",)')
    )
    (tree / "recipes/top.py").write_text(GOOD.replace('"probe"', '"top"'))
    with pytest.raises(UserError) as caught:
        recipes.closure(["top"])
    assert "zlib -> probe -> zlib" in str(caught.value)
    assert "recipes/zlib.py:12, recipes/probe.py:12" in caught.value.hint


def test_a_need_may_be_found_where_the_file_has_none(tree: Path) -> None:
    (tree / "recipes/probe.py").write_text(GOOD)
    assert recipe_file.place(tree / "recipes/probe.py", "nowhere") == "recipes/probe.py"


def test_a_patch_that_leads_nowhere_is_named(tree: Path) -> None:
    (tree / "recipes/probe.py").write_text(GOOD)
    (tree / "patches/probe/1").mkdir(parents=True)
    (tree / "patches/probe/1/0001-a.patch").symlink_to("gone")
    with pytest.raises(UserError, match=r"(?s)patches/probe/1/0001-a.patch is not a file.*git checkout"):
        recipes.patches(recipes.load_recipe("probe"))


def test_fragments_must_be_there_and_be_text(tree: Path) -> None:
    machine = SCHEMA({"name": "x"})
    with pytest.raises(UserError, match=r"(?s)kconfig/ has no fragment.*git checkout -- kconfig"):
        kernel.requests(machine)
    (tree / "kconfig").mkdir()
    fragment = tree / "kconfig/a.config"
    fragment.write_bytes(b"# a reason\nCONFIG_A=\xff\n")
    with pytest.raises(UserError, match=r"kconfig/a.config:2: not UTF-8 \(byte 0xff\)"):
        kernel.requests(machine)
    fragment.write_text("\x1b[2JCONFIG_A=y\n")
    with pytest.raises(UserError, match=r"kconfig/a.config:1: not a kernel option: \\x1b\[2J") as caught:
        kernel.requests(machine)
    assert "\x1b" not in str(caught.value)
    fragment.unlink()
    fragment.mkdir()
    with pytest.raises(UserError, match=r"kconfig/a\.config is not a file"):
        kernel.requests(machine)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "buildroot/lock does not exist"),
        (b"", "buildroot/lock: there is no pin in it"),
        (b"# only a head\n", "buildroot/lock: there is no pin in it"),
        (b"a 1 pool/a 1 \xff\n", "buildroot/lock:1: not UTF-8"),
        (b"\na 1 pool/a \xc2\xb2 " + SHA.encode(), "buildroot/lock:2: not a pin"),
        (b"a 1 pool/a " + b"9" * 5000 + b" " + SHA.encode(), "buildroot/lock:1: not a pin"),
        (b"a 1 ../a 1 " + SHA.encode(), "buildroot/lock:1: not a pin"),
        (b"a 1 pool/../a 1 " + SHA.encode(), "buildroot/lock:1: not a pin"),
        (b"../a 1 pool/a 1 " + SHA.encode(), "buildroot/lock:1: not a pin"),
    ],
)
def test_a_lock_that_cannot_be_used_is_named(tree: Path, content: bytes | None, told: str) -> None:
    (tree / "buildroot").mkdir()
    if content is not None:
        paths.LOCK.write_bytes(content)
    with pytest.raises(UserError) as caught:
        pins.read_lock(paths.LOCK)
    assert caught.value.message.startswith(told)
    assert caught.value.hint in ("restore it: git checkout -- buildroot/lock", "save the file as UTF-8 text")
