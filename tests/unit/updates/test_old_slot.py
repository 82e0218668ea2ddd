"""What a host says of itself, and its slot put together from the new build and from what was pulled."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.image import rootfs, update
from hostwright.image.rootfs import Node
from hostwright.updates import host as hosts
from hostwright.updates import old_slot
from hostwright.vm.board import Firmware

HOST = hosts.Host("lab")
# Runs what a host would run, below a folder instead of /.
SSH = """#!/bin/sh
for command; do :; done
case $command in
    hostwright-update*) cat "$world/status" ;;
    *) cd "$world/slot" && exec sh -c "$(printf '%s' "$command" | sed 's| /usr/| usr/|g; s|^cd / &&||')" ;;
esac
"""
BUILD = "0123456789abcdef"
STATUS = f"slot a runs: version 1, build {BUILD}\nslot b: nothing that starts\nslot a starts\n"
OLD = {
    "etc/os-release": b"BUILD_ID=0\n", "etc/same": b"same", "etc/moved": b"content", "usr/bin/old": b"old program",
    "etc/edited": b"edited", "etc/gone": b"same",
}  # fmt: skip
NEW = {
    "etc/os-release": b"BUILD_ID=1\n", "etc/same": b"same", "usr/share/elsewhere": b"content", "usr/bin/new": b"new",
    "etc/edited": b"edited",
}  # fmt: skip


def nodes(content: dict[str, bytes]) -> list[Node]:
    own = [Node(path, 0o640, "test", text) for path, text in content.items()]
    own.append(Node("etc/link", 0o777, "test", link="same"))
    return rootfs.merge([*own, rootfs.list_slot(rootfs.digested(own))])


def write(file: Path, content: dict[str, bytes]) -> Path:
    with file.open("wb") as sink:
        rootfs.write_tar(nodes(content), sink)
    return file


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose slot was written, and then edited by its owner."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("world", str(tmp_path))
    slot = tmp_path / "slot"
    slot.mkdir()
    subprocess.run(["tar", "-C", slot, "-xpf", write(tmp_path / "old.tar", OLD)], check=True)
    (slot / "etc/edited").write_text("by hand")
    (slot / "etc/added").write_text("also by hand")
    (slot / "etc/gone").unlink()
    (slot / hosts.LOCAL).mkdir(parents=True)
    (slot / hosts.LOCAL / "keep").write_text("/etc/edited\n")
    (slot / hosts.LOCAL / "settings").write_text("of the real devices\n")
    edits = "changed /etc/edited\nadded /etc/added\nremoved /etc/gone\n"
    (tmp_path / "status").write_text(f"{STATUS}{edits}uefi\n")
    return tmp_path


def pulled(world: Path) -> tuple[hosts.Running, Path]:
    running = hosts.ask(HOST)
    new = write(world / "new.tar", NEW)
    hosts.pull(HOST, running, update.read_listing(new), world / "pulled.tar")
    return running, world / "pulled.tar"


def content_of(archive: Path) -> dict[str, tuple[int, bytes]]:
    with tarfile.open(archive) as tar:
        found = [(one, tar.extractfile(one)) for one in tar if one.isreg()]
        return {one.name: (one.mode, source.read()) for one, source in found if source}


def test_the_host_says_what_runs_and_what_was_edited(world: Path) -> None:
    running = hosts.ask(HOST)
    assert (running.build, running.firmware) == (BUILD, Firmware.UEFI)
    assert running.edits == {"etc/edited": "changed", "etc/added": "added", "etc/gone": "removed"}
    assert running.listed.links == {"etc/link": "same"}
    assert sorted(running.base.files) == ["etc/moved", "etc/os-release", "etc/same", "usr/bin/old"]


def test_only_what_the_new_build_does_not_have_is_pulled(world: Path) -> None:
    _, archive = pulled(world)
    assert sorted(content_of(archive)) == [
        *("etc/added", "etc/edited", "etc/os-release", "usr/bin/old", rootfs.MANIFEST, f"{hosts.LOCAL}/keep"),
    ]


def test_the_old_slot_is_as_it_is_on_the_host(world: Path) -> None:
    running, archive = pulled(world)
    old_slot.write_root(running, archive, world / "new.tar", world / "again.tar")
    found = content_of(world / "again.tar")
    slot = world / "slot"
    on_host = {
        str(file.relative_to(slot)): (file.stat().st_mode & 0o7777, file.read_bytes())
        for file in slot.rglob("*")
        if file.is_file() and not file.is_symlink() and not file.is_relative_to(slot / "var")
    }
    assert found == on_host
    with tarfile.open(world / "again.tar") as tar:
        assert tar.getmember("etc/link").linkname == "same"
        assert tar.getnames() == sorted(tar.getnames())


def test_the_owners_settings_are_in_the_data(world: Path) -> None:
    _, archive = pulled(world)
    data = write(world / "data.tar", {"lib/x": b"x"})
    old_slot.write_data(archive, data, world / "again.tar")
    found = content_of(world / "again.tar")
    assert found["lib/hostwright/local/keep"][1] == b"/etc/edited\n"
    assert found["lib/x"][1] == b"x"


def test_a_file_that_the_host_did_not_send_is_named(world: Path) -> None:
    running, archive = pulled(world)
    with tarfile.open(world / "cut.tar", "w") as cut, tarfile.open(archive) as whole:
        for one in whole:
            if one.name != "usr/bin/old":
                cut.addfile(one, whole.extractfile(one) if one.isreg() else None)
    with pytest.raises(UserError, match="the host did not send usr/bin/old"):
        old_slot.write_root(running, world / "cut.tar", world / "new.tar", world / "again.tar")


def test_a_host_that_cannot_be_reached_is_one_clear_error(world: Path) -> None:
    (world / "bin/ssh").write_text(
        "#!/bin/sh\necho 'ssh: connect to host lab: No route to host' >&2\nexit 255\n"
    )
    with pytest.raises(UserError, match="lab: ssh: connect to host lab: No route to host"):
        hosts.ask(HOST)


def test_a_host_without_a_build_is_one_clear_error(world: Path) -> None:
    (world / "status").write_text("slot a runs: \n")
    with pytest.raises(UserError, match="lab does not name the build that it runs"):
        hosts.ask(HOST)
