"""A grammar for a TOML file, as data: its keys, how each is checked, what counts when it is missing.

    file -> read -> parse -> Section(raw) -> a value      a mistake -> BadValueError -> explain -> UserError

A check takes a value as TOML gives it and returns it as the engine wants it, or raises BadValueError.
`Section` and `sequence` make checks of checks and note the way down to the bad value.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Check = Callable[[object], Any]
Way = tuple[str | int, ...]


class BadValueError(Exception):
    """What is wrong with a value, what to do about it, and the way to it from the value that was checked.

    A `secret` value is not repeated in the message: what stands where a hash belongs may be a password.
    """

    def __init__(self, what: str, hint: str = "", way: Way = (), secret: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.way = way
        self.secret = secret

    def below(self, key: str | int, hint: str = "") -> "BadValueError":
        """The same mistake as seen from one level up; `hint` counts when there was none."""
        return BadValueError(self.what, self.hint or hint, (key, *self.way), self.secret)


@dataclass(frozen=True)
class Field:
    """One key: its check, an example line, the value that counts when it is left out, and its name in Python.

    `default` is a value as TOML gives it and is checked like one; None stays None.
    """

    check: Check
    example: str
    required: bool = False
    default: object = None
    into: str = ""


@dataclass(frozen=True)
class Section:
    """A check for a table: keys known, required keys there, values good; gives `build(**values)`."""

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


def sequence(check: Check, identity: Callable[[Any], object] = lambda item: item) -> Check:
    """A check for a list of what `check` accepts, no two of the same `identity`; gives a tuple."""

    def check_all(raw: object) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise BadValueError(f"must be a list, not {_kind(raw)}")
        first: dict[object, int] = {}
        items = []
        for index, each in enumerate(raw):
            try:
                item = check(each)
            except BadValueError as error:
                raise error.below(index) from None
            earlier = first.setdefault(identity(item), index)
            if earlier != index:
                raise BadValueError(
                    f"repeats entry [{earlier}]", "name it once; remove one of the two", (index,)
                )
            items.append(item)
        return tuple(items)

    return check_all


def sections(section: Section) -> Check:
    """A check for an array of tables. Two may be alike: the caller knows which key tells them apart."""
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
    """Any text but the empty one."""
    if not isinstance(raw, str):
        raise BadValueError(f"must be text in quotes, not {_kind(raw)}")
    if not raw:
        raise BadValueError("must not be empty")
    return raw


def line(raw: object) -> str:
    """One line of text without control characters."""
    if not text(raw).isprintable():
        raise BadValueError(
            "has a line break or a control character in it", "keep it to one line of plain text"
        )
    return text(raw)


def matching(pattern: str, what: str, hint: str) -> Check:
    """A check for text that matches `pattern` as a whole; `what` says the rule that is broken otherwise."""

    def check(raw: object) -> str:
        if not re.fullmatch(pattern, text(raw)):
            raise BadValueError(what, hint)
        return text(raw)

    return check


def integer(least: int, most: int, why: str = "") -> Check:
    """A check for a whole number from `least` to `most`; `why` gives the reason of the bounds."""

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
