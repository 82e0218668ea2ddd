"""Where a task works: the build root, the cache, the archives and a log, found once and handed down.

open_at(log) --> Workshop --run(what, job)--> the sandbox, with the output in the log
"""

from dataclasses import dataclass, replace
from pathlib import Path

from hostwright.base import paths
from hostwright.sandbox import buildroot, sandbox
from hostwright.source import mirrors


@dataclass(frozen=True)
class Workshop:
    """The views of the build root below `root`, the build root's key, the cache, and the log.

    `named` are the archives to use instead of those of this machine.
    """

    root: Path
    key: str
    cache: Path
    log: Path
    named: tuple[str, ...] = ()

    @property
    def tools(self) -> Path:
        """The view of the build root with everything in it."""
        return self.root / "tools"

    @property
    def archives(self) -> list[str]:
        """The Debian archives, the preferred one first; UserError if there is none."""
        return list(self.named) or mirrors.find_mirrors()

    @property
    def served(self) -> Path:
        """The folder of the files that a depot has served."""
        return self.cache / "archive"

    def logging_to(self, log: Path) -> "Workshop":
        """The same workshop with another log."""
        return replace(self, log=log)

    def run(self, what: str, job: sandbox.Job) -> None:
        """Run `job` and append its output to the log; raises `run.ProgramError` for a status other than 0."""
        sandbox.execute(what, job, self.tools, self.log)


def open_at(log: Path) -> Workshop:
    """The workshop of this tree and this machine, with its log in a file."""
    pins = buildroot.load_lock()
    return Workshop(buildroot.root(pins), buildroot.key(pins), paths.cache(), log)
