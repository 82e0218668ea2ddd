"""A guest without the installer, tested without a machine: packages, files, answers, comparison."""

import io
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import gpt
from hostwright.formats.control import Stanza
from hostwright.guest import compare, unpacked
from hostwright.guest import fast as fastguest
from hostwright.guest.packages import BOOT_LOADER, KERNEL, LOCALES, choose
from hostwright.image import ids
from hostwright.machine.load import load
from hostwright.machine.model import Guest
from hostwright.sandbox import signature
from hostwright.sandbox.workshop import Workshop, open_at
from hostwright.source import fetch

GUEST: Guest = load(paths.TREE / "host.toml").guests[0]
IDS = ids.ids_for("guest")


def with_install(**changes: object) -> Guest:
    return replace(GUEST, install=replace(GUEST.install, **changes))  # type: ignore[arg-type]


# Packages are chosen.


def stanza(name: str, priority: str = "optional", **fields: str) -> Stanza:
    rest = {"Filename": f"pool/{name}.deb", "Size": "1", "SHA256": "a" * 64, "Version": "1"}
    return {"Package": name, "Priority": priority, **rest, **fields}


def offered() -> list[Stanza]:
    named = [
        *KERNEL,
        *BOOT_LOADER,
        *LOCALES,
        *(
            "e2fsprogs",
            "xfsprogs",
            "openssh-server",
            "sudo",
            "dbus",
            "ca-certificates",
            "pciutils",
            "docker.io",
        ),
        *("docker-cli", "containerd", "iptables"),
    ]
    return [
        stanza("dash", "required", Depends="libc6"),
        stanza("apt", "important", Recommends="games"),
        stanza("man-db", "standard"),
        stanza("libc6"),
        stanza("games"),
        *(stanza(name) for name in named),
    ]


def chosen(guest: Guest) -> set[str]:
    return {pin.name for pin in choose(offered(), guest.install)}


def test_the_base_system_is_what_is_required_and_important_with_its_needs() -> None:
    assert {"dash", "apt", "libc6"} <= chosen(GUEST)
    assert not {"man-db", "games", "docker.io"} & chosen(GUEST)


def test_presets_packages_and_the_file_system_bring_their_packages() -> None:
    guest = with_install(presets=("docker",), packages=("games",), filesystem="xfs")
    assert {"docker.io", "games", "xfsprogs"} <= chosen(guest)
    assert "xfsprogs" not in chosen(GUEST)


def test_a_package_that_depends_on_another_component_is_named() -> None:
    short = [one | {"Depends": "firmware"} if one["Package"] == "sudo" else one for one in offered()]
    with pytest.raises(UserError, match="sudo depends on firmware"):
        choose(short, GUEST.install)


def test_a_package_that_the_archive_lacks_is_named() -> None:
    with pytest.raises(UserError, match=r"guest\.install: the archive's trixie has no package gmaes"):
        chosen(with_install(packages=("gmaes",)))


# They are had, from the cache, from what an installer fetched, or from the archive.


