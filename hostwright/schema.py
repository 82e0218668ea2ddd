"""A grammar for a TOML file, as data: its keys, how each is checked, what counts when it is missing.

    file -> read -> parse -> Section(raw) -> a value      a mistake -> BadValueError -> explain -> UserError

A check takes a value as TOML gives it and returns it as the engine wants it, or raises BadValueError.
`Section` and `sequence` make checks of checks and note the way down to the bad value.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostwright.base.errors import UserError

LARGEST_FILE_BYTES = 1 << 20

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


def read(path: Path) -> str:
    """The text of the file at `path`; raises UserError when it is missing, no file, too large or no UTF-8."""
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise UserError(f"{path}: this machine file {what}", _offer_files(path))
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise UserError(f"{path}: over 1 MiB, so not a machine file", "give the path of a host.toml")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        what = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
        raise UserError(f"{path}:{number}: {what}", "save the file as UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {reason}", "check the path and its permissions") from None


def _offer_files(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    found = sorted(str(each) for each in folder.glob("*.toml")) if folder.is_dir() else []
    return f"there is {', '.join(found)}" if found else "give the path of one, for example machine=host.toml"


def parse(path: Path, content: str) -> dict[str, object]:
    """The tables in `content`; raises UserError with line and column when it is not TOML."""
    hint = "correct the TOML there: text in double quotes, one `key = value` a line"
    try:
        return tomllib.loads(content)
    except RecursionError:
        raise UserError(f"{path}: not valid TOML: nested too deeply", "it needs no list in a list") from None
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        numbers = re.findall(r"[0-9]+", place) or [str(content.count("\n") + 1)]
        raise UserError(f"{':'.join((str(path), *numbers))}: not valid TOML: {reason}", hint) from None
    except ValueError:
        raise UserError(f"{path}: not valid TOML: a number has too many digits", hint) from None


def explain(path: Path, content: str, error: BadValueError) -> UserError:
    """`error` as a message that names file, line, key and value."""
    number = _find_line(content, error.way)
    where = f"{path}:{number}" if number else str(path)
    value = None if error.secret else _value_at(tomllib.loads(content), error.way)
    shown = f" = {_as_toml(value)}" if isinstance(value, bool | int | float | str) else ""
    return UserError(f"{where}: {_key_name(error.way)}{shown}: {error.what}", error.hint)


def _value_at(raw: object, way: Way) -> object:
    for part in way:
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
    return raw


def _key_name(way: Way) -> str:
    """`device[1].address` for ("device", 1, "address")."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_as_key(part)}" for part in way]
    return "".join(parts).removeprefix(".")


def _as_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) else _as_toml(key)


def _as_toml(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 128:
        # Python refuses to print more than 4300 digits, but tomllib reads a hexadecimal number of any length.
        return f"a number of {value.bit_length()} bits"
    if not isinstance(value, str):
        return str(value)
    shown = value if len(value) <= 100 else f"{value[:80]}...{value[-10:]}"
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in shown) + '"'


def _find_line(content: str, way: Way) -> int:
    """The number of the line that names the longest part of `way`; 0 when none does.

    It reads headers and assignments only. That misses a key of an inline table, and then names its table.
    """
    best, length = 0, 0
    table: Way = ()
    counts: dict[Way, int] = {}
    for number, row in enumerate(content.splitlines(), start=1):
        head = row.strip()
        if head.startswith("["):
            place = table = _header_way(head, counts)
        else:
            place = (*table, *_key_parts(row.partition("=")[0]))
        common = min(len(place), len(way))
        if common > length and place[:common] == way[:common]:
            best, length = number, common
    return best


def _header_way(head: str, counts: dict[Way, int]) -> Way:
    """Where a header leads; `counts` has the index of the last table of each array so far, and is kept."""
    *above, last = _key_parts(head.lstrip("[").partition("]")[0])
    way: Way = ()
    for part in above:
        way = (*way, part)
        way = (*way, counts[way]) if way in counts else way
    way = (*way, last)
    if not head.startswith("[["):
        return way
    counts[way] = counts.get(way, -1) + 1
    return (*way, counts[way])


def _key_parts(dotted: str) -> Way:
    return tuple(part.strip(" \t\"'") for part in dotted.split("."))
