"""Building one package: from its recipe and the packages it needs to a tree in the store."""

import functools
import importlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from hostwright import build, buildroot, fetch, outputs, sandbox, stage, store
from hostwright.base import canonical, files, jobs, paths
from hostwright.base.errors import UserError
from hostwright.recipe import Recipe, Source


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


def sources(recipe: Recipe) -> tuple[Source, ...]:
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

    License, home page, smoke test, and the places where the sources can be had are none of it.
    """
    archives = [(one.sha256, one.into) for one in sources(recipe)]
    return canonical.text([recipe.name, recipe.version, archives, recipe.needs, recipe.view, recipe.setuid])


def key(recipe: Recipe, script: str, root_key: str, needs: Iterable[store.Built]) -> str:
    """What the built package depends on."""
    patch_digests = [files.digest(one) for one in patches(recipe)]
    need_digests = [f"{one.name} {one.digest}" for one in needs]
    return store.make_key(identity(recipe), script, root_key, *patch_digests, *need_digests)


def build_package(name: str, log: Path) -> store.Built:
    """The package from the store, built first if need be; its needs must be built."""
    recipe = load_recipe(name)
    needs = [store.read_stamp(need) for need in closure(recipe.needs)]
    script = build.script(recipe)
    package_key = key(recipe, script, buildroot.key(buildroot.load_lock()), needs)
    found = store.find(name, recipe.version, package_key)
    if found is None:
        with store.being_built(name, package_key) as folder:
            found = store.find(name, recipe.version, package_key)
            if found is None:
                _run_script(recipe, script, folder, needs, log)
                found = store.keep(name, recipe.version, package_key, folder / "out", recipe.setuid)
    store.write_stamp(found)
    return found


def _run_script(recipe: Recipe, script: str, folder: Path, needs: list[store.Built], log: Path) -> None:
    """Run a build script in the sandbox; the staged tree is in `folder`/out."""
    root = buildroot.root(buildroot.load_lock())
    for name in ("sources", "patches", "sysroot", "build", "out"):
        (folder / name).mkdir()
    place_inputs(recipe, folder)
    make_sysroot(folder / "sysroot", needs)
    (folder / "build" / "script").write_text(script)
    argv = ("sh", "-x", "/build/script")
    job = sandbox.Job(root / recipe.view, argv, _binds(folder), env=job_environment())
    log.unlink(missing_ok=True)
    sandbox.execute(f"building {recipe.name}", job, root / "tools", log)
    outputs.check(recipe, folder / "out", [entry.path for need in needs for entry in need.entries()])


def place_inputs(recipe: Recipe, folder: Path) -> None:
    """Place a recipe's archives and patches in the work folder, where the sandbox finds them."""
    for number, one in enumerate(sources(recipe)):
        os.link(fetch.local(one.sha256), folder / "sources" / build.source_name(number))
    for patch in patches(recipe):
        shutil.copy(patch, folder / "patches")


def _binds(folder: Path) -> tuple[sandbox.Bind, ...]:
    read_only = tuple(sandbox.Bind(folder / name, f"/{name}") for name in ("sources", "patches", "sysroot"))
    writable = tuple(sandbox.Bind(folder / name, f"/{name}", writable=True) for name in ("build", "out"))
    return (*read_only, *writable, sandbox.Bind(jobs.folder(), "/jobs", writable=True))


def job_environment() -> tuple[tuple[str, str], ...]:
    """make takes its further jobs from the FIFO; ninja, which cannot, gets a number."""
    count = str(jobs.jobs())
    return (("MAKEFLAGS", f" -j{count} --jobserver-auth=fifo:/jobs/pool"), ("JOBS", count))


def make_sysroot(folder: Path, needs: Iterable[store.Built]) -> None:
    """Lay the trees of `needs` over each other as hard links; two packages with one file are a UserError."""
    owner: dict[str, str] = {}
    for built in needs:
        for entry in built.entries():
            _place(built, entry, folder / entry.path, owner)


def _place(built: store.Built, entry: stage.Entry, target: Path, owner: dict[str, str]) -> None:
    if entry.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return
    if entry.path in owner:
        raise UserError(
            f"{entry.path} is staged by two packages: {owner[entry.path]} and {built.name}",
            "remove it from one",
        )
    owner[entry.path] = built.name
    os.link(built.tree / entry.path, target, follow_symlinks=False)