PIN = Pin(
    "pool/o/one_1.deb",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    size=3,
    name="one",
    version="1",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hostwright"


def give(cache: Path, path: str, content: bytes) -> None:
    """Put a file where the depot keeps it."""
    place = cache / "archive" / path
    place.parent.mkdir(parents=True)
    place.write_bytes(content)


def test_what_an_installer_fetched_is_not_fetched_again(cache: Path) -> None:
    give(cache, PIN.path, b"abc")
    fastguest.fetch_pins([PIN], open_at(cache), True, lambda _: None)
    assert fetch.local(PIN.sha256).read_bytes() == b"abc"


def test_a_damaged_file_of_an_installer_is_not_taken(cache: Path) -> None:
    give(cache, PIN.path, b"abd")
    with pytest.raises(UserError, match="1 packages are not in the cache, the first one one"):
        fastguest.fetch_pins([PIN], open_at(cache), True, lambda _: None)
    assert not fetch.is_here(PIN.sha256)


def test_offline_needs_an_index_that_was_once_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no index of the archive"):
        fastguest.read_indexes(GUEST, open_at(cache), True)
    give(cache, "dists/trixie/InRelease", b"signed")
    seen = []

    def verify(signed: bytes, shop: Workshop) -> bytes:
        seen.append(signed)
        raise UserError("not signed by a key of Debian")

    monkeypatch.setattr(signature, "verify", verify)
    with pytest.raises(UserError, match="not signed"):
        fastguest.read_indexes(GUEST, open_at(cache), True)
    assert seen == [b"signed"]
    assert not (cache / "indexes").exists(), "what is not signed is not kept"


def test_each_component_is_read_by_the_digest_that_is_signed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib
    import lzma

    indexes = {
        name: lzma.compress(f"Package: {name}\n".encode())
        for name in ("main", "contrib", "non-free", "non-free-firmware")
    }
    lines = [
        f" {hashlib.sha256(data).hexdigest()} 1 {name}/binary-amd64/Packages.xz"
        for name, data in indexes.items()
    ]
    release = "SHA256:\n" + "\n".join(lines) + "\n"
    give(cache, "dists/trixie/InRelease", release.encode())
    for name, data in indexes.items():
        digest = hashlib.sha256(data).hexdigest()
        give(cache, f"dists/trixie/{name}/binary-amd64/by-hash/SHA256/{digest}", data)
    monkeypatch.setattr(signature, "verify", lambda signed, shop: signed)
    assert fastguest.read_indexes(GUEST, open_at(cache), True) == [{"Package": "main"}]
    nvidia = fastguest.read_indexes(with_install(presets=("nvidia",)), open_at(cache), True)
    assert [one["Package"] for one in nvidia] == list(indexes)


# They are unpacked.


def deb(folder: Path, control: str, files: Mapping[str, bytes | str], **members: str) -> Path:
    """A .deb with files (bytes), links (their targets) and folders (names with a trailing slash)."""

    def tarred(entries: Mapping[str, bytes | str]) -> bytes:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w:xz") as tar:
            for name, content in entries.items():
                member = tarfile.TarInfo(f"./{name.rstrip('/')}")
                member.mode, member.gid = (0o2755, 42) if "setgid" in name else (0o755, 0)
                if name.endswith("/"):
                    member.type = tarfile.DIRTYPE
                elif isinstance(content, str):
                    member.type, member.linkname = tarfile.SYMTYPE, content
                else:
                    member.size = len(content)
                tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
        return sink.getvalue()

    scripts = {"control": control.encode(), **{name: text.encode() for name, text in members.items()}}
    data = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", tarred(scripts)),
        ("data.tar.xz", tarred(files)),
    ):
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    place = folder / f"{len(list(folder.iterdir()))}.deb"
    place.write_bytes(data)
    return place


def control(name: str, *lines: str) -> str:
    return "\n".join([f"Package: {name}", "Version: 1", "Architecture: amd64", *lines, ""])


def written(debs: list[Path], *own: unpacked.Node) -> dict[str, tarfile.TarInfo]:
    return {member.name: member for member in opened(debs, *own).getmembers()}


def opened(debs: list[Path], *own: unpacked.Node) -> tarfile.TarFile:
    sink = io.BytesIO()
    unpacked.write_system(debs, own, sink)
    sink.seek(0)
    return tarfile.open(fileobj=sink)


def text(tar: tarfile.TarFile, path: str) -> str:
    source = tar.extractfile(path)
    assert source is not None
    return source.read().decode()


