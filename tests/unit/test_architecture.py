"""The house keeps its shape: imports point down, each outside library has one door, functions stay short."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from hostwright.base import paths

LONGEST_FUNCTION = 45
HOST_NAME = re.compile(r"https?://(?!HOST\b|127\.0\.0\.1|localhost)[a-z0-9.-]+", re.IGNORECASE)


def modules() -> list[Path]:
    return sorted((paths.TREE / "hostwright").rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every imported module of a file, imports inside functions included; names of hostwright in full."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "hostwright":
                yield from (f"hostwright.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_recipes_import_the_vocabulary_alone() -> None:
    for file in paths.RECIPES.glob("*.py"):
        assert set(imports(file)) <= {"hostwright.recipe"}, file


def functions() -> list[tuple[str, int]]:
    found = []
    for file in [*modules(), paths.TREE / "dodo.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                found.append((f"{file.name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1))
    return found


def test_functions_are_short() -> None:
    sizes = functions()
    assert [name for name, lines in sizes if lines > LONGEST_FUNCTION] == []
    assert statistics.median(lines for _, lines in sizes) < 10


def test_dodo_holds_no_logic() -> None:
    tree = ast.parse((paths.TREE / "dodo.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            assert len(node.body) == 2, f"{node.name}: a docstring and one call"


def test_no_package_archive_is_named() -> None:
    """Sources are pool paths; which archive they come from is the machine's own affair."""
    for file in [*paths.RECIPES.glob("*.py"), *modules(), *(paths.TREE / "buildroot").iterdir()]:
        text = "\n".join(line for line in file.read_text().splitlines() if "home=" not in line)
        assert not [name for name in HOST_NAME.findall(text) if "debian" in name or "mirror" in name], file
