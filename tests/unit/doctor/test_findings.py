"""The set of findings is well-formed, and its texts can go into a shell script."""

import re

import pytest

from hostwright.base import paths
from hostwright.doctor import findings
from hostwright.doctor.findings import Rule, Severity

RULES = findings.load()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_texts_are_plain(rule: Rule) -> None:
    for text in (rule.text, rule.remedy):
        assert re.fullmatch(r"[ -~]+", text)
        assert not set(text) & set("|\\`$&'\"")
        assert text == text.strip()
        assert not text.endswith(".")
    assert rule.text != rule.remedy


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_placeholders_are_those_of_the_page(rule: Rule) -> None:
    page = (paths.TREE / "docs" / "doctor.md").read_text()
    for name in rule.placeholders:
        assert re.search(rf"^\| `{{{name}}}` \|", page, re.MULTILINE), name


def test_every_severity_is_used() -> None:
    assert {rule.severity for rule in RULES.values()} == set(Severity)


def test_values_stand_where_the_braces_were() -> None:
    found = findings.find("driver-holds", device="0000:01:00.0", driver="nvme")
    assert found.text == "0000:01:00.0 is bound to nvme"
    assert found.severity is Severity.YELLOW
    assert "{" not in found.remedy


def test_a_value_that_is_missing_is_a_defect() -> None:
    with pytest.raises(KeyError):
        findings.find("driver-holds", device="0000:01:00.0")
