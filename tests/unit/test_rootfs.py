"""The root file system as an archive."""

import io
import tarfile
from pathlib import Path

import pytest

from hostwright import rootfs
from hostwright.errors import UserError
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