def test_files_keep_owners_and_modes_and_lie_where_the_links_lead(tmp_path: Path) -> None:
    one = deb(
        tmp_path,
        control("a-one"),
        {"./": b"", "lib/": b"", "lib/a": b"a", "usr/bin/": b"", "usr/bin/setgid": b"b"},
    )
    base = deb(tmp_path, control("base-files"), {"lib": "usr/lib", "etc/": b""})
    found = written([one, base])
    assert found["lib"].linkname == "usr/lib"
    assert "lib/a" not in found and "usr/lib/a" in found
    assert (found["usr/bin/setgid"].mode, found["usr/bin/setgid"].gid) == (0o2755, 42)
    names = opened([one, base]).getnames()
    assert names.index("lib") < names.index("usr/lib/a"), "base-files brings the links"
    assert len(names) == len(set(names))


def test_the_database_says_what_dpkg_would_have_written(tmp_path: Path) -> None:
    one = deb(
        tmp_path,
        control("one", "Multi-Arch: same", "Description: short", " long"),
        {"./": b"", "etc/": b"", "etc/one.conf": b"abc"},
        conffiles="/etc/one.conf\nremove-on-upgrade /etc/old.conf\n",
        postinst="#!/bin/sh\n",
        triggers="interest /usr/lib\ninterest-noawait named # why\nactivate ldconfig\n",
    )
    tar = opened([one])
    assert text(tar, "var/lib/dpkg/status") == (
        "Package: one\nStatus: install ok unpacked\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\n"
        "Description: short\n long\nConffiles:\n /etc/one.conf 900150983cd24fb0d6963f7d28e17f72\n\n"
    )
    assert text(tar, "var/lib/dpkg/info/one:amd64.list") == "/.\n/etc\n/etc/one.conf\n"
    assert tar.getmember("var/lib/dpkg/info/one:amd64.postinst").mode == 0o755
    assert text(tar, "var/lib/dpkg/triggers/File") == "/usr/lib one:amd64\n"
    assert text(tar, "var/lib/dpkg/triggers/named") == "one:amd64/noawait\n"
    assert "var/lib/dpkg/triggers/ldconfig" not in tar.getnames()


def test_a_file_that_two_packages_bring_belongs_to_the_one_that_replaces_the_other(tmp_path: Path) -> None:
    old = deb(tmp_path, control("a-old"), {"usr/": b"", "usr/x": b"old"})
    new = deb(tmp_path, control("new", "Replaces: a-old (<< 2)"), {"usr/": b"", "usr/x": b"new"})
    tar = opened([old, new])
    assert text(tar, "usr/x") == "new"
    assert "/usr/x" not in text(tar, "var/lib/dpkg/info/a-old.list")
    other = deb(tmp_path, control("other"), {"usr/": b"", "usr/x": b"other"})
    with pytest.raises(UserError, match="other and a-old both contain /usr/x"):
        opened([old, other])


def test_own_files_are_added(tmp_path: Path) -> None:
    own = fastguest.own_files(GUEST, "Europe/Berlin", "deb x\n", IDS)
    tar = opened([deb(tmp_path, control("one"), {"etc/": b""})], *own)
    assert text(tar, "etc/hostname") == f"{GUEST.name}\n"
    assert f"127.0.1.1\t{GUEST.name}\n" in text(tar, "etc/hosts")
    assert tar.getmember("etc/localtime").linkname == "/usr/share/zoneinfo/Europe/Berlin"
    assert tar.getmember("usr/sbin/policy-rc.d").mode == 0o755


# The machine is told what to do.


@pytest.mark.parametrize(
    ("kind", "line"), [("ext4", "ext4 errors=remount-ro 0 1"), ("xfs", "xfs defaults 0 0")]
)
def test_the_file_systems_are_named_by_the_ids_that_they_are_made_with(kind: str, line: str) -> None:
    guest = with_install(filesystem=kind)
    said = {entry.path: entry.content.decode() for entry in fastguest.entries(guest, (), "", IDS)}
    table = fastguest.fstab(guest, IDS)
    assert f"UUID={said['hostwright/root_uuid']} / {line}\n" in table
    serial = said["hostwright/esp_serial"]
    assert f"UUID={serial[:4]}-{serial[4:]} /boot/efi vfat" in table
    assert said["hostwright/filesystem"] == kind


