"""An unattended install under way, on the real medium."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from hostwright.base import paths
from hostwright.guest.install import Follower
from hostwright.guest.watch import STAGES, Fault
from hostwright.machine import load
from hostwright.machine.model import Guest, Machine
from hostwright.source.depot import Depot
from hostwright.vm.session import Session

TOLD_LIMIT_S = 120.0
LAB: Machine = load.load(paths.TREE / "host.toml")


@dataclass
class Run:
    """QEMU, what it fetches from, and who follows it."""

    follower: Follower
    session: Session
    depot: Depot

    def reach(self, item: str) -> None:
        """Go on to a stage of the installer."""
        assert self.follower.follow(until=item) is None
        assert STAGES[self.follower.watch.stage].item == item

    def fault(self) -> tuple[Fault, float]:
        """Why the install is given up, and how long that took."""
        begin = time.monotonic()
        found = self.follower.follow()
        assert found is not None
        return found, time.monotonic() - begin


Start = Callable[[Guest], Run]
