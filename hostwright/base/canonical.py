"""A value as one line of JSON that stands for what it says, not for how the program writes it down.

    frozen dataclass --text()--> {"field":value,...}     fields sorted; one that has its default is left out

A new field with a default, another order of fields and another name of the class leave the text as it was. Keys and
ids are made of such texts, so that they only change when what they name does.
"""

import hashlib
import json
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def text(value: object) -> str:
    """`value` as canonical JSON: dataclasses, sequences, mappings, texts, numbers, truth values and None.

    Raises TypeError for anything else: a path or a set has no content that is the same on every machine.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*values: object) -> str:
    """The sha256 over the canonical text of `values`, as hex digits."""
    return hashlib.sha256(text(values).encode()).hexdigest()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        given = {one.name: getattr(value, one.name) for one in fields(value)}
        return {
            one.name: _plain(given[one.name])
            for one in fields(value)
            if not _is_default(one, given[one.name])
        }
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical text")


def _is_default(field: Field[Any], value: object) -> bool:
    if field.default_factory is not MISSING:
        return bool(value == field.default_factory())
    return field.default is not MISSING and bool(value == field.default)
