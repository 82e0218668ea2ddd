"""The list of files in a slot, /usr/share/hostwright/manifest: what was written there, for sha256sum(1) and for people.

# f MODE PATH           a file and its mode in octal digits; the next line has its sha256 as sha256sum writes it
# l PATH -> TARGET      a link
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LINE = re.compile(
    r"# f (?P<mode>[0-7]{1,4}) (?P<file>[^\n]+)\n(?P<digest>[0-9a-f]{64})  (?P=file)\n"
    r"|# l (?P<link>[^\n]+?) -> (?P<target>[^\n]+)\n"
)


@dataclass(frozen=True)
class Listing:
    """`files` maps a path without a leading slash to mode and sha256, `links` to the target."""

    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> frozenset[str]:
        """The sha256 of every file."""
        return frozenset(digest for _, digest in self.files.values())


def parse(text: str) -> Listing:
    """The list that a slot has; a line of another form is left out."""
    found = list(_LINE.finditer(text))
    return Listing(
        {one["file"]: (int(one["mode"], 8), one["digest"]) for one in found if one["file"]},
        {one["link"]: one["target"] for one in found if one["link"]},
    )


def render(listed: Listing) -> str:
    """The text that parse() reads, by path."""
    lines = {
        path: f"# f {mode:o} {path}\n{digest}  {path}\n" for path, (mode, digest) in listed.files.items()
    }
    lines |= {path: f"# l {path} -> {target}\n" for path, target in listed.links.items()}
    return "".join(lines[path] for path in sorted(lines))
