"""What lynis reports, against the decisions."""

import io
import tarfile
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.source.pins import read_lock
from hostwright.upkeep import hardening, lynis
from hostwright.upkeep.lynis import Report

REPORT = """\
# Lynis Report
report_version_major=1
suggestion[]=FILE-6310|To decrease the impact of a full /tmp file system, place /tmp elsewhere|-|-|
suggestion[]=FILE-6310|To decrease the impact of a full /var file system, place /var elsewhere|-|-|
warning[]=LOGG-2138|klogd is not running|-|-|
suggestion[]=SSH-7408|Consider hardening SSH configuration|MaxAuthTries (set 6 to 3)|-|
details[]=SSH-7408|sshd|desc:sshd option MaxAuthTries;field:MaxAuthTries;prefval:3;value:6;|
suggestion[]=SSH-7408|Consider hardening SSH configuration|Port (set 22 to )|-|
details[]=SSH-7408|sshd|desc:sshd option Port;field:Port;prefval:;value:22;|
hardening_index=81
"""
REMARKS = {
    "FILE-6310": "To decrease the impact of a full /tmp file system, place /tmp elsewhere; "
    "To decrease the impact of a full /var file system, place /var elsewhere",
    "LOGG-2138": "klogd is not running",
    "SSH-7408:MaxAuthTries": "sshd option MaxAuthTries: 6, not 3",
    "SSH-7408:Port": "sshd option Port: 22, not another",
}


def test_each_setting_is_a_remark_of_its_own() -> None:
    assert lynis.parse(REPORT) == Report(81, REMARKS)


@pytest.mark.parametrize("text", ["", REPORT.replace("hardening_index=81\n", ""), "hardening_index=\n"])
def test_a_run_that_did_not_end_is_no_report(text: str) -> None:
    with pytest.raises(UserError, match="no hardening index"):
        lynis.parse(text)


def test_what_is_decided_is_no_fault() -> None:
    assert lynis.faults(Report(80, REMARKS), dict.fromkeys(REMARKS, "a reason")) == []


def test_a_low_index_a_remark_without_a_reason_and_a_reason_without_a_remark_are_faults() -> None:
    refused = {"LOGG-2138": "another daemon reads them", "BOOT-5122": "the lab has no password"}
    remarks = {name: REMARKS[name] for name in ("LOGG-2138", "SSH-7408:Port")}
    assert lynis.faults(Report(79, remarks), refused) == [
        "the hardening index is 79, not 80 or more",
        "SSH-7408:Port: sshd option Port: 22, not another; no reason is given",
        "BOOT-5122: refused, but lynis does not miss it",
    ]


def test_the_table_lists_each_remark() -> None:
    text = lynis.render(Report(81, REMARKS), {"LOGG-2138": "syslogd reads them"})
    assert "lynis: hardening index 81." in text
    assert "| `LOGG-2138` | klogd is not running | syslogd reads them |" in text


def test_lynis_gets_its_files_as_root_owns_them(tmp_path: Path) -> None:
    for source in lynis.PARTS:
        place = tmp_path / source
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.startswith("usr/share"):
            place.mkdir()
            (place / "part").write_text("x")
        else:
            place.write_text("x")
    with tarfile.open(fileobj=io.BytesIO(lynis.pack(tmp_path))) as tar:
        members = tar.getmembers()
    assert {one.name for one in members} >= {"plugins", "lynis", "default.prf", "include/part", "db/part"}
    assert {(one.uid, one.gid, one.mtime) for one in members} == {(0, 0, EPOCH)}


def test_the_document_has_each_reason() -> None:
    """Without a boot; tests/boot compares the whole table with what lynis says."""
    rows = (paths.TREE / "docs/security.md").read_text().splitlines()
    for name, reason in hardening.refusals(lynis.REFUSED).items():
        assert any(row.startswith(f"| `{name}` |") and row.endswith(f"| {reason} |") for row in rows), name


def test_lynis_is_pinned() -> None:
    assert lynis.LYNIS in {pin.name for pin in read_lock(hardening.LOCK)}
