"""The text of a recipe: equal to its value, formatted as ruff does it, and short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from hostwright.recipe import Build, Configure, Files, Make, Meson, Recipe, Source
from hostwright.upkeep import layout

SHA256 = "0123456789abcdef" * 4
MANY = tuple(f"library-with-a-name-{number}" for number in range(12))
LONG = tuple(f"--disable-feature-number-{number}" for number in range(20))


def recipe(build: Build, needs: tuple[str, ...] = ("glibc",), parts: int = 0) -> Recipe:
    extra = tuple(
        Source(f"pool/main/t/thing/thing_1.0.orig-{number}.tar.xz", SHA256, into=str(number))
        for number in range(parts)
    )
    source = Source("pool/main/t/thing/thing_1.0.orig.tar.xz", SHA256)
    return Recipe("thing", "1.0", "MIT", "https://example.org/'q'", source, build, extra, needs)


RECIPES = [
    recipe(Meson()),
    recipe(Meson(before=("cd src",))),
    recipe(Make(variables=("PREFIX=/usr",)), parts=3),
    recipe(Configure(options=("--disable-static",), before=("autoreconf -i",)), MANY),
    recipe(Configure(options=LONG, before=("cd 'a b'",), after=("one", "two"))),
    recipe(Configure(before=(f"# {'long ' * 20}", "two"))),
    recipe(Files(("echo 'no \"one\"' >&2", "exit 1")), needs=()),
    recipe(Files(tuple(f"install -D file-number-{number} /out/usr/share" for number in range(9)))),
]


@pytest.mark.parametrize("value", RECIPES)
@pytest.mark.parametrize("comment", ["", "Why it is so."])
def test_the_text_is_the_value(value: Recipe, comment: str) -> None:
    space: dict[str, object] = {}
    text = layout.render_recipe(value, "says what it is for.", comment)
    exec(text, space)
    assert space["RECIPE"] == value
    assert ast.get_docstring(ast.parse(text)) == "thing: says what it is for."
    assert ("    # Why it is so.\n    build=" in text) == bool(comment)


@pytest.mark.parametrize("value", RECIPES)
def test_the_text_is_short(value: Recipe) -> None:
    text = layout.render_recipe(value, "says what it is for.", "Why it is so.")
    assert len(text.splitlines()) <= 40


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for number, value in enumerate(RECIPES):
        text = layout.render_recipe(value, "says what it is for.", "Why it is so.")
        (tmp_path / f"r{number}.py").write_text(text)
    ruff, settings = Path(sys.executable).parent / "ruff", Path(__file__).parents[3] / "pyproject.toml"
    for words in (["format", "--diff"], ["check"]):
        argv = [str(ruff), *words, "--config", str(settings), "--no-cache", str(tmp_path)]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout
