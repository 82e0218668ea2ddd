"""The recipes of the tree: loaded, ordered by their needs, with their sources and patches."""

import functools
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from hostwright.base import canonical, paths, texts
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.build import recipe_file
from hostwright.recipe import Recipe


@functools.cache
def load_recipe(name: str) -> Recipe:
    """The RECIPE of recipes/<name>.py, checked; '-' in a package name is '_' in the module's."""
    return recipe_file.read(name, recipe_names())


@functools.cache
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
            raise _circle((*trail[trail.index(name) :], name))
        if name in done:
            return
        for need in _load(name, trail).needs:
            visit(need, (*trail, name))
        done[name] = None

    for name in names:
        visit(name, ())
    return list(done)


def _load(name: str, trail: Sequence[str]) -> Recipe:
    """The recipe `name`; the error for a missing one names the recipe that needs it, the last of `trail`."""
    try:
        return load_recipe(name)
    except recipe_file.NoRecipeError:
        if not trail:
            raise
        raise recipe_file.no_need(recipe_file.recipe_file(trail[-1]), name, recipe_names()) from None


def _circle(names: Sequence[str]) -> UserError:
    places = ", ".join(recipe_file.place(recipe_file.recipe_file(one), need) for one, need in pairwise(names))
    hint = f"remove one of these needs: {places}"
    return UserError(f"recipes need each other in a circle: {' -> '.join(names)}", hint)


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
    found = sorted((folder / max(fitting, key=len)).glob("*.patch")) if fitting else []
    for one in found:
        if not one.is_file():
            raise UserError(f"{texts.name_file(one)} is not a file", texts.restore(one))
    return found


def identity(recipe: Recipe) -> str:
    """What of a recipe changes its output besides the build script, as canonical text.

    License, home page, smoke test, promised files and the places of the sources are none of it.
    """
    archives = [(one.sha256, one.into) for one in sources(recipe)]
    return canonical.text([recipe.name, recipe.version, archives, recipe.needs, recipe.view, recipe.setuid])
