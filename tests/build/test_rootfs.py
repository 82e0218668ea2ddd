"""The root file system that was built."""

import tarfile

import pytest

from hostwright.base import paths
from hostwright.base.times import EPOCH
from hostwright.image import rootfs

TAR = paths.DIST / "rootfs.tar"
LIMIT_MIB = 250


@pytest.fixture(scope="module")
def members() -> dict[str, tarfile.TarInfo]:
    with tarfile.open(TAR) as tar:
        return {member.name: member for member in tar}


def read(name: str) -> str:
    with tarfile.open(TAR) as tar:
        content = tar.extractfile(name)
        assert content is not None
        return content.read().decode()


@pytest.mark.parametrize(
    "path",
    [
        "usr/sbin/init",
        "usr/bin/bash",
        "usr/bin/sh",
        "usr/sbin/modprobe",
        "usr/sbin/hostwright-selfcheck",
        "boot/vmlinuz",
        "boot/grub/grub.cfg",
        "etc/inittab",
        "lib64/ld-linux-x86-64.so.2",
    ],
)
def test_what_a_boot_needs_is_there(members: dict[str, tarfile.TarInfo], path: str) -> None:
    assert path in members


def test_every_owner_is_root_and_every_time_the_same(members: dict[str, tarfile.TarInfo]) -> None:
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, EPOCH)}


def test_nobody_gains_root_by_running_a_program(members: dict[str, tarfile.TarInfo]) -> None:
    assert [m.name for m in members.values() if m.isfile() and m.mode & 0o6000] == []


def test_nobody_else_may_write(members: dict[str, tarfile.TarInfo]) -> None:
    open_to_all = [m.name for m in members.values() if not m.issym() and m.mode & 0o022]
    assert sorted(open_to_all) == ["tmp", "var/tmp"]


def test_the_shadow_file_is_closed_and_root_has_no_password(members: dict[str, tarfile.TarInfo]) -> None:
    assert members["etc/shadow"].mode == 0o600
    assert read("etc/shadow").split(":")[:2] in (["root", "*"], ["root", "!"])


def test_only_root_reads_how_one_gets_in(members: dict[str, tarfile.TarInfo]) -> None:
    assert members["etc/ssh/sshd_config"].mode == 0o600


LOGIN_DEFS = {
    "ENCRYPT_METHOD": "YESCRYPT",
    "SHA_CRYPT_MIN_ROUNDS": "65536",
    "SHA_CRYPT_MAX_ROUNDS": "65536",
    "UMASK": "027",
    "PASS_MIN_DAYS": "1",
    "PASS_MAX_DAYS": "365",
    "LOG_OK_LOGINS": "yes",
}


def test_accounts_that_the_owner_adds_are_kept_closed() -> None:
    lines = [line.split() for line in read("etc/login.defs").splitlines() if line and line[0] != "#"]
    found = [(line[0], line[1]) for line in lines if line[0] in LOGIN_DEFS]
    assert sorted(found) == sorted(LOGIN_DEFS.items())


def test_no_link_points_nowhere(members: dict[str, tarfile.TarInfo]) -> None:
    from posixpath import dirname, join, normpath

    allowed = ("proc/", "run/", "dev/", "sys/", "run")
    for member in members.values():
        if member.issym():
            target = normpath(join("/" + dirname(member.name), member.linkname)).lstrip("/")
            for short, full in rootfs.LINKS.items():
                if target.startswith(f"{short}/"):
                    target = full + target[len(short) :]
            assert target in members or target.startswith(allowed), f"{member.name} -> {member.linkname}"


def test_nothing_that_only_builds_need(members: dict[str, tarfile.TarInfo]) -> None:
    assert [name for name in members if name.startswith("usr/include/") or name.endswith(".a")] == []


def test_it_stays_small(members: dict[str, tarfile.TarInfo]) -> None:
    assert sum(m.size for m in members.values()) < LIMIT_MIB << 20


def test_host_toml_takes_the_time_zones_of_the_image(members: dict[str, tarfile.TarInfo]) -> None:
    known = (paths.TREE / "hostwright/machine/zones.txt").read_text().split()
    areas = {zone.split("/")[0] for zone in known}
    built = {
        name.removeprefix(rootfs.ZONES)
        for name, member in members.items()
        if name.startswith(rootfs.ZONES) and not member.isdir()
    }
    assert sorted(zone for zone in built if zone.split("/")[0] in areas) == sorted(known)
    assert "UTC" in built
