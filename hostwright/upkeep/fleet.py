"""All machines of hosts/: each is built and proved by a run of its own, into its folder of dist/."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hostwright.base import paths, run, texts
from hostwright.base.errors import UserError
from hostwright.machine import load

Say = Callable[[str], None]


def find(folder: Path) -> dict[str, Path]:
    """The machines that the files of a folder describe, by name.

    Raises UserError for a file with a mistake, for a name that two files give, and where there is none.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.toml")):
        name = load.load(file).name
        if name in found:
            raise UserError(
                f'{texts.name_file(file)} and {texts.name_file(found[name])} both have name = "{name}"',
                "give one of the two another name: results and disks are known by it",
            )
        found[name] = file
    if not found:
        raise UserError(
            f"{texts.name_file(folder)} has no machine", "copy host.toml there, as in hosts/mine.toml"
        )
    return found


def plan(python: str, file: Path) -> list[str]:
    """The run that builds and proves one machine."""
    return [python, "-m", "doit", f"machine={texts.name_file(file)}"]


def build_all(python: str, machines: dict[str, Path], say: Say) -> None:
    """Build and prove one machine after the other. Raises UserError at the end that names those that failed."""
    failed = [name for name, file in machines.items() if not _build(plan(python, file), name, say)]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(machines)} machines failed: {', '.join(failed)}",
            f"run it again: ./doit machine={texts.name_file(machines[failed[0]])}",
        )
    say(f"{len(machines)} machines are built and proved: {', '.join(machines)}")


def _build(argv: Sequence[str], name: str, say: Say) -> bool:
    say(f"machine {name}: dist/{name}")
    return run.attached(argv, paths.TREE) == 0
