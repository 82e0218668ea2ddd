"""Errors of the operating system: what its owner can mend is one message with path and remedy."""

import errno
import os
from pathlib import Path

import pytest

from hostwright.base import paths, system

CACHE_HINT = "may be deleted"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(paths, "DIST", tmp_path / "dist")
    paths.DIST.mkdir()
    paths.cache().mkdir(parents=True)


def told(number: int, path: Path | str | None) -> str:
    found = system.explain(OSError(number, os.strerror(number), None if path is None else str(path)))
    assert found is not None and found.hint
    return str(found)


def test_a_full_disk_is_named_though_write_names_no_file() -> None:
    with pytest.raises(OSError) as caught, open("/dev/full", "w") as sink:  # noqa: PTH123
        sink.write("x")
    found = system.explain(caught.value)
    assert found is not None
    assert "No space left on device" in str(found) and found.message.startswith("/")
    assert "free some space there" in found.hint


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EDQUOT]
)
def test_what_the_system_refuses_has_path_and_remedy(number: int, tmp_path: Path) -> None:
    assert told(number, tmp_path / "f").startswith(f"{tmp_path}/f: {os.strerror(number)}\n  hint: ")


def test_the_cache_may_be_deleted_when_it_fills_the_disk() -> None:
    assert CACHE_HINT in told(errno.ENOSPC, paths.cache() / "store/x")
    assert CACHE_HINT not in told(errno.ENOSPC, paths.DIST / "host.img")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_user_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (paths.DIST, paths.cache()):
        (place / "log").mkdir()
        os.chown(place / "log", 0, 0)
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        text = told(errno.EACCES, place / "log/kernel.log")
        assert f"it belongs to root: take it back with sudo chown -R 4242 {place}" in text


def test_ones_own_file_gets_its_permissions_back(tmp_path: Path) -> None:
    script = tmp_path / "late.sh"
    script.write_text("")
    assert f"chmod u+rwX {script}" in told(errno.EACCES, script)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_strangers_file_elsewhere_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    text = told(errno.EPERM, tmp_path / "f")
    assert "chown" not in text and "belongs to root: let this user (4242) read" in text


def test_a_file_where_a_folder_belongs_is_moved_away(tmp_path: Path) -> None:
    assert f"mv {paths.DIST} {paths.DIST}.old" in told(errno.EEXIST, paths.DIST)
    assert "mv" in told(errno.ENOTDIR, tmp_path / "xdg")
    assert system.explain(OSError(errno.EEXIST, "exists", str(tmp_path / "elsewhere/f"))) is None


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "gone", "f"), OSError("a text alone"), OSError(errno.EINVAL, "bad")],
)
def test_all_else_is_ours(error: OSError) -> None:
    assert system.explain(error) is None


def test_a_hostile_name_does_not_reach_the_terminal() -> None:
    assert "\x1b" not in told(errno.EROFS, "/a\x1b[2J")
