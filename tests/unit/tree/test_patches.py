"""Every patch says what it does and why, and is whole: names, headers, hunks, white space."""

import re
from pathlib import Path

import pytest

from hostwright.base.paths import PATCHES
from hostwright.pci import isolation

ALL = sorted(PATCHES.rglob("*.patch"))
HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


def faults(text: str) -> list[str]:
    """What is wrong with a patch, as short sentences."""
    header, _, body = text.partition("\n---\n")
    found = [
        f"no {name}: in the header" for name in ("What", "Why", "Upstream-state") if not _says(header, name)
    ]
    if not body:
        return [*found, "no line of --- after the header"]
    return found + _path_faults(body) + _hunk_faults(body)


def _says(header: str, name: str) -> bool:
    return bool(re.search(rf"^{name}: \S.{{10,}}", header, re.MULTILINE))


def _path_faults(body: str) -> list[str]:
    old = re.findall(r"^--- (\S+)", body, re.MULTILINE)
    new = re.findall(r"^\+\+\+ (\S+)", body, re.MULTILINE)
    found = [] if old and len(old) == len(new) else ["no pair of --- and +++ lines for each file"]
    found += [f"{path}: not below a/" for path in old if not path.startswith("a/") and path != "/dev/null"]
    found += [f"{path}: not below b/" for path in new if not path.startswith("b/") and path != "/dev/null"]
    return found + [f"{path}: leaves the source tree" for path in old + new if ".." in path.split("/")]


def _hunk_faults(body: str) -> list[str]:
    found = []
    old_left = new_left = 0
    for number, line in enumerate(body.splitlines(), 1):
        if match := HUNK.match(line):
            if old_left or new_left:
                found.append(f"the hunk before body line {number} is cut short")
            old_left, new_left = (int(count) if count else 1 for count in match.groups())
        elif old_left or new_left:
            old_left -= line[:1] in ("-", " ", "")
            new_left -= line[:1] in ("+", " ", "")
            if line.startswith("+") and line != line.rstrip():
                found.append(f"body line {number} adds white space at its end")
    return [*found, "the last hunk has another length than it says"] if old_left or new_left else found


@pytest.mark.parametrize("patch", ALL, ids=lambda path: path.name)
def test_a_patch_is_whole_and_says_why(patch: Path) -> None:
    assert faults(patch.read_text()) == []


@pytest.mark.parametrize("patch", ALL, ids=lambda path: path.name)
def test_a_patch_lies_below_its_package_and_series(patch: Path) -> None:
    package, series, name = patch.relative_to(PATCHES).parts
    assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", package)
    assert re.fullmatch(r"[0-9][0-9a-z.+-]*", series)
    assert re.fullmatch(r"[0-9]{4}-[a-z0-9-]+\.patch", name)


def test_the_numbers_of_a_series_are_a_sequence() -> None:
    for folder in {patch.parent for patch in ALL}:
        numbers = sorted(int(patch.name[:4]) for patch in folder.glob("*.patch"))
        assert numbers == list(range(1, len(numbers) + 1)), folder


OVERRIDES = [
    PATCHES / f"linux/{series}/0001-pci-acs-override.patch" for series in isolation.SERIES if series != "6.1"
]


@pytest.mark.parametrize("patch", OVERRIDES, ids=lambda path: path.parent.name)
def test_the_acs_override_says_which_series_it_is_for(patch: Path) -> None:
    assert f"against {patch.parent.name}.\n---\n" in patch.read_text()


def test_the_acs_override_does_the_same_in_every_series() -> None:
    """Only its place among the kernel's own lines, and the number of its bit, may differ."""
    first, *others = (_added_lines(patch) for patch in OVERRIDES)
    assert others
    assert len(first) > 200
    assert all(other == first for other in others)


def _added_lines(patch: Path) -> list[str]:
    body = patch.read_text().partition("\n---\n")[2]
    lines = re.findall(r"^\+(?!\+\+ ).*", body, re.MULTILINE)
    return [re.sub(r"(PCI_DEV_ACS_OVERRIDDEN) \d+$", r"\1", line) for line in lines]


GOOD = """\
Subject line

What: changes a constant of the program.
Why: the old constant is too small for us.
Upstream-state: sent, not yet answered.
---
--- a/src/one.c
+++ b/src/one.c
@@ -1,2 +1,2 @@
 first
-old
+new
"""


def test_the_good_example_has_no_fault() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("What: changes", "what changes", "no What: in the header"),
        ("Why: the old constant is too small for us.", "Why:", "no Why: in the header"),
        ("Upstream-state: sent, not yet answered.", "", "no Upstream-state: in the header"),
        ("\n---\n---", "\n---", "no line of --- after the header"),
        ("a/src/one.c", "src/one.c", "src/one.c: not below a/"),
        ("b/src/one.c", "b/../one.c", "b/../one.c: leaves the source tree"),
        ("+new", "+new ", "body line 6 adds white space at its end"),
        ("+1,2 @@", "+1,3 @@", "the last hunk has another length than it says"),
        ("-old\n", "", "the last hunk has another length than it says"),
    ],
)
def test_each_fault_is_found(old: str, new: str, fault: str) -> None:
    assert old in GOOD
    assert fault in faults(GOOD.replace(old, new))
