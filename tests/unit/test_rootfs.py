"""The root file system as an archive."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from posixpath import normpath

import pytest

from hostwright import image, rootfs
from hostwright import machine as model
from hostwright.errors import UserError
from hostwright.paths import TREE
from hostwright.recipe import EPOCH
from hostwright.rootfs import Node


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
        rootfs.assemble(machine, [], image.ids_for("x"), "6.12", tmp_path / "tar")
    assert not (tmp_path / "tar").exists()
