"""A package's license: Debian's debian/copyright as an SPDX expression; pure.

    debian/copyright --paragraphs--> License of `Files: *` and of the rest --> SPDX

Formats: Debian's machine-readable copyright file (copyright-format 1.0); SPDX license expressions (SPDX 2.3, annex D).
"""

import re
from dataclasses import dataclass

from hostwright.formats.control import parse_stanzas

# SPDX's value for a license that nobody has determined.
UNKNOWN = "NOASSERTION"

# Lower-case short names of the format, and others that packages use. `_gnu` handles the GNU licenses.
_SPDX = {
    "0bsd": "0BSD",
    "apache-2": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-2.0": "Artistic-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "bsl-1": "BSL-1.0",
    "bsl-1.0": "BSL-1.0",
    "cc0": "CC0-1.0",
    "cc0-1.0": "CC0-1.0",
    "cc-by-3.0": "CC-BY-3.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cddl-1.0": "CDDL-1.0",
    "curl": "curl",
    "expat": "MIT",
    "isc": "ISC",
    "mit": "MIT",
    "mpl-1.1": "MPL-1.1",
    "mpl-2.0": "MPL-2.0",
    "ofl-1.1": "OFL-1.1",
    "openssl": "OpenSSL",
    "perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
    "psf-2": "PSF-2.0",
    "unlicense": "Unlicense",
    "x11": "X11",
    "zlib": "Zlib",
    "zlib/libpng": "Zlib",
}
_EXCEPTIONS = {
    "bison": "Bison-exception-2.2",
    "classpath": "Classpath-exception-2.0",
    "gcc": "GCC-exception-3.1",
    "libtool": "Libtool-exception",
    "linux-syscall-note": "Linux-syscall-note",
    "llvm": "LLVM-exception",
}
_GNU = re.compile(r"(gpl|lgpl|agpl|gfdl)-(?:(niv)-)?(\d)(\.\d)?(\.0)?(\+|-or-later)?(-only)?")
_JOINTS = {"and": "AND", "or": "OR", "and/or": "OR", "|": "OR"}


@dataclass(frozen=True)
class Found:
    """What a copyright file declares: `main` is an SPDX expression, `said` the file's own words for it.

    `said` is empty if the file is not machine-readable. `others` are the licenses of further files, without those of
    Debian's own. `source` is upstream's address or empty.
    """

    main: str = UNKNOWN
    said: str = ""
    others: tuple[str, ...] = ()
    source: str = ""


def read(text: str) -> Found:
    """What a copyright file declares.

    If the file is not machine-readable, `others` contains the licenses that it refers to.
    """
    stanzas = list(parse_stanzas(_without_comments(text)))
    if not stanzas or "copyright-format" not in stanzas[0].get("Format", ""):
        named = re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.-]*[A-Za-z0-9])", text)
        return Found(others=tuple(sorted(set(named))))
    said = {
        pattern: one.get("License", "").partition("\n")[0]
        for one in stanzas
        for pattern in one.get("Files", "").replace(",", " ").split()
    }
    main = said.get("*", "") or stanzas[0].get("License", "").partition("\n")[0]
    others = {words for pattern, words in said.items() if not pattern.startswith("debian/")}
    address = re.search(r"(?:https?|ftp)://[^\s>,)]+", stanzas[0].get("Source", ""))
    return Found(
        to_spdx(main), main, tuple(sorted(others - {main, ""})), address[0].rstrip(".") if address else ""
    )


def _without_comments(text: str) -> str:
    """Lines of blanks also separate paragraphs; lines before the first field are ignored."""
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    fields = "\n".join(lines).lstrip("\n")
    return fields if re.match(r"[A-Za-z-]+:", fields) and not _is_prose(fields) else ""


def _is_prose(text: str) -> bool:
    """Whether any line is neither a field nor the continuation of one."""
    return any(not re.match(r"[A-Za-z][A-Za-z0-9_-]*:|[ \t]|$", line) for line in text.split("\n"))


def to_spdx(words: str) -> str:
    """The SPDX expression for a paragraph's license; NOASSERTION if there is none.

    A name that SPDX does not list becomes a LicenseRef. A license with a comma stays NOASSERTION: a comma binds weaker
    than `and` and `or`, and only a person can place the parentheses.
    """
    words = " ".join(words.split())
    if not words or "," in words:
        return UNKNOWN
    parts = re.split(r" (and/or|and|or|\|) ", words, flags=re.IGNORECASE)
    names = [_license(part) for part in parts[::2]]
    joints = [_JOINTS[part.lower()] for part in parts[1::2]]
    if len(set(names)) == 1:
        return names[0]
    return " ".join([names[0], *(f"{joint} {name}" for joint, name in zip(joints, names[1:], strict=True))])


def is_listed(expression: str) -> bool:
    """Whether every identifier in an expression is on SPDX's list."""
    return not re.search(r"NOASSERTION|LicenseRef-|AdditionRef-", expression)


def _license(words: str) -> str:
    name, *exception = re.split(r" with (?:the )?", words, maxsplit=1, flags=re.IGNORECASE)
    spdx = _SPDX.get(name.lower()) or _gnu(name.lower()) or _reference("LicenseRef", name)
    if not exception:
        return spdx
    short = re.sub(r"[ -]exception.*$", "", exception[0], flags=re.IGNORECASE)
    return f"{spdx} WITH {_EXCEPTIONS.get(short.lower()) or _reference('AdditionRef', exception[0])}"


def _gnu(name: str) -> str:
    """`gpl-2+` is GPL-2.0-or-later; '' if it is no GNU license with a version."""
    found = _GNU.fullmatch(name)
    if not found:
        return ""
    family, is_niv, major, minor, _, later, _ = found.groups()
    without = "-no-invariants" if is_niv else ""
    return f"{family.upper()}-{major}{minor or '.0'}{without}-{'or-later' if later else 'only'}"


def _reference(kind: str, name: str) -> str:
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}"
