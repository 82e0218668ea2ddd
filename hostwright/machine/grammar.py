"""A grammar for a TOML file, as data: its keys, their checks and their defaults.

    file -> read -> parse -> Section(raw) -> a value      a mistake -> BadValueError -> explain -> UserError

A check takes a value as TOML gives it and returns it in the engine's form, or raises BadValueError.
`Section` and `sequence` combine checks and record the path to the bad value.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Check = Callable[[object], Any]
Way = tuple[str | int, ...]


class BadValueError(Exception):
    """A bad value: what is wrong (`what`), what to do (`hint`), and its path below the checked value (`way`).

    The message does not repeat a `secret` value: a password may stand where a hash belongs.
    """

    def __init__(self, what: str, hint: str = "", way: Way = (), secret: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.way = way
        self.secret = secret

    def below(self, key: str | int, hint: str = "") -> "BadValueError":
        """The same mistake, seen from one level up; `hint` applies if there is none yet."""
        return BadValueError(self.what, self.hint or hint, (key, *self.way), self.secret)


@dataclass(frozen=True)
class Field:
    """One key: its check, an example line, its default, and its name in Python.

    `default` is a value as TOML gives it, and is checked like one; None stays None.
    """

    check: Check
    example: str
    required: bool = False
    default: object = None
    into: str = ""


@dataclass(frozen=True)
class Section:
    """A check for a table: no unknown key, every required key, good values; returns `build(**values)`."""

    build: Callable[..., Any]
    fields: Mapping[str, Field]

    def __call__(self, raw: object) -> Any:  # noqa: ANN401 - it is what `build` gives
        if not isinstance(raw, dict):
            raise BadValueError(f"must be one table, not {_kind(raw)}")
        for key in raw:
            if key not in self.fields:
                raise BadValueError("unknown key", nearest(key, self.fields), (key,))
        values = {field.into or key: _check_field(key, field, raw) for key, field in self.fields.items()}
        return self.build(**values)


def _check_field(key: str, field: Field, raw: dict[str, object]) -> object:
    if key not in raw and field.required:
        raise BadValueError("missing", f"add a line such as: {field.example}", (key,))
    value = raw.get(key, field.default)
    if value is None:
        return None
    try:
        return field.check(value)
    except BadValueError as error:
        raise error.below(key, f"for example: {field.example}") from None


def _itself(item: object) -> object:
    return item


@dataclass(frozen=True)
class Items:
    """A check for a list of values that pass `check`, no two of the same `identity`; returns a tuple."""

    check: Check
    identity: Callable[[Any], object] = _itself

    def __call__(self, raw: object) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise BadValueError(f"must be a list, not {_kind(raw)}")
        first: dict[object, int] = {}
        items = []
        for index, each in enumerate(raw):
            try:
                item = self.check(each)
            except BadValueError as error:
                raise error.below(index) from None
            earlier = first.setdefault(self.identity(item), index)
            if earlier != index:
                hint = "name it once; remove one of the two"
                raise BadValueError(f"repeats entry [{earlier}]", hint, (index,))
            items.append(item)
        return tuple(items)


def sequence(check: Check, identity: Callable[[Any], object] = _itself) -> Check:
    """A check for a list of values that pass `check`, no two of the same `identity`; returns a tuple."""
    return Items(check, identity)


def sections(section: Section) -> Check:
    """A check for an array of tables. Two may be equal: the caller knows which keys must be unique."""
    return sequence(section, identity=id)


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number with a fraction",
    str: "text",
    list: "a list",
    dict: "a table",
}


def _kind(raw: object) -> str:
    return _KINDS.get(type(raw), "a date or time")


def text(raw: object) -> str:
    """Any text that is not empty."""
    if not isinstance(raw, str):
        raise BadValueError(f"must be text in quotes, not {_kind(raw)}")
    if not raw:
        raise BadValueError("must not be empty")
    return raw


def line(raw: object) -> str:
    """One line of text without control characters."""
    if not text(raw).isprintable():
        raise BadValueError(
            "contains a line break or a control character", "keep it to one line of plain text"
        )
    return text(raw)


def matching(pattern: str, what: str, hint: str) -> Check:
    """A check for text that matches `pattern` as a whole; `what` states the rule for the message."""

    def check(raw: object) -> str:
        if not re.fullmatch(pattern, text(raw)):
            raise BadValueError(what, hint)
        return text(raw)

    return check


def integer(least: int, most: int, why: str = "") -> Check:
    """A check for an integer from `least` to `most`; `why` explains the bounds in the message."""

    def check(raw: object) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool):
            raise BadValueError(f"must be a whole number, not {_kind(raw)}")
        if not least <= raw <= most:
            reason = f" ({why})" if why else ""
            raise BadValueError(f"out of range{reason}", f"write a whole number from {least} to {most}")
        return raw

    return check


def boolean(raw: object) -> bool:
    """true or false."""
    if not isinstance(raw, bool):
        raise BadValueError(f"must be true or false, not {_kind(raw)}", "write true or false, without quotes")
    return raw


def one_of(*known: str) -> Check:
    """A check for one of the `known` words."""

    def check(raw: object) -> str:
        if text(raw) not in known:
            raise BadValueError("no such choice", nearest(text(raw), known))
        return text(raw)

    return check


def nearest(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """A hint that names the known word nearest to `word`, and all of them."""
    near = difflib.get_close_matches(word[:100].lower(), known, n=1, cutoff=0.5)
    question = f'did you mean "{near[0]}"? ' if near else ""
    return f"{question}known here: {', '.join(known)}"
