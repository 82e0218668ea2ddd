"""The second build differs in all that must not matter."""

from pathlib import Path

import pytest

from hostwright.base import jobs, paths
from hostwright.image import manifest, reproduce


def test_the_second_build_has_another_home_cache_locale_zone_and_job_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    environment = reproduce.environment(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME"):
        assert environment[name].startswith(str(tmp_path))
    assert environment["LC_ALL"] != "C" and environment["TZ"] != "UTC"
    monkeypatch.setenv("HOSTWRIGHT_JOBS", environment["HOSTWRIGHT_JOBS"])
    assert jobs.jobs() == 1


def test_the_second_cache_shares_downloads_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    for name in ("a" * 64, "b" * 64 + ".part"):
        (paths.downloads() / name).parent.mkdir(parents=True, exist_ok=True)
        (paths.downloads() / name).write_text("x")
    (paths.store() / "bash-0123").mkdir(parents=True)
    reproduce._share_downloads(tmp_path / "second")
    assert [p.name for p in (tmp_path / "second").rglob("*") if p.is_file()] == ["a" * 64]


def test_differences_name_what_changed_came_and_went() -> None:
    assert manifest.differences({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == [
        "b",
        "c",
        "d",
    ]
