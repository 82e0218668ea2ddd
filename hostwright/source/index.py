"""A Debian archive's signed indexes, and the locks made from them.

    InRelease --gpgv--> index digests --> Packages, Sources --> closure of the seeds --> buildroot/lock
                                      --> the installer's Packages -----------------> guest/installer.lock

Formats: deb-control(5), and the archive's repository format (InRelease, Packages, Sources).
"""

import hashlib
import lzma
from collections.abc import Iterable

from hostwright.base.errors import UserError
from hostwright.formats.control import Stanza, parse_stanzas

SUITE = "trixie"
PACKAGES = "main/binary-amd64/Packages.xz"
UDEBS = "main/debian-installer/binary-amd64/Packages.xz"
SOURCES = "main/source/Sources.xz"
FIRMWARE = "non-free-firmware/binary-amd64/Packages.xz"


def index_digest(release: str, path: str) -> str:
    """The sha256 of an index file according to a verified Release text; raises UserError if it lists none."""
    for line in next(parse_stanzas(release)).get("SHA256", "").split("\n"):
        digest, _, rest = line.partition(" ")
        if rest.split()[1:] == [path]:
            return digest
    raise UserError(f"the archive's Release file does not list {path}")


def read_index(data: bytes, release: str, path: str) -> list[Stanza]:
    """The paragraphs of a compressed index. Its digest is checked against the Release text before it is opened."""
    if hashlib.sha256(data).hexdigest() != index_digest(release, path):
        raise UserError(
            f"{path}: its sha256 is not the one in the signed Release file",
            "try again: the mirror may be mid-update",
        )
    return list(parse_stanzas(lzma.decompress(data).decode()))


def source_files(stanzas: Iterable[Stanza]) -> dict[str, str]:
    """Pool path and sha256 of every source file in the archive."""
    found = {}
    for stanza in stanzas:
        for line in stanza.get("Checksums-Sha256", "").split("\n"):
            if len(words := line.split()) == 3:
                found[f"{stanza['Directory']}/{words[2]}"] = words[0]
    return found
