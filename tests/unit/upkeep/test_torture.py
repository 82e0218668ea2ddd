"""The blows of `./doit torture`, and what it finds left behind."""

import signal
import subprocess
import sys
from itertools import pairwise

from hostwright.base import paths
from hostwright.upkeep import torture

# A child of a child that outlives it, seen by a process that orphans come to.
PROGRAM = """
import ctypes, os, signal, subprocess
from hostwright.upkeep import torture
torture.GONE_LIMIT_S = 0.3
ctypes.CDLL(None).prctl(36, 1)
started = subprocess.run(["sh", "-c", "sleep 30 >&- & echo $!"], stdout=subprocess.PIPE)
print(torture._left_behind())
os.kill(int(started.stdout), signal.SIGKILL)
print(torture._left_behind())
"""


def test_the_same_seed_gives_the_same_blows() -> None:
    assert torture.plan(1, 9, 4, 10.0) == torture.plan(1, 9, 4, 10.0)
    assert torture.plan(1, 9, 4, 10.0) != torture.plan(2, 9, 4, 10.0)


def test_blows_fall_all_over_the_build() -> None:
    blows = torture.plan(1, 200, 50, 10.0)
    assert [blow.signals for blow in blows[:200]] == [(signal.SIGKILL,)] * 200
    assert all(len(blow.signals) == 2 and signal.SIGKILL not in blow.signals for blow in blows[200:])
    moments = sorted(blow.after_s for blow in blows)
    assert moments[0] >= 0 and moments[-1] <= 10.0
    assert max(after - before for before, after in pairwise(moments)) < 1.0


def test_what_outlives_its_parent_is_found() -> None:
    argv = [sys.executable, "-c", PROGRAM]
    environment = {"PYTHONPATH": str(paths.TREE), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["['sleep']", "[]"]
