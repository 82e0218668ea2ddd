"""The order of Debian's version numbers, and the upstream release in them."""

import itertools

import pytest

from hostwright.formats import versions

# Each is older than the next: Debian Policy 5.6.12, and what dpkg --compare-versions says.
ASCENDING = [
    "0",
    "0.1~~",
    "0.1~~a",
    "0.1~",
    "0.1",
    "0.1a",
    "0.1+",
    "0.1.0",
    "0.9",
    "0.10",
    "1.0~rc1-1",
    "1.0-0.1",
    "1.0-1~deb13u1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-2",
    "1.0-10",
    "1.0+dfsg-1",
    "1.0.1-1",
    "1:0.1-1",
    "2:0.0.1",
]


@pytest.mark.parametrize(("older", "newer"), list(itertools.combinations(ASCENDING, 2)))
def test_the_order(older: str, newer: str) -> None:
    assert versions.key(older) < versions.key(newer)


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.00"), ("0:1", "1"), ("1-0", "1"), ("1a", "1a0")])
def test_equal_numbers_in_other_words(one: str, other: str) -> None:
    assert versions.key(one) == versions.key(other)


@pytest.mark.parametrize(
    ("version", "upstream", "released"),
    [
        ("1:1.3.dfsg+really1.3.1-1", "1.3.dfsg+really1.3.1", "1.3.1"),
        ("1.5.7+dfsg-1", "1.5.7+dfsg", "1.5.7"),
        ("1:10.0.2+ds-2+deb13u1", "10.0.2+ds", "10.0.2"),
        ("5.0.2~ds+~2.8.2-1", "5.0.2~ds+~2.8.2", "5.0.2"),
        ("4.3+repack1-2", "4.3+repack1", "4.3"),
        ("6.5+20250216-2", "6.5+20250216", "6.5+20250216"),
        ("0.0~git20241029.74+ds-2", "0.0~git20241029.74+ds", "0.0~git20241029.74"),
        ("1.0-rc1-2", "1.0-rc1", "1.0-rc1"),
        ("2026c", "2026c", "2026c"),
    ],
)
def test_what_upstream_called_it(version: str, upstream: str, released: str) -> None:
    assert versions.upstream(version) == upstream
    assert versions.released(version) == released
