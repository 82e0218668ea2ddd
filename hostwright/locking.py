"""`./doit lock`: the build root's pins and every source's pin, held against the archive's signed indexes.

    InRelease --gpgv, Debian's keyring (both from the build root)--> Release --> Packages.xz, Sources.xz
        --> buildroot/lock written anew; recipes whose source left the archive are named

The trust starts in the committed lock: gpgv and the keyring are pinned there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright import archive, fetch, sandbox
from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.formats import control
from hostwright.recipe import Source

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Outcome:
    """What changed in the lock, and what was found about the sources, one line each."""

    pins: int
    changed: tuple[str, ...]
    sources: tuple[str, ...]


def renew(mirrors: Sequence[str], root: Path, sources: Mapping[str, Sequence[Source]]) -> Outcome:
    """Write buildroot/lock anew; UserError if the archive's signature or an index's digest does not hold."""
    release = signed_release(mirrors, root)
    stanzas = index(archive.PACKAGES, release, mirrors)
    wanted, excluded = archive.parse_seeds(paths.SEEDS.read_text())
    pins = archive.lock(stanzas, wanted, excluded)
    found = archive.source_files(index(archive.SOURCES, release, mirrors))
    before = archive.parse_lock(paths.LOCK.read_text())
    files.write(paths.LOCK, archive.render_lock(pins))
    return Outcome(len(pins), tuple(differences(before, pins)), tuple(source_notes(sources, found)))


def signed_release(mirrors: Sequence[str], root: Path) -> str:
    """The text of the archive's InRelease, its signature checked with the build root below `root`."""
    return verify(_fetch("InRelease", mirrors), root).decode()


def index(name: str, release: str, mirrors: Sequence[str]) -> list[control.Stanza]:
    """The paragraphs of an index of the suite, checked against the signed Release text."""
    return archive.read_index(_fetch(name, mirrors), release, name)


def kept_index(name: str, release: str, mirrors: Sequence[str]) -> list[control.Stanza]:
    """As `index`, but from the cache where it has been fetched before and is still the one of the Release text."""
    digest = archive.index_digest(release, name)
    folder = f"dists/{archive.SUITE}/{name.rpartition('/')[0]}"
    by_digest = fetch.places(f"{folder}/by-hash/SHA256/{digest}", mirrors)
    by_name = fetch.places(f"dists/{archive.SUITE}/{name}", mirrors)
    here = fetch.fetch(fetch.Wanted(name, digest, (*by_digest, *by_name)), lambda _: None)
    return archive.read_index(here.read_bytes(), release, name)


def _fetch(name: str, mirrors: Sequence[str]) -> bytes:
    return fetch.fetch_bytes(f"dists/{archive.SUITE}/{name}", mirrors)


def verify(signed: bytes, root: Path) -> bytes:
    """The signed text of a clear-signed file, by gpgv and the archive's keyring of the build root."""
    argv = ("gpgv", "--quiet", "--keyring", KEYRING, "--output", "-")
    try:
        return sandbox.output(sandbox.Job(root / "tools", argv, cwd="/"), root / "tools", stdin=signed)
    except UserError as error:
        raise UserError(
            f"the archive's InRelease is not signed by a key of Debian: {error.message}",
            "name another archive in HOSTWRIGHT_MIRROR",
        ) from error


def differences(before: Sequence[archive.Pin], after: Sequence[archive.Pin]) -> list[str]:
    """Packages that came, went or changed their version."""
    old = {pin.name: pin.version for pin in before}
    new = {pin.name: pin.version for pin in after}
    names = sorted(old.keys() | new.keys())
    return [
        f"{name}: {old.get(name, '-')} -> {new.get(name, '-')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def source_notes(sources: Mapping[str, Sequence[Source]], found: dict[str, str]) -> list[str]:
    """One line for each source that the archive no longer holds as pinned."""
    notes: list[str] = []
    for name, pinned in sources.items():
        for one in pinned:
            if found.get(one.path) != one.sha256:
                notes.append(f"recipes/{name}: {one.path} {_state(one, found)}")
    return notes


def _state(one: Source, found: dict[str, str]) -> str:
    if one.path in found:
        return f"has another sha256 in the archive: {found[one.path]}"
    folder = one.path.rsplit("/", 1)[0]
    others = sorted(
        path.rsplit("/", 1)[1]
        for path in found
        if path.startswith(f"{folder}/") and ".orig." in path and not path.endswith(".asc")
    )
    return f"left the archive, which has {', '.join(others) or 'no version of it'}"
