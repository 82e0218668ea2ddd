"""The engine keeps its shape: imports go to lower layers, each outside library has one module, functions stay short."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostwright.base import paths

ENGINE = paths.TREE / "hostwright"
# From the lowest layer up. A package imports from those below, and from itself.
LAYERS = (
    ("base",),
    ("recipe", "formats", "machine"),
    ("source", "pci"),
    ("sandbox", "doctor"),
    ("build", "vm"),
    ("image",),
    ("guest", "proof"),
    ("upkeep", "updates"),
    ("torture",),
    ("tasks",),
)
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}
# The one module that may import a library.
OWNERS = {
    "requests": "source.transfer",
    "jinja2": "image.templates",
    "elftools": "formats.elf",
    "packaging": "formats.spdx",
    "subprocess": "base.run",
    "doit": "tasks",
    "qemu": "vm.monitor",
    # A tool of the tests alone: no module of this name exists.
    "vncdotool": "tests",
    "twisted": "tests",
    "PIL": "vm.pictures",
    "paramiko": "vm.login",
    "cryptography": "vm.login",
}
LONGEST_FUNCTION, MEDIAN_FUNCTION = 40, 6
LONGEST_MODULE, LARGEST_PACKAGE = 350, 15
DOCUMENTED = 0.95
HOST_NAME = re.compile(r"https?://(?!HOST\b|127\.0\.0\.1|localhost)[a-z0-9.-]+", re.IGNORECASE)


def modules() -> list[Path]:
    return sorted(file for file in ENGINE.rglob("*.py") if file.name != "__init__.py")


def dotted(file: Path) -> str:
    """The name of a module below hostwright."""
    return ".".join(file.relative_to(ENGINE).with_suffix("").parts)


def package(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def packages() -> list[Path]:
    return sorted(file.parent for file in ENGINE.glob("*/__init__.py"))


def imports(file: Path) -> Iterator[str]:
    """Every import of a file in full, `from a import b` as a.b; imports inside functions are included."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(file: Path) -> set[str]:
    """The modules of the engine that a file imports, named below hostwright."""
    return {
        name if ENGINE.joinpath(*name.split(".")).with_suffix(".py").exists() else name.rpartition(".")[0]
        for name in (
            full.removeprefix("hostwright.") for full in imports(file) if full.startswith("hostwright.")
        )
    }


@pytest.mark.parametrize("file", modules(), ids=dotted)
def test_imports_go_to_lower_layers(file: Path) -> None:
    here = package(dotted(file))
    used = {package(name) for name in own_imports(file)} - {here}
    assert [name for name in used if LAYER[name] >= LAYER[here]] == []


@pytest.mark.parametrize("file", modules(), ids=dotted)
def test_each_outside_library_has_one_module(file: Path) -> None:
    for name in imports(file):
        owner = OWNERS.get(package(name), dotted(file))
        assert dotted(file) == owner or package(dotted(file)) == owner, f"{name} belongs into {owner}"


def test_no_circle_of_modules() -> None:
    graph = {dotted(file): own_imports(file) for file in modules()}
    while leaves := {name for name, used in graph.items() if not used & graph.keys()}:
        graph = {name: used for name, used in graph.items() if name not in leaves}
    assert graph == {}


def test_every_package_has_a_layer_and_a_charter() -> None:
    assert {one.name for one in packages()} | {"recipe"} == LAYER.keys()
    for one in packages():
        tree = ast.parse((one / "__init__.py").read_text())
        assert ast.get_docstring(tree) and len(tree.body) == 1, f"{one.name}/__init__.py is one docstring"


def test_the_engines_page_lists_the_packages_in_order() -> None:
    page = (paths.TREE / "docs" / "engine.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `([a-z]+)(?:\.py)?` \| (.*) \|$", page, re.M)
    charters = {
        one.name: ast.get_docstring(ast.parse((one / "__init__.py").read_text())) for one in packages()
    }
    charters["recipe"] = "The words of a recipe, and all that recipes may import."
    assert rows == [
        (str(number), name, charters[name]) for number, names in enumerate(LAYERS, 1) for name in names
    ]


def test_packages_and_modules_stay_small() -> None:
    assert [one.name for one in packages() if len([*one.glob("*.py")]) - 1 > LARGEST_PACKAGE] == [], (
        f"more than {LARGEST_PACKAGE} modules"
    )
    sizes = {dotted(file): len(file.read_text().splitlines()) for file in modules()}
    assert {name: lines for name, lines in sizes.items() if lines > LONGEST_MODULE} == {}


def test_recipes_import_the_vocabulary_alone() -> None:
    for file in paths.RECIPES.glob("*.py"):
        assert {name.rpartition(".")[0] for name in imports(file)} <= {"hostwright.recipe"}, file


def definitions() -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for file in [*modules(), paths.TREE / "dodo.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield f"{file.relative_to(paths.TREE)}:{node.name}", node


def test_functions_are_short() -> None:
    sizes = {
        name: (node.end_lineno or 0) - node.lineno + 1
        for name, node in definitions()
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in sizes.items() if lines > LONGEST_FUNCTION} == {}
    assert statistics.median(sizes.values()) <= MEDIAN_FUNCTION


def public_definitions(body: list[ast.stmt], where: str) -> Iterator[tuple[str, bool]]:
    """The public functions, classes and methods of a module, and whether each has a docstring."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{where}.{node.name}", ast.get_docstring(node) is not None
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{where}.{node.name}")


def test_what_is_public_is_documented() -> None:
    found = dict(
        one
        for file in modules()
        for one in public_definitions(ast.parse(file.read_text()).body, dotted(file))
    )
    missing = sorted(name for name, is_documented in found.items() if not is_documented)
    assert len(missing) <= (1 - DOCUMENTED) * len(found), missing


def test_dodo_holds_no_logic() -> None:
    text = (paths.TREE / "dodo.py").read_text()
    _, *rest = ast.parse(text).body
    entries = [ast.unparse(node) for node in rest if not isinstance(node, ast.ImportFrom)]
    assert entries[0] == "DOIT_CONFIG = host.CONFIG"
    assert all(
        re.fullmatch(r"task_([a-z_]+) = listed\(lambda: [a-z]+\.\1_?\)", entry) for entry in entries[1:]
    )
    assert len(text.splitlines()) <= 80


def test_no_package_archive_is_named() -> None:
    """Sources are pool paths; which archive they come from is the machine's own affair."""
    for file in [*paths.RECIPES.glob("*.py"), *modules(), *(paths.TREE / "buildroot").iterdir()]:
        text = "\n".join(line for line in file.read_text().splitlines() if "home=" not in line)
        assert not [name for name in HOST_NAME.findall(text) if "debian" in name or "mirror" in name], file
