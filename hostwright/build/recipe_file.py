"""One file of recipes/, read and checked: a mistake in it is one error with its file, line and remedy.

recipes/<name>.py --import--> RECIPE --check, by the types that hostwright.recipe declares--> Recipe
"""

import ast
import difflib
import importlib
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, get_args, get_origin, get_type_hints

from hostwright.base import paths, texts
from hostwright.base.errors import UserError
from hostwright.recipe import Recipe, Source

_PATTERN = "write RECIPE = Recipe(...) as docs/recipes.md shows it"
# Values that only some texts can have, by the field's name.
_FORMS = {
    "name": (r"[a-z0-9][a-z0-9+.-]*", "a name has only a-z, 0-9, +, . and -"),
    "version": (r"[0-9A-Za-z][0-9A-Za-z.+~-]*", "write the version as upstream does"),
    "sha256": (r"[0-9a-f]{64}", "write the 64 hexadecimal digits that sha256sum prints"),
    "path": (r"[A-Za-z0-9][!-~]*", "write the path below the archive, pool/..."),
    "view": (r"target|tools", 'write "target" or "tools"'),
}


class NoRecipeError(UserError):
    """There is no recipe of this name."""


def recipe_file(name: str) -> Path:
    """The file of a package's recipe; '-' in a package name is '_' in the file's."""
    return paths.RECIPES / f"{name.replace('-', '_')}.py"


def read(name: str, known: Iterable[str]) -> Recipe:
    """The RECIPE of recipes/<name>.py; UserError if it is missing, cannot be read, or is not a whole recipe."""
    file = recipe_file(name)
    if not file.is_file():
        hint = f"add {texts.plain(texts.name_file(file))} (./doit add drafts one){_nearest(name, known)}"
        raise NoRecipeError(f"there is no recipe {texts.show(name)}", hint)
    try:
        module = importlib.import_module(f"recipes.{file.stem}")
    except OSError as error:
        if _line_in(file, error.__traceback__):
            raise _mistake(file, error) from error
        raise
    except Exception as error:
        raise _mistake(file, error) from error
    return _check(file, name, getattr(module, "RECIPE", None))


def place(file: Path, word: str) -> str:
    """Where a recipe writes `word` in quotes: file and line, or the file alone."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    found = re.search(rf"[\"']{re.escape(word)}[\"']", text)
    return (
        f"{texts.name_file(file)}:{text.count(chr(10), 0, found.start()) + 1}"
        if found
        else texts.name_file(file)
    )


def no_need(file: Path, need: str, known: Iterable[str]) -> UserError:
    """The error for a need that has no recipe."""
    hint = f"correct the name in needs, or add {texts.plain(texts.name_file(recipe_file(need)))}{_nearest(need, known)}"
    return UserError(f"{place(file, need)}: there is no recipe {texts.show(need)} to need", hint)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:100], list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _mistake(file: Path, error: Exception) -> UserError:
    """What happened while the file was imported, with its line. Names of variables and values are the recipe's own."""
    if isinstance(error, SyntaxError):
        line, what = error.lineno or 0, f"not valid Python: {error.msg}"
    else:
        line, what = _line_in(file, error.__traceback__), f"{type(error).__name__}: {error}"
    where = f"{texts.name_file(file)}:{line}" if line else texts.name_file(file)
    return UserError(f"{where}: {what}", f"correct the recipe there; {_PATTERN}")


def _line_in(file: Path, trace: TracebackType | None) -> int:
    """The innermost line of `file` in a traceback; 0 without one."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _check(file: Path, name: str, value: object) -> Recipe:
    if not isinstance(value, Recipe):
        what = (
            "there is no RECIPE in it"
            if value is None
            else f"RECIPE is a {type(value).__name__}, not a Recipe"
        )
        raise UserError(f"{texts.name_file(file)}: {what}", _PATTERN)
    for keyword, what, hint in _wrong(value):
        raise UserError(f"{_keyword_place(file, keyword)}: {keyword} {what}", hint)
    if recipe_file(value.name) != file:
        hint = f'write name="{name}", or rename the file to {recipe_file(value.name).name}'
        raise UserError(
            f"{_keyword_place(file, 'name')}: the name {texts.show(value.name)} is not the file's", hint
        )
    return value


def _keyword_place(file: Path, keyword: str) -> str:
    """File and line of the first `keyword=` of a recipe, or of RECIPE where it is written by its position."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    lines = [one.value.lineno for node in calls for one in node.keywords if one.arg == keyword]
    line = min(lines or [node.lineno for node in calls], default=0)
    return f"{texts.name_file(file)}:{line}" if line else texts.name_file(file)


def _wrong(value: Any) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401 - any of the values of hostwright.recipe
    """The fields of a value and of those in it that have another type than declared, or a text that cannot be."""
    for name, (kind, default) in _kinds(value.__class__).items():
        here = getattr(value, name)
        if not _fits(here, kind):
            yield (
                name,
                f"must be {_name_kind(kind)}, not {texts.show(repr(here))}",
                f"correct {name}; {_PATTERN}",
            )
        elif here != default and name in _FORMS and not re.fullmatch(_FORMS[name][0], here):
            yield name, f"cannot be {texts.show(here)}", _FORMS[name][1]
        else:
            for inner in here if isinstance(here, tuple) else (here,):
                yield from _wrong(inner) if is_dataclass(inner) else ()


@cache
def _kinds(kind: Any) -> dict[str, tuple[Any, object]]:  # noqa: ANN401 - a class of hostwright.recipe
    """The type and the default of each field."""
    hints = get_type_hints(kind)
    return {field.name: (hints[field.name], field.default) for field in fields(kind)}


def _fits(value: object, kind: Any) -> bool:  # noqa: ANN401 - a type, a union, or tuple[type, ...]
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(one, get_args(kind)[0]) for one in value)
    return isinstance(value, kind)


def _name_kind(kind: Any) -> str:  # noqa: ANN401 - as above
    if get_origin(kind) is tuple:
        return 'a tuple of texts, as in ("one",)' if get_args(kind)[0] is str else "a tuple of Source(...)"
    if isinstance(kind, types.UnionType):
        return f"one of {', '.join(one.__name__ for one in get_args(kind))}"
    names: dict[Any, str] = {str: "a text in quotes", int: "a whole number", Source: "a Source(...)"}
    return names[kind]
