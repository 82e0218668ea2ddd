"""dist/MANIFEST."""

from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.image import manifest


def make_dist(dist: Path) -> Path:
    (dist / "kernel/modules").mkdir(parents=True)
    (dist / "host.img").write_text("disk")
    (dist / "kernel/bzImage").write_text("kernel")
    (dist / "kernel/modules/x.ko").write_text("module")
    (dist / "log").mkdir()
    (dist / "log/x.log").write_text("said")
    manifest.write_manifest(dist, dist / "MANIFEST", "0123")
    return dist


def test_artifacts_are_listed_and_logs_are_not(tmp_path: Path) -> None:
    head, *lines = (make_dist(tmp_path) / "MANIFEST").read_text().splitlines()
    names = [line.split("  ")[1] for line in lines]
    assert head == "# made from 0123"
    assert names == ["host.img", "kernel/bzImage", "kernel/modules/x.ko"]


def test_an_untouched_tree_is_in_order(tmp_path: Path) -> None:
    assert manifest.verify(make_dist(tmp_path), tmp_path / "MANIFEST") == "0123"


def test_changed_gone_and_new_files_are_named(tmp_path: Path) -> None:
    make_dist(tmp_path)
    (tmp_path / "host.img").write_text("disc")
    (tmp_path / "kernel/bzImage").unlink()
    (tmp_path / "kernel/new").write_text("")
    with pytest.raises(UserError, match=r"host\.img, kernel/bzImage, kernel/new"):
        manifest.verify(tmp_path, tmp_path / "MANIFEST")


def test_without_a_manifest_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dist/MANIFEST"):
        manifest.verify(tmp_path, tmp_path / "MANIFEST")
