"""The blows of `./doit torture`, and what it finds left behind."""

import signal
import subprocess
import sys
from itertools import pairwise

from hostwright.base import paths
from hostwright.tasks import variables
from hostwright.torture import strikes, victims

# A child of a child that outlives it, seen by a process that orphans come to.
PROGRAM = """
import os, signal, subprocess
from hostwright.torture import leftovers
leftovers.GONE_LIMIT_S = 0.3
leftovers.adopt_orphans()
started = subprocess.run(["sh", "-c", "sleep 30 >&- & echo $!"], stdout=subprocess.PIPE)
print(leftovers.processes())
os.kill(int(started.stdout), signal.SIGKILL)
print(leftovers.processes())
"""


def test_the_same_seed_gives_the_same_blows() -> None:
    assert strikes.plan(1, 9, 4, victims.CHEAP) == strikes.plan(1, 9, 4, victims.CHEAP)
    assert strikes.plan(1, 9, 4, victims.CHEAP) != strikes.plan(2, 9, 4, victims.CHEAP)


def test_blows_fall_all_over_each_victim() -> None:
    blows = strikes.plan(1, 200, 50, victims.ALL)
    assert [blow.signals for blow in blows[:200]] == [(signal.SIGKILL,)] * 200
    assert all(len(blow.signals) == 2 and signal.SIGKILL not in blow.signals for blow in blows[200:])
    for name in victims.ALL:
        moments = sorted(blow.share for blow in blows if blow.victim == name)
        assert len(moments) == 50 and moments[0] >= 0 and moments[-1] <= 1
        assert max(after - before for before, after in pairwise(moments)) < 0.2


def test_what_is_cheap_is_struck_by_default() -> None:
    assert variables.TABLE["what"].default == ",".join(victims.CHEAP)


def test_what_outlives_its_parent_is_found() -> None:
    argv = [sys.executable, "-c", PROGRAM]
    environment = {"PYTHONPATH": str(paths.TREE), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["['sleep']", "[]"]
