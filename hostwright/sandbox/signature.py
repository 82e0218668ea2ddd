"""The archive's signed indexes, verified with the build root's gpgv and Debian's keyring.

    InRelease --gpgv, Debian's keyring (both from the build root)--> Release --> Packages.xz, Sources.xz

The trust starts in the committed lock, which pins gpgv and the keyring.
"""

from collections.abc import Sequence

from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import control
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch
from hostwright.source.index import SUITE, index_digest, read_index

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def signed_release(shop: Workshop) -> str:
    """The text of the archive's InRelease, its signature verified with the build root."""
    return verify(_fetch("InRelease", shop.archives), shop).decode()


def index(name: str, release: str, mirrors: Sequence[str]) -> list[control.Stanza]:
    """The paragraphs of an index of the suite, checked against the signed Release text."""
    return read_index(_fetch(name, mirrors), release, name)


def kept_index(name: str, release: str, mirrors: Sequence[str]) -> list[control.Stanza]:
    """As `index`, but from the cache if the cached file still has the digest of the Release text."""
    digest = index_digest(release, name)
    folder = f"dists/{SUITE}/{name.rpartition('/')[0]}"
    by_name = tuple(f"{mirror}/dists/{SUITE}/{name}" for mirror in mirrors)
    pin = Pin(f"{folder}/by-hash/SHA256/{digest}", digest, by_name, name=name)
    here = fetch.fetch(pin, mirrors, lambda _: None)
    return read_index(here.read_bytes(), release, name)


def _fetch(name: str, mirrors: Sequence[str]) -> bytes:
    return fetch.fetch_bytes(f"dists/{SUITE}/{name}", mirrors)


def verify(signed: bytes, shop: Workshop) -> bytes:
    """The signed text of a clear-signed file, verified by gpgv with the build root's keyring."""
    argv = ("gpgv", "--quiet", "--keyring", KEYRING, "--output", "-")
    try:
        return sandbox.output(sandbox.Job(shop.tools, argv, cwd="/"), shop.tools, stdin=signed)
    except UserError as error:
        raise UserError(
            f"the archive's InRelease is not signed by a key of Debian: {error.message}",
            "name another archive in HOSTWRIGHT_MIRROR",
        ) from error
