"""Debian's copyright files, and the SPDX expressions that they become."""

import pytest

from hostwright.formats import copyright

DEP5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: thing
Source: the releases at ftp://example.org/thing.

# a comment
Files: *
Copyright: 2001-2020 A
 2021 B
License: GPL-2+ with OpenSSL exception
 This program is free software: see the text.
 .
 Files: none

Files: lib/* doc/*.txt
Copyright: C
License: LGPL-2.1+

Files: debian/*
Copyright: D
License: ISC

License: LGPL-2.1+
 text
"""


@pytest.mark.parametrize(
    ("words", "spdx"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-3", "GPL-3.0-only"),
        ("GPL-2.0-or-later", "GPL-2.0-or-later"),
        ("GPL-2.0-only", "GPL-2.0-only"),
        ("gpl-3.0+", "GPL-3.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("LGPL-2", "LGPL-2.0-only"),
        ("AGPL-3+", "AGPL-3.0-or-later"),
        ("GFDL-1.3+", "GFDL-1.3-or-later"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("Apache-2.0 or GPL-2+", "Apache-2.0 OR GPL-2.0-or-later"),
        ("BSD-2-clause and/or Expat", "BSD-2-Clause OR MIT"),
        ("GPL-2+ or GPL-2+", "GPL-2.0-or-later"),
        ("ISC or Expat and Zlib", "ISC OR MIT AND Zlib"),
        ("ISC and Zlib", "ISC AND Zlib"),
        ("Perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("GPL-3+ with Bison exception", "GPL-3.0-or-later WITH Bison-exception-2.2"),
        ("GPL-2+ with OpenSSL exception", "GPL-2.0-or-later WITH AdditionRef-OpenSSL-exception"),
        ("public-domain", "LicenseRef-public-domain"),
        ("GPL_my way!", "LicenseRef-GPL-my-way"),
        ("GPL-1+ or Artistic, and BSD-3-clause", "NOASSERTION"),
        ("", "NOASSERTION"),
    ],
)
def test_short_names_become_spdx(words: str, spdx: str) -> None:
    assert copyright.to_spdx(words) == spdx


def test_a_machine_readable_file() -> None:
    found = copyright.read(DEP5)
    assert found.said == "GPL-2+ with OpenSSL exception"
    assert found.main == copyright.to_spdx(found.said)
    assert found.others == ("LGPL-2.1+",)
    assert found.source == "ftp://example.org/thing"


def test_the_license_of_the_header_is_that_of_the_whole() -> None:
    text = DEP5.replace("Files: *\n", "Files: src/*\n").replace("Upstream-Name: thing", "License: Zlib")
    assert copyright.read(text).main == "Zlib"


def test_blanks_on_an_empty_line_end_a_paragraph_too() -> None:
    assert copyright.read(DEP5.replace("\n\n", "\n \n")) == copyright.read(DEP5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "This package was debianized by A.\n\nFiles: *\nLicense: MIT\n",
        "Format: https://example.org/other\n\nFiles: *\nLicense: MIT\n",
        DEP5 + "\nand then somebody wrote prose\n",
    ],
)
def test_prose_says_nothing(text: str) -> None:
    assert copyright.read(text) == copyright.Found()


def test_prose_refers_to_licenses() -> None:
    text = "It is under the GPL, /usr/share/common-licenses/GPL-2.\nSee /usr/share/common-licenses/LGPL.\n"
    assert copyright.read(text) == copyright.Found(others=("GPL-2", "LGPL"))


@pytest.mark.parametrize(
    ("expression", "is_listed"),
    [("MIT OR GPL-2.0-only", True), ("NOASSERTION", False), ("LicenseRef-x", False)],
)
def test_what_spdx_lists(expression: str, is_listed: bool) -> None:
    assert copyright.is_listed(expression) == is_listed
