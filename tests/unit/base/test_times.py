"""One factor scales all time limits."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hostwright.base import paths, times
from hostwright.base.errors import UserError
from hostwright.tasks import define

NAME = re.compile(r"[A-Z_]*(LIMIT|TIMEOUT)_S")
FILES = sorted((paths.TREE / "hostwright").rglob("*.py"))


def unscaled(tree: ast.Module) -> list[str]:
    """The limits of a module whose value has a number outside of a call of limit(), and waits for a bare number."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [ast.unparse(one) for one in targets]
            if any(map(NAME.fullmatch, names)) and node.value and bare_numbers(node.value):
                found += names
        if isinstance(node, ast.Call):
            found += [
                f"{ast.unparse(node.func)}({one.arg}=)"
                for one in node.keywords
                if one.arg in ("timeout", "timeout_s", "limit_s") and bare_numbers(one.value)
            ]
            if ast.unparse(node.func).rpartition(".")[2] in ("wait_for", "wait_for_end", "wait_end"):
                found += [ast.unparse(node) for one in node.args if bare_numbers(one)]
    return found


def bare_numbers(node: ast.expr) -> bool:
    """Whether a number stands in an expression outside of a call of limit()."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "limit":
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return any(bare_numbers(one) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(paths.TREE).as_posix())
def test_every_limit_is_scaled(file: Path) -> None:
    assert unscaled(ast.parse(file.read_text())) == []


@pytest.mark.parametrize(
    "text",
    ["A_LIMIT_S = 3.0", "TIMEOUT_S = (limit(3), 5)", "x.wait_for('a', 3)", "get(timeout=limit(1) + 2)"],
)
def test_an_unscaled_limit_is_found(text: str) -> None:
    assert unscaled(ast.parse(text))


def test_the_installers_watch_is_scaled() -> None:
    script = (
        "from hostwright.guest.watch import Limits; from hostwright.vm import console; "
        "print(Limits().question, Limits().busy, console.ECHO_TIMEOUT_S)"
    )
    environment = {"HOSTWRIGHT_TIME_FACTOR": "2", "PYTHONPATH": str(paths.TREE)}
    argv = [sys.executable, "-c", script]
    result = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "30.0 1800.0 40.0\n"


@pytest.mark.parametrize(("text", "factor"), [("", 1.0), ("1", 1.0), ("2.5", 2.5), ("0.5", 0.5)])
def test_a_factor_scales(monkeypatch: pytest.MonkeyPatch, text: str, factor: float) -> None:
    monkeypatch.setenv("HOSTWRIGHT_TIME_FACTOR", text)
    assert times.factor() == factor
    assert times.limit(10.0) == 10.0 * factor


@pytest.mark.parametrize("text", ["0", "-1", "slow", "nan", "inf", "1,5"])
def test_a_bad_factor_is_one_clear_error_of_the_task(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOSTWRIGHT_TIME_FACTOR", text)
    with pytest.raises(UserError, match=f"HOSTWRIGHT_TIME_FACTOR={text}: not a positive number"):
        times.factor()
    assert times.limit(10.0) == 10.0
    ran: list[str] = []
    error = define._guarded(lambda: ran.append("it"), counted=False)
    assert "not a positive number" in str(error)
    assert not ran
