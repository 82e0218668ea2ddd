"""What the engine's code says, apart from its comments: which modules run, and a digest of each.

    function --find_modules()--> the modules that it runs, by the imports in them --digest()--> one text

A module counts by its syntax tree without docstrings, so that a comment or another layout changes nothing, whatever
the version of Python. Files that a module names by a string count with it: templates, scripts, tables.
"""

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import canonical, files, paths

ENGINE = paths.TREE / "hostwright"
# Where the files lie that modules name.
DATA = (ENGINE, paths.GUEST)
# Differs between versions of Python, or says nothing about what runs.
_SKIPPED = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}


@dataclass(frozen=True)
class Module:
    """A module below hostwright: the digest of its code, the modules that it imports, the files that it names."""

    digest: str
    imports: tuple[str, ...]
    data: tuple[str, ...]


def dump(node: object) -> object:
    """A syntax tree as plain lists; fields that are empty or say nothing are left out."""
    if isinstance(node, ast.AST):
        fields = [
            (name, dump(value))
            for name, value in ast.iter_fields(node)
            if name not in _SKIPPED and value is not None and value != []
        ]
        return [type(node).__name__, *fields]
    if isinstance(node, list):
        return [dump(one) for one in node]
    return repr(node)


def without_docstrings(tree: ast.AST) -> ast.AST:
    """The tree, changed in place: texts that stand alone are taken out."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [one for one in body if not _is_text(one)]
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def read(text: str) -> Module:
    """What the source text of a module says."""
    tree = without_docstrings(ast.parse(text))
    runs = list(_running(tree))
    names = {node.value for node in runs if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    data = sorted(names & data_files().keys())
    return Module(canonical.digest(dump(tree)), tuple(sorted(set(_imports(runs)))), tuple(data))


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        left += [] if is_for_types else ast.iter_child_nodes(node)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hostwright":
            for alias in node.names:
                yield module_of(f"{node.module}.{alias.name}")


def module_of(name: str) -> str:
    """The module, named below hostwright, that `from package import name` means by package.name."""
    below = name.removeprefix("hostwright.")
    return below if file_of(below).exists() else below.rpartition(".")[0]


def file_of(module: str) -> Path:
    """The file of a module that is named below hostwright."""
    return ENGINE.joinpath(*module.split(".")).with_suffix(".py")


@functools.cache
def data_files() -> dict[str, Path]:
    """The files that modules may name, by their names; no two have the same."""
    found = [file for folder in DATA for file in folder.rglob("*") if file.suffix not in (".py", ".pyc")]
    return {file.name: file for file in sorted(found) if file.is_file()}


class Engine:
    """All modules as they are now; what was read once is taken from `memory`, a file, until it changes."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[object]] = files.read_json(memory)
        self._modules: dict[str, Module] = {}
        self._is_new = False

    def module(self, name: str) -> Module:
        """The module of this name below hostwright."""
        if name not in self._modules:
            self._modules[name] = self._find(name)
        return self._modules[name]

    def _find(self, name: str) -> Module:
        marks = files.marks(file_of(name))
        match self._known.get(name):
            case [kept, str(digest), list(imports), list(data)] if kept == marks:
                return Module(digest, tuple(imports), tuple(data))
        found = read(file_of(name).read_text())
        self._known[name] = [marks, found.digest, list(found.imports), list(found.data)]
        self._is_new = True
        return found

    def closure(self, names: Iterable[str]) -> list[str]:
        """The modules of these names and all that they import, sorted."""
        found: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name and name not in found:
                found.add(name)
                left += self.module(name).imports
        return sorted(found)

    def text(self, names: Iterable[str]) -> str:
        """What decides the run of these modules: their code, that of all they import, and the files they name."""
        modules = {name: self.module(name) for name in self.closure(names)}
        data = sorted({file for module in modules.values() for file in module.data})
        self._save()
        digests = {name: module.digest for name, module in modules.items()}
        return canonical.text([digests, {name: files.digest(data_files()[name]) for name in data}])

    def _save(self) -> None:
        """Keep what was read, but never make the folder: a run that ends at once leaves nothing behind."""
        if self._is_new and self._memory.parent.is_dir():
            files.write(self._memory, canonical.text(self._known))
            self._is_new = False


@functools.cache
def engine() -> Engine:
    """The engine of this tree."""
    return Engine(paths.CODE)


@dataclass(frozen=True)
class Action:
    """A function of the wiring: its own code, and the modules of the engine that it starts from."""

    digest: str
    modules: tuple[str, ...]


def find_action(act: Callable[..., object]) -> Action:
    """The code of `act`, of the functions beside it that it uses, and the engine's modules that those name.

    Modules of the wiring itself are left out: what they hand over are values, which count by themselves.
    """
    function = getattr(act, "func", act)
    source = file_of(module_of(f"{function.__module__}.x"))
    return _find_action(source, function.__qualname__.split(".")[0])


@functools.cache
def _find_action(source: Path, name: str) -> Action:
    tree = ast.parse(source.read_text())
    without_docstrings(tree)
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imported = {local: module for node in tree.body for local, module in _bound(node)}
    used, left = dict[str, ast.AST](), [name]
    modules: set[str] = set()
    while left:
        one = left.pop()
        if one in defined and one not in used:
            used[one] = defined[one]
            nodes = list(_running(defined[one]))
            names = {node.id for node in nodes if isinstance(node, ast.Name)}
            inner = {local: module for node in nodes for local, module in _bound(node)}
            left += names
            modules |= {(imported | inner)[local] for local in names & (imported | inner).keys()}
    digest = canonical.digest(*(dump(used[one]) for one in sorted(used)))
    return Action(digest, tuple(sorted(one for one in modules if not one.startswith("tasks"))))


def _bound(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that an import of the engine binds, each with the module that it comes from."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hostwright":
        for alias in node.names:
            yield alias.asname or alias.name, module_of(f"{node.module}.{alias.name}")
