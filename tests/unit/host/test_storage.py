"""Disks for data: the boot script storage on made-up hosts, with made-up mdadm, LVM and mount."""

import os
import shutil
from pathlib import Path

import pytest

from hostwright.base.paths import ROOTFS
from hostwright.image.templates import render_text
from hostwright.machine.load import load
from tests.fakes.host import FakeHost

SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]
FAST, SLOW = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40", "aaaaaaaa-0000-0000-0000-000000000001"
TOML = f"""
name = "test"
[[storage]]
name = "fast"
uuid = "{FAST.upper()}"
options = ["discard", "commit=30"]
[[storage]]
name = "slow"
uuid = "{SLOW}"
type = "xfs"
mount = "/var/lib/hostwright/storage/slow"
"""
SEVERAL = {"mdadm --assemble --scan --no-degraded", "mdadm --incremental --run --scan", "vgchange -aay"}


def table(folder: Path, text: str) -> str:
    path = folder / "host.toml"
    path.write_text(text)
    template = ROOTFS / "etc/hostwright/storage.j2"
    return render_text(template.read_text(), template.name, {"machine": load(path)})


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    """Two file systems for data: `fast` on an array, `slow` on a volume."""
    made = FakeHost(tmp_path / "root", request.param)
    made.write("etc/hostwright/storage", table(tmp_path, TOML))
    made.write(f"disks/{FAST}", "/dev/md127\n")
    made.write(f"disks/{SLOW}", "/dev/mapper/vg-slow\n")
    made.command("blkid", f'cat {made.root}/disks/"${{6#UUID=}}" 2>/dev/null')
    for name in ("mdadm", "modprobe", "vgchange", "fsck", "sleep"):
        made.command(name)
    line = "30 1 9:1 / $place rw,noatime shared:1 - $2 $5 rw"
    made.command("mount", f'place=${{6#{made.root}}}; echo "{line}" >>{made.root}/proc/self/mountinfo')
    made.command("umount")
    return made


def add_array(host: FakeHost) -> None:
    (host.root / "sys/block/md127/md").mkdir(parents=True)


def done(host: FakeHost, *names: str) -> list[str]:
    """The calls of some programs, in order, with paths as the host has them."""
    calls = [call.replace(str(host.root), "") for call in host.calls()]
    return [call for call in calls if call.split()[0] in names]


def reason(host: FakeHost, name: str) -> str | None:
    path = host.root / f"run/hostwright/storage.{name}"
    return path.read_text() if path.exists() else None


def note(host: FakeHost) -> list[str]:
    lines = (host.root / "run/hostwright/service.storage").read_text().splitlines()
    return [line.replace(str(host.root), "") for line in lines]


def test_what_host_toml_names_is_what_the_script_reads(tmp_path: Path) -> None:
    lines = [line for line in table(tmp_path, TOML).splitlines() if line[:1] not in "#"]
    assert lines == [
        f"fast {FAST} ext4 /srv/fast nodev,nosuid,noatime,discard,commit=30",
        f"slow {SLOW} xfs /var/lib/hostwright/storage/slow nodev,nosuid,noatime",
    ]


def test_each_file_system_is_checked_and_mounted(host: FakeHost) -> None:
    said = host.init("storage", "start")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines() == [
        "[ OK ] storage: fast (/dev/md127) is mounted at /srv/fast",
        "[ OK ] storage: slow (/dev/mapper/vg-slow) is mounted at /var/lib/hostwright/storage/slow",
    ]
    assert done(host, "modprobe", "mdadm", "vgchange", "fsck", "mount") == [
        "modprobe -a md_mod dm_mod",
        "mdadm --assemble --scan --no-degraded",
        "vgchange -aay",
        "fsck -T -a -t ext4 /dev/md127",
        "mount -t ext4 -o nodev,nosuid,noatime,discard,commit=30 /dev/md127 /srv/fast",
        "fsck -T -a -t xfs /dev/mapper/vg-slow",
        "mount -t xfs -o nodev,nosuid,noatime /dev/mapper/vg-slow /var/lib/hostwright/storage/slow",
    ]
    assert note(host) == ["-", "there is no array of disks to watch"]
    assert (host.root / "srv/fast").is_dir()


def test_what_is_mounted_stays_as_it_is(host: FakeHost) -> None:
    host.init("storage", "start")
    before = len(done(host, "mount", "fsck"))
    assert host.init("storage", "start").stdout == ""
    assert len(done(host, "mount", "fsck")) == before


def test_a_host_without_storage_looks_for_nothing(host: FakeHost, tmp_path: Path) -> None:
    host.write("etc/hostwright/storage", table(tmp_path, 'name = "test"\n'))
    for action in ("start", "stop"):
        said = host.init("storage", action)
        assert (said.returncode, said.stdout, host.calls()) == (0, "", [])


def test_a_missing_one_is_waited_for_named_and_left_out(host: FakeHost) -> None:
    (host.root / f"disks/{FAST}").unlink()
    said = host.init("storage", "start")
    assert said.returncode == 1
    assert said.stdout.splitlines() == [
        f"[FAIL] storage: fast is left out: no disk has the file system {FAST}",
        "[ OK ] storage: slow (/dev/mapper/vg-slow) is mounted at /var/lib/hostwright/storage/slow",
    ]
    assert reason(host, "fast") == f"no disk has the file system {FAST}\n"
    assert reason(host, "slow") is None
    assert done(host, "sleep") == ["sleep 1"] * 20
    assert set(done(host, "mdadm", "vgchange")) == SEVERAL
    # At first no array without all of its disks.
    assert done(host, "mdadm")[-1] == "mdadm --incremental --run --scan"
    assert done(host, "mdadm").count("mdadm --incremental --run --scan") == 1


