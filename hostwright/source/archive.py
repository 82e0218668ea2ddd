"""The paths of a Debian archive, and the digests that its indexes give for them."""

import lzma
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from hostwright.base.errors import UserError
from hostwright.base.times import limit
from hostwright.source import fetch
from hostwright.source.transfer import Limits

ARCHIVE, OURS = "/debian/", "/hostwright/"
# Seconds to connect and to the first byte. No installer is started for a slower archive.
REACH = Limits(connect_s=limit(5.0), silence_s=limit(10.0))

# No component begins with a dot: that excludes .. and temporary files.
_SAFE = re.compile(r"(?:dists|pool)(?:/[A-Za-z0-9_+~@=,:-][A-Za-z0-9._+~@=,:-]*)+")

_INDEX = re.compile(r"dists/.*/binary-[a-z0-9]+/(?:Packages\.xz|by-hash/SHA256/[0-9a-f]{64})")


def reachable(mirrors: Sequence[str], suite: str) -> UserError | None:
    """None if a mirror answers for the suite within seconds; otherwise the error to raise."""
    try:
        with fetch.stream(f"dists/{suite}/InRelease", mirrors, REACH) as answer:
            next(answer.blocks, b"")
    except (UserError, OSError) as error:
        message = error.message if isinstance(error, UserError) else str(error)
        hint = "check the network, name an archive in HOSTWRIGHT_MIRROR, or use what is in the cache: offline=yes"
        return UserError(f"no Debian archive answers for {suite}: {message}", hint)
    return None


def archive_path(name: str) -> str | None:
    """The path inside an archive that a URL requests; None for a path that could leave the archive."""
    path = unquote(urlsplit(name).path)
    inside = path.removeprefix(ARCHIVE)
    return inside if path.startswith(ARCHIVE) and _SAFE.fullmatch(inside) else None


def is_fixed(path: str) -> bool:
    """Whether a file of the archive never changes."""
    return path.startswith("pool/") or "/by-hash/" in path


class Index:
    """The digests of pool files. An index is read only when a digest of it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unread: dict[str, Path] = {}
        self._read: set[str] = set()
        self._digests: dict[str, str] = {}

    def learn(self, path: str, place: Path) -> None:
        """Note an index file; any other file is ignored."""
        with self._lock:
            if _INDEX.fullmatch(path) and path not in self._read:
                self._unread[path] = place

    def digest(self, path: str) -> str | None:
        """The sha256 of a pool file, if an index lists it."""
        if not path.startswith("pool/"):
            return None
        with self._lock:
            while self._unread:
                index, place = self._unread.popitem()
                self._read.add(index)
                with suppress(lzma.LZMAError, OSError, UnicodeDecodeError), lzma.open(place, "rt") as lines:
                    self._digests.update(parse_digests(lines))
            return self._digests.get(path)


def parse_digests(lines: Iterator[str] | IO[str]) -> Iterator[tuple[str, str]]:
    """Path and sha256 of each paragraph of a Packages file, whatever the order of its fields."""
    path = digest = ""
    for line in lines:
        if line.startswith("Filename: "):
            path = line[10:].strip()
        elif line.startswith("SHA256: "):
            digest = line[8:].strip()
        elif line == "\n":
            path = digest = ""
        if path and digest:
            yield path, digest
            path = digest = ""
