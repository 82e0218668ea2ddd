"""Debian's version numbers: their order, and the upstream release in them; pure.

    [epoch:]upstream[-revision] --> a sort key; the number that upstream gave

Order and form: Debian Policy, 5.6.12.
"""

import re

Key = tuple[int, tuple[tuple[tuple[int, ...], int], ...], tuple[tuple[tuple[int, ...], int], ...]]

# The archive's suffix for a tarball that it repacked, and everything after it.
_REPACKED = re.compile(r"[.+~](?:dfsg|ds|debian|repack(?:ed|aged)?)(?![a-z]).*$")


def key(version: str) -> Key:
    """A sort key: versions sort as their keys do."""
    epoch, upstream, revision = _split(version)
    return int(epoch), _part(upstream), _part(revision or "0")


def upstream(version: str) -> str:
    """The number without epoch and revision, as in the name of the source tarball."""
    return _split(version)[1]


def released(version: str) -> str:
    """The number that upstream released, without the archive's own marks.

    `+dfsg`, `+ds` and the like describe the tarball. The number before `+really` only serves the order.
    """
    return _REPACKED.sub("", re.sub(r"^.*[+~.]really\.?", "", upstream(version)))


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.rpartition(":")
    if colon and not epoch.isdecimal():
        epoch, rest = "0", version
    name, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return epoch or "0", name, revision


def _part(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Alternating non-digits and digits; both are empty at the end."""
    return tuple((_order(word), int(number or 0)) for word, number in re.findall(r"([^0-9]*)([0-9]*)", text))


def _order(word: str) -> tuple[int, ...]:
    """`~` comes before the end, the end before letters, and letters before everything else."""
    return (*(-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in word), 0)
