"""The steps for those who write recipes: a first draft from the archive, and what is older than the archive's newest.

`./doit add zlib`, `./doit add glib2.0 as=glib`; `./doit add name=zlib` says the same. `./doit outdated`.
"""

from functools import partial

from hostwright.base.errors import UserError
from hostwright.build import recipes
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, step
from hostwright.tasks.inputs import workshop


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
