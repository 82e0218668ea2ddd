"""The root file system as an archive."""

import hashlib
import io
import re
import socket
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path
from posixpath import normpath

import pytest

from hostwright.base.errors import UserError
from hostwright.base.paths import ROOTFS, TREE
from hostwright.base.times import EPOCH
from hostwright.image import rootfs
from hostwright.image.rootfs import Node
from hostwright.machine import load as model


def archive(nodes: list[Node]) -> list[tarfile.TarInfo]:
    sink = io.BytesIO()
    rootfs.write_tar(rootfs.merge(nodes), sink)
    sink.seek(0)
    return tarfile.open(fileobj=sink).getmembers()


def test_owner_time_and_order_are_fixed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    members = archive([Node("b/c", 0o644, "x", tmp_path / "f"), Node("a", 0o600, "x", b"text")])
    assert [(m.name, m.mode, m.uid, m.gid, m.mtime) for m in members] == [
        ("a", 0o600, 0, 0, EPOCH),
        ("b", 0o755, 0, 0, EPOCH),
        ("b/c", 0o644, 0, 0, EPOCH),
    ]


def test_the_same_nodes_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    nodes = list(rootfs.standard_nodes())
    rootfs.write_tar(rootfs.merge(nodes), first)
    rootfs.write_tar(rootfs.merge(reversed(nodes)), second)
    assert first.getvalue() == second.getvalue()


def test_two_files_at_one_path_name_both_origins() -> None:
    with pytest.raises(UserError, match="/etc/x comes from two places: package one and rootfs/etc/x"):
        rootfs.merge([Node("etc/x", 0o644, "package one", b""), Node("etc/x", 0o644, "rootfs/etc/x", b"")])


def test_folders_may_come_twice() -> None:
    assert len(rootfs.merge([Node("etc", 0o755, "one"), Node("etc", 0o700, "two")])) == 1


@pytest.mark.parametrize(
    "path", ["usr/include/zlib.h", "usr/lib/libz.a", "usr/share/man/man1/x.1", "usr/lib/crt1.o"]
)
def test_what_only_builds_need_stays_out(path: str) -> None:
    assert not rootfs.is_wanted(path)


@pytest.mark.parametrize("path", ["usr/bin/ls", "usr/lib/libz.so.1", "usr/lib/grub/x86_64-efi/kernel.o"])
def test_what_a_host_needs_goes_in(path: str) -> None:
    assert rootfs.is_wanted(path)


def test_the_literal_tree(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow.j2").write_text("{{ word }}")
    (tmp_path / "etc/run").write_text("#!/bin/sh\n")
    (tmp_path / "etc/run").chmod(0o775)
    (tmp_path / "etc/link").symlink_to("../x")
    nodes = {n.path: n for n in rootfs.tree_nodes(tmp_path, {"word": "filled"})}
    assert nodes["etc/shadow"].content == b"filled" and nodes["etc/shadow"].mode == 0o600
    assert nodes["etc/run"].mode == 0o755
    assert nodes["etc/link"].link == "../x"


def test_temporary_folders_are_open_to_all_but_sticky() -> None:
    nodes = {n.path: n for n in rootfs.standard_nodes()}
    assert nodes["tmp"].mode == nodes["var/tmp"].mode == 0o1777
    assert nodes["root"].mode == 0o700
    assert nodes["lib"].link == "usr/lib"


def zone_nodes() -> list[Node]:
    zones = ("UTC", "Europe/Berlin", "America/Argentina/Ushuaia")
    nodes = [Node(rootfs.ZONES + zone, 0o644, "package tzdata", b"TZif") for zone in zones]
    return [*nodes, Node(rootfs.ZONES + "America/Argentina", 0o755, "package tzdata")]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia"])
def test_the_time_zone_of_the_machine_is_a_link(zone: str) -> None:
    machine = replace(model.load(TREE / "host.toml"), timezone=zone)
    (found,) = [node for node in rootfs.machine_nodes(machine) if node.path == "etc/localtime"]
    rootfs.check_timezone(zone, zone_nodes())
    assert normpath(f"etc/{found.link}") == f"usr/share/zoneinfo/{zone}"


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berlim", 'did you mean "Europe/Berlin"?'),
        ("Etc/Nowhere_at_all", "Area/City"),
        # A folder of zones.
        ("America/Argentina", "America/Argentina/Ushuaia"),
    ],
)
def test_a_zone_that_tzdata_does_not_have_is_refused(zone: str, hint: str) -> None:
    with pytest.raises(UserError, match=f'timezone = "{zone}"') as caught:
        rootfs.check_timezone(zone, zone_nodes())
    assert hint in caught.value.hint


def test_an_unknown_zone_stops_the_root_file_system(tmp_path: Path) -> None:
    machine = replace(model.load(TREE / "host.toml"), timezone="Europe/Berlim")
    with pytest.raises(UserError, match="Europe/Berlim"):
        rootfs.assemble(machine, [], "6.12", tmp_path / "tar", tmp_path / "data")
    assert not (tmp_path / "tar").exists()


def database(name: str) -> list[list[str]]:
    """The lines of /etc/services or /etc/protocols as words."""
    lines = (ROOTFS / "etc" / name).read_text().splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


