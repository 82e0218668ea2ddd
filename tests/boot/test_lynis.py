"""The booted host by the yardstick of lynis, as docs/security.md shows it."""

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.upkeep import hardening, lynis
from hostwright.upkeep.lynis import Report

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def report() -> Report:
    host = load.load(paths.TREE / "host.toml")
    return lynis.audit(host, paths.log_file("audit"), lambda _: None)


def test_the_index_is_high_and_every_remark_has_its_reason(report: Report) -> None:
    assert lynis.faults(report, hardening.refusals(lynis.REFUSED)) == []


def test_the_document_shows_what_lynis_says(report: Report) -> None:
    table = lynis.render(report, hardening.refusals(lynis.REFUSED))
    assert table in (paths.TREE / "docs/security.md").read_text()
