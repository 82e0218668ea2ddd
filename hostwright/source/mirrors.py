"""The Debian archives of this machine: `HOSTWRIGHT_MIRROR`, otherwise its own apt configuration.

Reads sources.list(5) in both forms, and apt-transport-mirror(1) lists. No mirror is named in this project.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hostwright.base.errors import UserError
from hostwright.source.address import fault, mask

APT = Path("/etc/apt")
_LONGEST_SHOWN = 100
_OPTIONS = re.compile(r"\[[^\]]*\]")


def find_mirrors(apt: Path = APT) -> list[str]:
    """Base addresses of archives without a trailing slash, the preferred one first; UserError if there is none."""
    if named := os.environ.get("HOSTWRIGHT_MIRROR"):
        return [_checked(word, "HOSTWRIGHT_MIRROR").rstrip("/") for word in named.split()]
    found = list(
        dict.fromkeys(
            _checked(address, str(apt)).rstrip("/")
            for address in _configured(apt)
            if "security" not in address
        )
    )
    if not found:
        raise UserError(
            f"no Debian archive is configured below {apt}",
            "name one in the environment: HOSTWRIGHT_MIRROR=http://HOST/debian ./doit",
        )
    return found


def find_security(apt: Path = APT) -> str | None:
    """The first archive of security updates in apt's configuration; None if there is none."""
    found = (address.rstrip("/") for address in _configured(apt) if "security" in address)
    return next(found, None)


def _checked(address: str, where: str) -> str:
    if why := fault(address):
        raise UserError(
            f"{where}: {mask(address)[:_LONGEST_SHOWN]!r} is not the address of an archive: {why}",
            "write it as http://HOST/debian",
        )
    return address


def _configured(apt: Path) -> Iterator[str]:
    lists = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    for file in lists:
        if file.is_file():
            yield from _one_line(file.read_text(errors="replace"))
    for file in sorted((apt / "sources.list.d").glob("*.sources")):
        yield from _deb822(file.read_text(errors="replace"))


def _one_line(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = _OPTIONS.sub("", line.split("#")[0]).split()
        if len(words) >= 3 and words[0] in ("deb", "deb-src"):
            yield from _addresses(words[1])


def _deb822(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if any(re.match(r"(?i)enabled:\s*(no|false|0)\b", line) for line in lines):
            continue
        for value in re.findall(r"(?im)^uris:((?:.*)(?:\n[ \t].*)*)", "\n".join(lines)):
            for word in value.split():
                yield from _addresses(word)


def _addresses(uri: str) -> Iterator[str]:
    """An http(s) address as it is; for `mirror+file:` the addresses in that list."""
    if uri.startswith(("http://", "https://")):
        yield uri
    elif uri.startswith(("mirror+file:", "mirror:file:")):
        path = Path(uri.split(":", 1)[1].removeprefix("file:"))
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        for words in (line.split() for line in lines):
            if words and words[0].startswith("http"):
                yield words[0]
