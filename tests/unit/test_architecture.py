"""The house keeps its shape: imports point down, each outside library has one door, functions stay short."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostwright import paths

VOCABULARY = {
    *(
        "errors",
        "recipe",
        "schema",
        "values",
        "answers",
        "machine",
        "paths",
        "files",
        "run",
        "pool",
        "progress",
        "canonical",
    ),
}
DOORS = {
    "requests": "fetch",
    "jinja2": "render",
    "elftools": "elf",
    "subprocess": "run",
    "doit": "tasks",
    "qemu": "qmp",
    "vncdotool": "vnc",
    "twisted": "vnc",
    "PIL": "pictures",
    "paramiko": "ssh",
    "cryptography": "ssh",
}
LONGEST_FUNCTION = 45
HOST_NAME = re.compile(r"https?://(?!HOST\b|127\.0\.0\.1|localhost)[a-z0-9.-]+", re.IGNORECASE)


def modules() -> list[Path]:
    return sorted((paths.TREE / "hostwright").rglob("*.py"))


def room(file: Path) -> str:
    """The room that a file belongs to: its folder below hostwright/, or its own name."""
    return file.relative_to(paths.TREE / "hostwright").parts[0].removesuffix(".py")


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


def own_imports(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if name.startswith("hostwright.")}


@pytest.mark.parametrize("file", modules(), ids=room)
def test_each_outside_library_has_one_door(file: Path) -> None:
    for name in imports(file):
        library = name.split(".")[0]
        assert DOORS.get(library, room(file)) == room(file), f"{library} belongs into {DOORS[library]}"


@pytest.mark.parametrize("file", modules(), ids=room)
def test_imports_point_down(file: Path) -> None:
    here, used = room(file), own_imports(file)
    if here in VOCABULARY:
        assert used <= VOCABULARY
    if here != "tasks":
        assert "tasks" not in used


def test_no_circle_of_rooms() -> None:
    graph: dict[str, set[str]] = {}
    for file in modules():
        graph.setdefault(room(file), set()).update(own_imports(file) - {room(file)})
    while leaves := {name for name, used in graph.items() if not used & graph.keys()}:
        graph = {name: used for name, used in graph.items() if name not in leaves}
    assert not graph, f"rooms import each other: {graph}"


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


def test_every_room_stands_in_the_engines_page() -> None:
    page = (paths.TREE / "docs" / "engine.md").read_text().split("## The build root")[0]
    rooms = {room(file) for file in modules()} - {"__init__", "tasks"}
    assert rooms <= set(re.findall(r"`([a-z0-9_]+)`", page))
