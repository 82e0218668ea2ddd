"""The update of a running host as a file: its manifest, its form, and its signature."""

import tarfile
from pathlib import Path

import pytest

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.image import rootfs, update
from hostwright.machine import load

RELEASE = (
    'NAME="Hostwright"\nVERSION_ID=1.2.3\nBUILD_ID=0123456789abcdef\nPRETTY_NAME="Hostwright 1.2.3 (lab)"\n'
)


def unsigned(folder: Path) -> Path:
    target = folder / "host.update"
    update.write_tar(target, [("manifest", b"format 1\n"), ("root.tar.xz", b"payload")])
    return target


def members(file: Path) -> list[tuple[str, int, int, int]]:
    with tarfile.open(file) as tar:
        return [(one.name, one.mode, one.uid, int(one.mtime)) for one in tar]


def test_the_manifest_says_what_the_host_checks(tmp_path: Path) -> None:
    payload = tmp_path / "root.tar.xz"
    payload.write_bytes(b"payload")
    machine = load.load(paths.TREE / "host.toml")
    release = {"VERSION_ID": "1.2.3", "BUILD_ID": "0123456789abcdef"}
    assert update.render_manifest(machine, release, 100 << 20, payload) == (
        "format 1\nmachine lab\nversion 1.2.3\nbuild 0123456789abcdef\nroot_mib 154\n"
        f"payload_bytes 7\npayload_sha256 {files.digest(payload)}\n"
    )


def test_an_update_for_one_build_names_it_and_has_another_format(tmp_path: Path) -> None:
    payload = tmp_path / "root.tar.xz"
    payload.write_bytes(b"payload")
    machine = load.load(paths.TREE / "host.toml")
    release = {"VERSION_ID": "1.2.3", "BUILD_ID": "0123456789abcdef"}
    text = update.render_manifest(machine, release, 1, payload, update.Base("fedcba9876543210", {}))
    assert text.startswith("format 2\n") and text.endswith("\nbase fedcba9876543210\n")


def nodes_of(content: dict[str, bytes]) -> list[rootfs.Node]:
    nodes = [rootfs.Node(path, 0o644, "test", text) for path, text in content.items()]
    return [
        *nodes,
        rootfs.Node("etc/link", 0o777, "test", link="same"),
        rootfs.list_slot(rootfs.digested(nodes)),
    ]


def test_what_the_slot_has_is_left_out_and_menu_release_and_list_never(tmp_path: Path) -> None:
    same = {
        "boot/grub/grub.cfg": b"menu",
        "etc/resolv.conf": b"",
        "etc/os-release": b"BUILD_ID=1\n",
        "etc/same": b"1",
        "etc/moded": b"1",
    }
    nodes = rootfs.merge(nodes_of({**same, "etc/changed": b"2"}))
    with (tmp_path / "root.tar").open("wb") as sink:
        rootfs.write_tar(nodes, sink)
    listed = update.read_listing(tmp_path / "root.tar")
    known = {
        **listed.files,
        "etc/changed": (0o644, "0" * 64),
        "etc/moded": (0o600, listed.files["etc/moded"][1]),
    }
    update.thin(tmp_path / "root.tar", update.Base("1", known), tmp_path / "thin.tar")
    with tarfile.open(tmp_path / "thin.tar") as tar:
        assert [one.name for one in tar if not one.isdir()] == [
            *(
                "boot/grub/grub.cfg",
                "etc/changed",
                "etc/link",
                "etc/moded",
                "etc/os-release",
                "etc/resolv.conf",
            ),
            "usr/share/hostwright/manifest",
        ]
        changed = tar.extractfile("etc/changed")
        assert changed and changed.read() == b"2"
    update.thin(tmp_path / "root.tar", update.Base("1", {}), tmp_path / "whole.tar")
    assert members(tmp_path / "whole.tar") == members(tmp_path / "root.tar")


def test_every_key_that_the_host_reads_is_written() -> None:
    """One rule on both sides: hostwright-update asks for no key that is not there."""
    script = (paths.ROOTFS / "usr/sbin/hostwright-update").read_text()
    asked = {word.split(")")[0] for word in script.split("$(value ")[1:]}
    written = {"format", "machine", "version", "build", "root_mib", "payload_bytes", "payload_sha256", "base"}
    assert asked == written
    assert f"formats='{update.WHOLE} {update.PARTIAL}'\n" in script
    assert f"own='{' '.join(update.OWN)}'\n" in script
    assert f"-n {update.NAMESPACE} " in script
    assert f"'{update.MANIFEST} {update.SIGNATURE} {update.PAYLOAD} '" in script


def test_the_release_is_read_from_the_archive(tmp_path: Path) -> None:
    update.write_tar(tmp_path / "root.tar", [("etc/os-release", RELEASE.encode())])
    found = update.read_release(tmp_path / "root.tar")
    assert (found["VERSION_ID"], found["BUILD_ID"]) == ("1.2.3", "0123456789abcdef")
    assert found["PRETTY_NAME"] == "Hostwright 1.2.3 (lab)"


def test_the_file_has_its_parts_in_order_and_nothing_of_this_machine(tmp_path: Path) -> None:
    first, again = unsigned(tmp_path), tmp_path / "again"
    assert members(first) == [("manifest", 0o644, 0, 1767225600), ("root.tar.xz", 0o644, 0, 1767225600)]
    update.write_tar(again, [("manifest", b"format 1\n"), ("root.tar.xz", b"payload")])
    assert first.read_bytes() == again.read_bytes()


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program ssh-keygen that records its words, and does what `body` says."""
    program = folder / "bin/ssh-keygen"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$*" >{folder}/words\n{body}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_the_signature_lies_between_manifest_and_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, 'echo signed >"$last.sig"')
    update.sign(unsigned(tmp_path), Path("/keys/mine"), tmp_path / "signed")
    assert [name for name, *_ in members(tmp_path / "signed")] == ["manifest", "manifest.sig", "root.tar.xz"]
    assert (tmp_path / "words").read_text().startswith("-q -Y sign -f /keys/mine -n hostwright-update ")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bin", "host.update", "signed", "words"]


def test_a_key_that_cannot_sign_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "echo no such identity >&2; exit 255")
    with pytest.raises(UserError, match=r"/keys/mine: ssh-keygen cannot sign with it: no such identity"):
        update.sign(unsigned(tmp_path), Path("/keys/mine"), tmp_path / "signed")
    assert not (tmp_path / "signed").exists()
    assert not (tmp_path / ".signed.work").exists()
