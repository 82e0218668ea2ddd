"""Building one package: from its recipe and the packages it needs to a tree in the store."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hostwright.base import files, jobs, run
from hostwright.base.errors import UserError
from hostwright.build import checks, recipes, stage, store
from hostwright.build import script as build
from hostwright.build.recipes import closure, identity, patches, sources
from hostwright.recipe import Recipe
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch


def key(recipe: Recipe, script: str, root_key: str, needs: Iterable[store.Built]) -> str:
    """What the built package depends on."""
    patch_digests = [files.digest(one) for one in patches(recipe)]
    need_digests = [f"{one.name} {one.digest}" for one in needs]
    closed = sandbox.text(_job(recipe, Path(), Path()))
    return store.make_key(identity(recipe), script, closed, root_key, *patch_digests, *need_digests)


def build_package(name: str, shop: Workshop) -> store.Built:
    """The package from the store, built first if need be; its needs must be built."""
    recipe = recipes.load_recipe(name)
    needs = [store.read_stamp(need) for need in closure(recipe.needs)]
    script = build.script(recipe)
    package_key = key(recipe, script, shop.key, needs)
    found = store.find(name, recipe.version, package_key)
    if found is None:
        with store.being_built(name, package_key) as folder:
            found = store.find(name, recipe.version, package_key)
            if found is None:
                _run_script(recipe, folder, needs, shop)
                found = store.keep(name, recipe.version, package_key, folder / "out", recipe.setuid)
    checks.check_promise(recipe, [entry.path for entry in found.entries()])
    store.write_stamp(found)
    return found


def _run_script(recipe: Recipe, folder: Path, needs: list[store.Built], shop: Workshop) -> None:
    """Run a recipe's build script in the sandbox; the staged tree is in `folder`/out."""
    _fill(recipe, folder, needs)
    shop.log.unlink(missing_ok=True)
    shop.run(f"building {recipe.name}", _job_here(recipe, shop.root, folder))
    checks.check(recipe, folder / "out", [entry.path for need in needs for entry in need.entries()])


def _fill(recipe: Recipe, folder: Path, needs: list[store.Built]) -> None:
    for name in ("sources", "patches", "sysroot", "build", "out"):
        (folder / name).mkdir()
    place_inputs(recipe, folder)
    make_sysroot(folder / "sysroot", needs)
    (folder / "build" / "script").write_text(build.script(recipe))


def _job(recipe: Recipe, root: Path, folder: Path) -> sandbox.Job:
    return sandbox.Job(root / recipe.view, ("sh", "-x", "/build/script"), _binds(folder))


def _job_here(recipe: Recipe, root: Path, folder: Path) -> sandbox.Job:
    """The job with the processors of this machine, which must not matter to what comes out."""
    job = _job(recipe, root, folder)
    tokens = sandbox.Bind(jobs.folder(), "/jobs", writable=True)
    return replace(job, binds=(*job.binds, tokens), env=job_environment())


def open_shell(name: str, shop: Workshop) -> int:
    """A shell in the sandbox of a package's build, its failed one if there is one; the shell's exit status.

    Otherwise the folder is as a build finds it: `sh -x /build/script` runs it.
    """
    recipe = recipes.load_recipe(name)
    folder = store.failed(name)
    if not folder.exists():
        with files.folder_replaced(folder) as new:
            _fill(recipe, new, [store.read_stamp(need) for need in closure(recipe.needs)])
    job = replace(_job_here(recipe, shop.root, folder), argv=("bash", "-i"), terminal=True)
    with sandbox.entered(job, shop.tools) as argv:
        return run.interactive(argv)


def place_inputs(recipe: Recipe, folder: Path) -> None:
    """Place a recipe's archives and patches in the work folder, where the sandbox finds them."""
    for number, one in enumerate(sources(recipe)):
        os.link(fetch.local(one.sha256), folder / "sources" / build.source_name(number))
    for patch in patches(recipe):
        shutil.copy(patch, folder / "patches")


def _binds(folder: Path) -> tuple[sandbox.Bind, ...]:
    read_only = tuple(sandbox.Bind(folder / name, f"/{name}") for name in ("sources", "patches", "sysroot"))
    writable = tuple(sandbox.Bind(folder / name, f"/{name}", writable=True) for name in ("build", "out"))
    return (*read_only, *writable)


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
