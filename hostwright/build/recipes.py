"""The recipes of the tree: loaded, ordered by their needs, with their sources and patches."""

import functools
import importlib
from collections.abc import Iterable
from pathlib import Path

from hostwright.base import canonical, paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.recipe import Recipe


@functools.cache
def load_recipe(name: str) -> Recipe:
    """The RECIPE of recipes/<name>.py; '-' in a package name is '_' in the module's."""
    try:
        module = importlib.import_module(f"recipes.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        raise UserError(f"there is no recipe {name}", f"add recipes/{name.replace('-', '_')}.py") from error
    recipe: Recipe = module.RECIPE
    return recipe


def recipe_names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(
        file.stem.replace("_", "-") for file in paths.RECIPES.glob("*.py") if file.stem != "__init__"
    )


def closure(names: Iterable[str]) -> list[str]:
    """The named packages and all that they need, needs first; a circle is a UserError."""
    done: dict[str, None] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise UserError(f"recipes need each other in a circle: {' -> '.join([*trail, name])}")
        if name in done:
            return
        for need in load_recipe(name).needs:
            visit(need, (*trail, name))
        done[name] = None

    for name in names:
        visit(name, ())
    return list(done)


def sources(recipe: Recipe) -> tuple[Pin, ...]:
    """All source archives of a recipe, the main one first."""
    return (recipe.source, *recipe.extra)


def patches(recipe: Recipe) -> list[Path]:
    """The patches of a recipe in their order: patches/<name>/<series>/, the series being the longest that fits."""
    folder = paths.PATCHES / recipe.name
    fitting = [
        one.name
        for one in folder.glob("*")
        if recipe.version == one.name or recipe.version.startswith(f"{one.name}.")
    ]
    return sorted((folder / max(fitting, key=len)).glob("*.patch")) if fitting else []


def identity(recipe: Recipe) -> str:
    """What of a recipe changes its output besides the build script, as canonical text.

    License, home page, smoke test, promised files and the places of the sources are none of it.
    """
    archives = [(one.sha256, one.into) for one in sources(recipe)]
    return canonical.text([recipe.name, recipe.version, archives, recipe.needs, recipe.view, recipe.setuid])