def test_a_late_disk_is_waited_for_no_longer_than_it_takes(host: FakeHost) -> None:
    (host.root / f"disks/{FAST}").rename(host.root / "late")
    host.command("sleep", f"[ ! -e {host.root}/third ] || mv {host.root}/late {host.root}/disks/{FAST}\n"
                 f"[ ! -e {host.root}/second ] || : >{host.root}/third\n: >{host.root}/second")  # fmt: skip
    assert host.init("storage", "start").returncode == 0
    assert done(host, "sleep") == ["sleep 1"] * 3
    assert "mdadm --incremental --run --scan" not in done(host, "mdadm")


def test_an_array_that_lacks_a_disk_is_started_in_the_end(host: FakeHost) -> None:
    (host.root / f"disks/{FAST}").rename(host.root / "degraded")
    host.command("mdadm", f'[ "$1" != --incremental ] || mv {host.root}/degraded {host.root}/disks/{FAST}')
    assert host.init("storage", "start").returncode == 0
    assert reason(host, "fast") is None


def test_a_copy_of_a_file_system_is_not_guessed_at(host: FakeHost) -> None:
    host.write(f"disks/{FAST}", "/dev/mapper/vg-snap\n/dev/mapper/vg-data\n")
    said = host.init("storage", "start")
    assert (
        f"[FAIL] storage: fast is left out: several devices have the file system {FAST}:"
        " /dev/mapper/vg-data /dev/mapper/vg-snap\n"
    ) in said.stdout
    assert not [call for call in done(host, "mount") if call.endswith("fast")]


@pytest.mark.parametrize("status, code", [(1, 0), (4, 1), (8, 1)])
def test_a_damaged_one_is_not_mounted(host: FakeHost, status: int, code: int) -> None:
    host.command("fsck", f'[ "$4" = xfs ] || exit {status}')
    said = host.init("storage", "start")
    assert said.returncode == code
    if code:
        assert f"storage: fast is left out: /dev/md127 is damaged (fsck status {status})" in said.stdout
        assert not [call for call in done(host, "mount") if call.endswith("fast")]
    else:
        assert "[WARN] storage: errors were found on fast and corrected" in said.stdout


def test_the_check_is_left_out_where_the_kernel_word_says_so(host: FakeHost) -> None:
    host.write("proc/cmdline", "ro fastboot\n")
    assert host.init("storage", "start").returncode == 0
    assert not done(host, "fsck")


def test_what_mount_says_is_the_reason(host: FakeHost) -> None:
    host.command("mount", "echo 'mount: wrong fs type' >&2; exit 32")
    assert (
        "fast is left out: /dev/md127 cannot be mounted: mount: wrong fs type"
        in host.init("storage", "start").stdout
    )
    host.command("mount")
    host.init("storage", "start")
    assert reason(host, "fast") is None


def test_arrays_are_watched(host: FakeHost) -> None:
    add_array(host)
    host.init("storage", "start")
    assert done(host, "mdadm")[-1] == (
        "mdadm --monitor --scan --no-sharing --syslog --daemonise --pid-file /run/mdadm/monitor.pid"
        " --program /usr/libexec/hostwright/array-finding"
    )
    assert note(host) == ["/run/mdadm/monitor.pid", "mdadm watches the arrays of disks"]
    # Once.
    host.write("run/mdadm/monitor.pid", f"{os.getpid()}\n")
    host.init("storage", "start")
    assert len([call for call in done(host, "mdadm") if "--monitor" in call]) == 1


def test_an_array_that_is_not_watched_is_told(host: FakeHost) -> None:
    add_array(host)
    host.command("mdadm", '[ "$1" != --monitor ]')
    assert "[FAIL] storage: mdadm does not watch the arrays" in host.init("storage", "start").stdout


def test_on_the_way_down_all_is_taken_apart_in_order(host: FakeHost) -> None:
    host.init("storage", "start")
    before = len(host.calls())
    said = host.init("storage", "stop")
    assert (said.returncode, said.stdout) == (0, "[ OK ] storage: the file systems for data are unmounted\n")
    assert [call.replace(str(host.root), "") for call in host.calls()[before:]] == [
        "umount /srv/fast",
        "umount /var/lib/hostwright/storage/slow",
        "vgchange -an",
        "mdadm --stop --scan",
    ]


def test_what_is_in_use_on_the_way_down_is_named(host: FakeHost) -> None:
    host.init("storage", "start")
    host.command("umount", "exit 32")
    said = host.init("storage", "stop")
    assert said.returncode == 1
    assert (
        said.stdout.splitlines()[0]
        == "[WARN] storage: fast is still in use: it is left to the script mountfs"
    )


FOUND = {
    "DegradedArray /dev/md127": "array /dev/md127 lacks a disk",
    "Fail /dev/md127 /dev/sdb": "array /dev/md127 has lost the disk /dev/sdb",
    "DeviceDisappeared /dev/md127": "array /dev/md127 is no longer there",
    "RebuildStarted /dev/md127": "",
    "NewArray /dev/md127": "",
}


@pytest.mark.parametrize("call, text", FOUND.items(), ids=FOUND)
def test_what_befalls_an_array_is_what_root_reads_at_the_login(host: FakeHost, call: str, text: str) -> None:
    shutil.copytree(ROOTFS / "usr/libexec", host.root / "usr/libexec", dirs_exist_ok=True)
    said = host.run("usr/libexec/hostwright/array-finding", *call.split())
    assert (said.returncode, said.stderr) == (0, "")
    motd = host.root / "run/hostwright/motd"
    assert (motd.read_text().partition("UTC: ")[2] if motd.exists() else "") == (text and f"{text}\n")
