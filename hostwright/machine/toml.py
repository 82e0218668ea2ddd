"""host.toml as a file: read with a size limit, parsed, and each mistake reported with its line."""

import re
import tomllib
from pathlib import Path

from hostwright.base import texts
from hostwright.base.errors import UserError
from hostwright.machine.grammar import BadValueError, Way

LARGEST_FILE_BYTES = 1 << 20


def read(path: Path) -> str:
    """The text of the file at `path`; raises UserError if it is missing, too large, no file or not UTF-8."""
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise UserError(f"{path}: this machine file {what}", _offer_files(path))
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise UserError(f"{path}: over 1 MiB, so not a machine file", "give the path of a host.toml")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise texts.not_utf8(str(path), error) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {reason}", "check the path and its permissions") from None


def _offer_files(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    found = sorted(str(each) for each in folder.glob("*.toml")) if folder.is_dir() else []
    return f"there is {', '.join(found)}" if found else "give the path of one, for example machine=host.toml"


def parse(path: Path, content: str) -> dict[str, object]:
    """The tables in `content`; raises UserError with line and column if it is not TOML."""
    hint = "correct the TOML there: text in double quotes, one `key = value` a line"
    try:
        return tomllib.loads(content)
    except RecursionError:
        raise UserError(
            f"{path}: not valid TOML: nested too deeply", "host.toml has no list inside a list"
        ) from None
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        numbers = re.findall(r"[0-9]+", place) or [str(content.count("\n") + 1)]
        raise UserError(f"{':'.join((str(path), *numbers))}: not valid TOML: {reason}", hint) from None
    except ValueError:
        raise UserError(f"{path}: not valid TOML: a number has too many digits", hint) from None


def explain(path: Path, content: str, error: BadValueError) -> UserError:
    """`error` as a message with file, line, key and value."""
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
    """The number of the line that names the longest part of `way`; 0 if none does.

    It reads headers and assignments only. For a key of an inline table it finds the table's line.
    """
    best, length = 0, 0
    table: Way = ()
    counts: dict[Way, int] = {}
    for number, row in enumerate(content.split("\n"), start=1):
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
    """The path of a header. `counts` holds the last index of each array of tables, and is updated."""
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
