"""What doit remembers of the build that made dist/, and of its proof."""

import json

import pytest

from hostwright.base import paths


@pytest.mark.parametrize("task", ["kernel-config", "kernel", "package:bash", "rootfs", "host", "prove"])
def test_our_checker_judged_each_step(task: str) -> None:
    assert json.loads(paths.STATE.read_text())[task]["checker:"] == "Checker"