# Each as its line is in protocols(5), but for the capitals.
OTHER_NAMES = {
    "icmpv6": "ipv6-icmp", "routing": "ipv6-route", "fragment": "ipv6-frag", "none": "ipv6-nonxt",
    "dstopts": "ipv6-opts", "ipip": "ipencap",
}  # fmt: skip


def test_protocols_have_the_numbers_of_the_headers() -> None:
    """<netinet/in.h> has them as Python's socket module shows them."""
    known = {
        name.removeprefix("IPPROTO_").lower(): getattr(socket, name) for name in dir(socket) if "OTO_" in name
    }
    numbers = {OTHER_NAMES.get(name, name): number for name, number in known.items()}
    given = {words[0]: int(words[1]) for words in database("protocols")}
    assert {name: given[name] for name in given if name in numbers} == {
        name: numbers[name] for name in given if name in numbers
    }
    assert {"icmp", "ipv6-icmp", "tcp", "udp"} <= given.keys() & numbers.keys()


@pytest.mark.parametrize("name", ["services", "protocols"])
def test_no_name_and_no_number_stands_for_two(name: str) -> None:
    lines = database(name)
    for column in (0, 1):
        keys = [(words[column], words[1].partition("/")[2]) for words in lines]
        assert sorted(set(keys)) == sorted(keys)


def test_services_are_a_port_and_a_protocol() -> None:
    protocols = {words[0] for words in database("protocols")}
    for words in database("services"):
        port, _, protocol = words[1].partition("/")
        assert 0 < int(port) < 1 << 16
        assert protocol in protocols
    assert ["ssh", "22/tcp"] in database("services")


def test_an_embedded_guest_goes_where_guest_start_finds_it() -> None:
    machine = model.load(TREE / "host.toml")
    [guest] = machine.guests
    place = "var/lib/hostwright/guests/debian"

    def embedded(wanted: bool) -> set[tuple[str, int]]:
        given = replace(machine, guests=(replace(guest, embed=wanted),))
        return {(node.path, node.mode) for node in rootfs.machine_nodes(given) if node.path.startswith(place)}

    assert embedded(True) == {(f"{place}/disk.qcow2", 0o600), (f"{place}/OVMF_VARS.fd", 0o600)}
    assert embedded(False) == set()


def assembled(folder: Path, host: str) -> dict[str, bytes]:
    """The files of the root file system of a machine, without packages but for one zone."""
    (folder / "host.toml").write_text(host)
    machine = model.load(folder / "host.toml")
    rootfs.assemble(machine, [], "6.12.1", folder / "root.tar", folder / "data.tar")
    with tarfile.open(folder / "root.tar") as tar:
        return {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]


LARGER = """
memory_mib = 65536
[[device]]
address = "0000:82:00.0"
[[guest]]
name = "more"
memory_mib = 512
disk_gib = 40
mac = "52:54:00:00:00:09"
devices = ["0000:82:00.0"]
"""


def test_a_root_file_system_names_no_disk_so_that_it_fits_either_slot_of_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "check_timezone", lambda zone, nodes: None)
    plain, larger = (assembled(tmp_path, 'name = "x"\n' + more) for more in ("", LARGER))
    for name, content in larger.items():
        assert not re.search(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", content), name
    assert plain["etc/os-release"] != larger["etc/os-release"]


def test_a_guest_that_comes_along_lies_in_the_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "check_timezone", lambda zone, nodes: None)
    (tmp_path / "disk.qcow2").write_bytes(b"disk")
    monkeypatch.setattr(rootfs, "embedded_files", lambda guest: [tmp_path / "disk.qcow2"])
    found = assembled(tmp_path, 'name = "x"\n' + LARGER)
    with tarfile.open(tmp_path / "data.tar") as tar:
        names = {one.name for one in tar}
    assert "lib/hostwright/guests/more/disk.qcow2" in names
    assert {"lib/hostwright", "log", "tmp", "run"} <= names
    assert not any(name.startswith("var/") for name in found)


def test_the_release_names_version_and_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "check_timezone", lambda zone, nodes: None)
    first, again = (assembled(tmp_path, 'name = "x"\n')["etc/os-release"].decode() for _ in range(2))
    version = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["version"]
    assert first == again
    assert f"VERSION_ID={version}\n" in first
    assert re.search(r"^BUILD_ID=[0-9a-f]{16}$", first, re.M)


@pytest.mark.parametrize(
    "other", [Node("a", 0o600, "x", b"1"), Node("a", 0o644, "x", b"2"), Node("b", 0o644, "x", b"1")]
)
def test_every_change_of_the_root_file_system_gives_another_build(other: Node) -> None:
    node = Node("a", 0o644, "x", b"1")

    def named(one: Node) -> str:
        return rootfs.build_id(rootfs.digested([one]))

    assert named(node) != named(other)
    assert named(node) == named(Node("a", 0o644, "another origin", b"1"))


def test_a_slot_lists_its_files_modes_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "check_timezone", lambda zone, nodes: None)
    found = assembled(tmp_path, 'name = "x"\n')
    listed = found[rootfs.MANIFEST].decode().splitlines()
    for name, content in found.items():
        if name != rootfs.MANIFEST:
            assert f"{hashlib.sha256(content).hexdigest()}  {name}" in listed
    assert "# f 600 etc/shadow" in listed
    assert "# l etc/rc.d/rcS.d/S02watchdog -> ../init.d/watchdog" in listed
    # The host does not look there.
    assert not [line for line in listed if "var/run" in line]
