"""The tasks about sources and recipes: fetch what they name, draft a recipe, find old ones, open a build."""

from collections.abc import Callable, Iterator
from functools import cache, partial

from hostwright.base import times
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.build import recipes
from hostwright.recipe import Recipe
from hostwright.sandbox import buildroot as root
from hostwright.source import fetch, mirrors
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, step
from hostwright.tasks.inputs import machine, workshop


def sources() -> Iterator[Task]:
    """fetch and check every source: host, prove and medium then need no network"""
    machine()
    yield fetching("buildroot", "the compilers and tools of buildroot/lock", _buildroot_files)
    for name in recipes.recipe_names():
        recipe = recipes.load_recipe(name)
        yield fetching(name, f"the source of {name} {recipe.version}", partial(_source_files, recipe))
    yield fetching("firmware", "the firmware that host.toml names", _firmware_files)
    yield fetching("installer", "the parts of Debian's installer", _installer_files)


def fetching(name: str, what: str, wanted: Callable[[], list[Pin]]) -> Task:
    """A task that fetches what is `wanted` and not yet in the cache."""

    def act() -> None:
        missing = [one for one in wanted() if not fetch.is_here(one.sha256)]
        counter = _Counter(f"sources:{name}", sum(one.size for one in missing))
        fetch.fetch_all(missing, mirrors.find_mirrors(), counter.add)

    def is_here() -> bool:
        return all(fetch.is_here(one.sha256) for one in wanted())

    task = step(act, doc=f"fetch {what}", holds=[is_here], name=name, counted=False)
    return {"basename": "sources", **task}


class _Counter:
    """Bytes fetched so far, shown on the board as a bar where the total is known."""

    def __init__(self, task: str, total: int) -> None:
        self.task, self.bytes, self.total = task, 0, total

    def add(self, count: int) -> None:
        self.bytes += count
        reporter.board().note(self.task, times.bar(self.bytes, self.total))


@cache
def _buildroot_files() -> list[Pin]:
    return root.load_lock()


def _firmware_files() -> list[Pin]:
    from hostwright.image import firmware

    return firmware.find_pins(machine())


def _installer_files() -> list[Pin]:
    from hostwright.guest import initrd

    return initrd.load_lock()


def _source_files(recipe: Recipe) -> list[Pin]:
    return list(recipes.sources(recipe))


def add() -> Task:
    """write the first draft of a recipe from the archive: ./doit add NAME"""
    return {"pos_arg": "words", **step(_add, after=["buildroot"], always=True, counted=False)}


def outdated() -> Task:
    """list the recipes that are older than the archive's newest"""
    return step(_outdated, after=["buildroot"], always=True, counted=False)


def shell() -> Task:
    """open the sandbox of a package's build, a failed one if there is one: ./doit shell package=NAME"""
    return step(_shell, after=["buildroot"], always=True, counted=False)


def _shell() -> None:
    from hostwright.build import package

    name = variables.text("package")
    if not name:
        raise UserError("shell: no package is named", "write ./doit shell package=NAME")
    reporter.board().say(f"the build of {name}: sh -x /build/script runs it, exit leaves the sandbox")
    reporter.board().close()
    package.open_shell(name, workshop("shell"))


def _add(*words: str) -> None:
    from hostwright.upkeep import draft

    names = [*words, *filter(None, [variables.text("name")])]
    if len(names) != 1:
        raise UserError(
            f"./doit add takes one name, and got {len(names)}",
            "name one source package of the archive: ./doit add NAME",
        )
    lines = draft.add(names[0], variables.text("as"), workshop("add"), partial(reporter.board().note, "add"))
    for line in lines:
        reporter.board().say(line)


def _outdated() -> None:
    from hostwright.upkeep.outdated import find

    pins = {name: recipes.sources(recipes.load_recipe(name)) for name in recipes.recipe_names()}
    for line in find(workshop("outdated"), pins):
        reporter.board().say(line)
