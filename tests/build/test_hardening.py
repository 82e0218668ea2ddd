"""The kernel by the yardstick of kernel-hardening-checker, as docs/security.md shows it."""

from hostwright.base import paths
from hostwright.upkeep import hardening

LOG = paths.log_file("audit")


def test_every_recommendation_is_met_or_refused_with_a_reason() -> None:
    checks = hardening.check(paths.KERNEL / "config", LOG)
    assert hardening.faults(checks, hardening.refusals()) == []


def test_the_document_shows_the_checkers_own_result() -> None:
    checks = hardening.check(paths.RESOLVED_CONFIG, LOG)
    assert hardening.render(checks, hardening.refusals()) in (paths.TREE / "docs/security.md").read_text()


def test_a_weaker_kernel_is_noticed() -> None:
    config = paths.RESOLVED_CONFIG.read_text().replace("CONFIG_KFENCE=y", "# CONFIG_KFENCE is not set")
    weaker = paths.DIST / "weaker.config"
    weaker.write_text(config)
    try:
        assert any(
            line.startswith("KFENCE: ")
            for line in hardening.faults(hardening.check(weaker, LOG), hardening.refusals())
        )
    finally:
        weaker.unlink()
