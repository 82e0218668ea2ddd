"""./doit makes its own Python environment, and makes it again when the pins change."""

import os
import subprocess
from pathlib import Path

from hostwright.base import paths


def _start(tree: Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path}
    return subprocess.run(["./doit"], cwd=tree, env=environment, capture_output=True, text=True, check=False)


def test_new_pins_make_a_new_environment_also_where_the_old_one_is_activated(tmp_path: Path) -> None:
    (tmp_path / "doit").symlink_to(paths.TREE / "doit")
    (tmp_path / "doit.py").write_text("print('started')\n")
    pins = tmp_path / "requirements.txt"
    pins.write_text("# none\n")
    assert _start(tmp_path, os.environ["PATH"]).stdout == "started\n"
    pins.write_text("# none, anew\n")
    result = _start(tmp_path, f"{tmp_path}/.venv/bin:{os.environ['PATH']}")
    assert (result.returncode, result.stdout) == (0, "started\n"), result.stderr
    assert (tmp_path / ".venv/requirements.txt").read_text() == pins.read_text()
