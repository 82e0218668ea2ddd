"""Debian's control files: stanzas of fields, and the relations in them (deb822(5), Debian policy chapter 7)."""

import re
from collections.abc import Iterator

Stanza = dict[str, str]


def parse_stanzas(text: str) -> Iterator[Stanza]:
    """The paragraphs of a control file; continuation lines keep their newlines."""
    for block in re.split(r"\n\n+", text.strip("\n")):
        stanza: Stanza = {}
        key = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t"):
                stanza[key] += "\n" + line.strip()
            else:
                key, _, value = line.partition(":")
                stanza[key] = value.strip()
        if stanza:
            yield stanza


def dependencies(stanza: Stanza, field: str) -> list[list[str]]:
    """The package names in a relations field: one list of alternatives per relation, without versions."""
    groups = [group for group in stanza.get(field, "").replace("\n", " ").split(",") if group.strip()]
    return [
        [re.split(r"[\s(:\[]", word.strip(), maxsplit=1)[0] for word in group.split("|")] for group in groups
    ]
