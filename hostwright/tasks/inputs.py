"""What every task is about: the machine to build, its packages, and where intermediate results lie."""

from functools import cache
from pathlib import Path

from hostwright.base import paths
from hostwright.build import kernel as linux
from hostwright.build import recipes
from hostwright.machine import load as model
from hostwright.machine.model import Machine
from hostwright.sandbox import buildroot as root
from hostwright.sandbox.workshop import Workshop, open_at
from hostwright.tasks import variables

BUILDROOT_STAMP = paths.BUILDROOT_STAMP
CONFIG_FILE = paths.KERNEL / "config"
SPECIAL = ("linux", "edk2")


@cache
def machine_file() -> Path:
    """The file that describes the machine to build: `machine=FILE` on the command line, else host.toml."""
    return Path(variables.text("machine") or paths.TREE / "host.toml").absolute()


@cache
def machine() -> Machine:
    """The machine to build; raises UserError for a mistake in its file, a fragment or the lock."""
    found = model.load(machine_file())
    linux.requests(found)
    root.load_lock()
    return found


def workshop(task: str) -> Workshop:
    """The workshop of a task, with its log."""
    return open_at(paths.log_file(task))


def host_packages() -> list[str]:
    """The packages of the host in build order."""
    names = [name for name in recipes.recipe_names() if name not in SPECIAL]
    return recipes.closure(names)