def test_the_last_command_of_the_install_ends_this_one_too() -> None:
    guest = with_install(password_hash=None)
    found = {entry.path: entry for entry in fastguest.entries(guest, ("ssh-ed25519 A",), "deb x\n", IDS)}
    assert found["hostwright/late"].content == (paths.GUEST / "late.sh").read_bytes()
    assert found["hostwright/authorized_keys"].content == b"ssh-ed25519 A\n"
    assert found["hostwright/password"].content == b"!"
    assert "hostwright/without-password" in found
    assert "preseed.cfg" not in found
    executable = [path for path, entry in found.items() if entry.mode & stat.S_IXUSR]
    assert {"hostwright/second-stage", "usr/bin/in-target"} <= set(executable)


def test_every_file_that_the_second_stage_reads_is_handed_to_it() -> None:
    import re

    text = fastguest.SECOND_STAGE.read_text()
    named = set(re.findall(r'"\$answers/([a-z_]+)"', text))
    handed = {entry.path for entry in fastguest.entries(GUEST, (), "", IDS)}
    assert {f"hostwright/{name}" for name in named} <= handed
    assert len(named) >= 7


def test_the_stages_are_those_that_the_second_stage_tells() -> None:
    text = fastguest.SECOND_STAGE.read_text()
    said = [line.split()[-1].strip('"') for line in text.splitlines() if 'say "stage ' in line]
    assert said == [stage.item for stage in fastguest.STAGES[1:]]


def test_packages_are_told_as_the_installer_tells_them() -> None:
    guest = with_install(
        locale="de_DE.UTF-8",
        cmdline=("quiet", "iommu=pt"),
        preseed=("d-i a/b string c", "tzdata tzdata/Areas select Etc"),
    )
    lines = fastguest.selections(guest).splitlines()
    assert "locales locales/default_environment_locale select de_DE.UTF-8" in lines
    assert "grub-efi-amd64 grub2/linux_cmdline string console=tty0 console=ttyS0,115200n8 iommu=pt" in lines
    assert "tzdata tzdata/Areas select Etc" in lines
    assert not [line for line in lines if line.startswith("d-i")]


def test_the_disk_has_a_system_partition_and_the_rest() -> None:
    lines = fastguest.partition_table(IDS).splitlines()
    assert lines[0] == "label: gpt"
    assert lines[-2].startswith("start=1MiB, size=128MiB") and gpt.EFI_SYSTEM in lines[-2]
    assert "size=" not in lines[-1]


# Two guests are compared.


def manifest(*packages: tuple[str, str]) -> dict[str, object]:
    return {"packages": [[name, version, "amd64"] for name, version in packages]}


def test_differences_are_explained_or_said_to_be_unexplained() -> None:
    installed = manifest(("bash", "5"), ("eject", "2"), ("vim", "9"), ("linux", "6.12.1"))
    fast = manifest(("bash", "5"), ("linux", "6.12.2"), ("lsb-base", "11"))
    found = {one.package: one.reason for one in compare.find_differences(installed, fast)}
    assert found == {
        "eject:amd64": compare.INSTALLER_ONLY["eject"],
        "linux:amd64": compare.OTHER_TIME,
        "lsb-base:amd64": "",
        "vim:amd64": "",
    }
    lines = compare.compare(installed, fast).splitlines()
    assert "1 packages are the same" in lines[0] and "4 differ, 2 of them without" in lines[0]
    assert [line.endswith(compare.UNEXPLAINED) for line in lines[1:]] == [True, True, False, False]
    assert "eject:amd64: 2 installed, - without the installer" in "\n".join(lines)


def test_equal_guests_have_no_difference_in_any_order() -> None:
    assert compare.find_differences(manifest(("a", "1"), ("b", "2")), manifest(("b", "2"), ("a", "1"))) == []


def test_what_only_the_fast_guest_has_is_never_explained_away() -> None:
    assert compare.find_differences(manifest(), manifest(("eject", "2")))[0].reason == ""
