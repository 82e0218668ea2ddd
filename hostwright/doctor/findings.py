"""What can stand in the way of a device, as text: the one set that every view and check of devices shares.

findings.toml --load--> Rule --find--> Finding     doctor, the refusals of a build
                          \\--> templates of `guest check`
"""

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "findings.toml"


class Severity(Enum):
    """RED: it does not work. YELLOW: once the remedy is done, or at a price. NOTE: good to know."""

    RED = "red"
    YELLOW = "yellow"
    NOTE = "note"


@dataclass(frozen=True)
class Rule:
    """A finding before it is about something: `text` and `remedy` with {placeholders}."""

    id: str
    severity: Severity
    text: str
    remedy: str

    @property
    def placeholders(self) -> frozenset[str]:
        """The names in braces."""
        both = string.Formatter().parse(self.text + self.remedy)
        return frozenset(name for _, name, _, _ in both if name)


@dataclass(frozen=True)
class Finding:
    """A rule that applies, in words."""

    rule: str
    severity: Severity
    text: str
    remedy: str


@cache
def load() -> Mapping[str, Rule]:
    """All rules by their id, in the order of the file."""
    raw = tomllib.loads(FILE.read_text())
    return {id: Rule(id, Severity(one["severity"]), one["text"], one["remedy"]) for id, one in raw.items()}


def find(rule: str, **values: object) -> Finding:
    """The finding that a rule makes with these values; KeyError where one is missing."""
    found = load()[rule]
    words = {name: str(value) for name, value in values.items()}
    return Finding(rule, found.severity, found.text.format_map(words), found.remedy.format_map(words))
