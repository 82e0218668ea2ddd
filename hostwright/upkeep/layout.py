"""The text of a recipe's file, in the layout of `ruff format`; pure."""

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass

from hostwright.base.pin import Pin
from hostwright.recipe import Recipe

WIDTH = 110


def render_recipe(value: Recipe, sentence: str, comment: str = "") -> str:
    """The file of a recipe; `sentence` completes its docstring, `comment` is above its build.

    Further sources become a constant of their own, which keeps the value short.
    """
    kinds = sorted({type(value.build).__name__, "Recipe", "Source"})
    extra = ["EXTRA = (", *_exploded(value.extra), ")", ""] if value.extra else []
    lines = [
        f'"""{value.name}: {sentence}"""',
        "",
        f"from hostwright.recipe import {', '.join(kinds)}",
        "",
        *extra,
        "RECIPE = Recipe(",
        *(f"    {one.name}={_text(getattr(value, one.name))}," for one in fields(value)[:4]),
        *_lines("source=", value.source, 4),
        *(["    extra=EXTRA,"] if value.extra else []),
        *_lines("needs=", value.needs, 4),
        *([f"    # {comment}"] if comment else []),
        *_lines("build=", value.build, 4),
        ")",
    ]
    return "\n".join(lines) + "\n"


def _exploded(values: Sequence[object]) -> list[str]:
    return [line for one in values for line in _lines("", one, 4)]


def _lines(prefix: str, value: object, indent: int) -> list[str]:
    """A value as an argument: on one line if it fits, otherwise over several lines."""
    blanks = " " * indent
    flat = f"{blanks}{prefix}{_text(value)},"
    if len(flat) <= WIDTH or isinstance(value, str):
        return [flat]
    if isinstance(value, tuple):
        inner = [f"{blanks}    {line}," for line in _groups(value, WIDTH - indent - 5)]
        return [f"{blanks}{prefix}(", *inner, f"{blanks}),"]
    inner = [line for name, one in _arguments(value) for line in _lines(name, one, indent + 4)]
    return [f"{blanks}{prefix}{_kind(value)}(", *inner, f"{blanks}),"]


def _groups(words: Sequence[str], width: int) -> list[str]:
    """Words in groups of one line each, `*("a", "b")`."""
    groups: list[list[str]] = [[]]
    for word in words:
        if groups[-1] and len(f"*{_text((*groups[-1], word))}") > width:
            groups.append([])
        groups[-1].append(word)
    return [f"*{_text(tuple(group))}" if len(group) > 1 else _text(group[0]) for group in groups]


def _text(value: object) -> str:
    """A value on one line, in the quotes that need fewer backslashes."""
    if isinstance(value, str):
        quote = "'" if value.count('"') > value.count("'") else '"'
        return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    return f"{_kind(value)}({', '.join(name + _text(one) for name, one in _arguments(value))})"


def _kind(value: object) -> str:
    """The name of a value's class, as recipes spell it."""
    return "Source" if isinstance(value, Pin) else type(value).__name__


def _arguments(value: object) -> list[tuple[str, object]]:
    """The arguments that make a value, without defaults; the first is positional."""
    assert is_dataclass(value) and not isinstance(value, type)
    given = [(one, getattr(value, one.name)) for one in fields(value)]
    return [
        ("" if place == 0 and one.default is MISSING else f"{one.name}=", what)
        for place, (one, what) in enumerate((one, what) for one, what in given if what != one.default)
    ]
