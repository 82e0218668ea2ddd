"""License expressions are valid ones of SPDX."""

import pytest

from hostwright.formats import spdx


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "GPL-2.0-or-later AND (MIT OR BSD-3-Clause)",
        "GPL-2.0-only WITH Linux-syscall-note",
        "LicenseRef-own-words",
        "NOASSERTION",
    ],
)
def test_valid_expressions_have_no_fault(expression: str) -> None:
    assert spdx.fault(expression) == ""


@pytest.mark.parametrize(
    "expression", ["", "GPL", "GPL-2.0-or-newer", "MIT AND", "MIT BSD-3-Clause", "MIT WITH MIT", "(MIT"]
)
def test_other_words_have_a_fault(expression: str) -> None:
    assert spdx.fault(expression)


def test_the_fault_of_a_spelling_is_the_right_one() -> None:
    assert spdx.fault("zlib") == "SPDX spells it Zlib"
