"""hostwright-update writes an update that leaves out what the running slot has, on a made-up host."""

import lzma
import shutil
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.image import rootfs, update
from hostwright.machine import load
from tests.fakes.host import FakeHost
from tests.unit.host.test_update import arrange, listed, write_manifest
from tests.unit.host.test_update import update as call

SLOT = "run/hostwright/update/slot"
BUILDS = ("0123456789abcdef", "fedcba9876543210")
SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]
FILES = {"etc/same": "1", "etc/changed": "1", "etc/kept": "1", "boot/grub/grub.cfg": "old menu"}


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    """A host with room in its other slot, whose signatures are always good."""
    made = FakeHost(tmp_path / "host", request.param)
    arrange(made, good="a")
    for name in ("mkfs.ext4", "e2fsck", "ssh-keygen"):
        made.command(name)
    made.write("sys/class/block/sda4/size", f"{4096 * 2048}\n")
    made.write("etc/hostwright/update_signers", "hostwright ssh-ed25519 AAAA\n")
    for path, text in FILES.items():
        made.write(path, text).chmod(0o644)
    write_manifest(made)
    return made


def base(host: FakeHost) -> update.Base:
    return update.Base(BUILDS[0], listing_of(host))


def listing_of(host: FakeHost) -> dict[str, tuple[int, str]]:
    from hostwright.image import listing

    return dict(listing.parse((host.root / rootfs.MANIFEST).read_text()).files)


def send(host: FakeHost, new: dict[str, str], known: update.Base, *words: str) -> tuple[int, str]:
    """Have the host write an update to the files `new` that leaves out what is in `known`."""
    content = {**new, "etc/os-release": f"VERSION_ID=2\nBUILD_ID={BUILDS[1]}\n"}
    nodes = [rootfs.Node(path, 0o644, "test", text.encode()) for path, text in content.items()]
    nodes.append(rootfs.list_slot(rootfs.digested(nodes)))
    work = host.root.parent
    with (work / "root.tar").open("wb") as sink:
        rootfs.write_tar(rootfs.merge(nodes), sink)
    update.thin(work / "root.tar", known, work / "thin.tar")
    (work / update.PAYLOAD).write_bytes(lzma.compress((work / "thin.tar").read_bytes()))
    machine = load.load(paths.TREE / "host.toml")
    text = update.render_manifest(
        machine, {"VERSION_ID": "2", "BUILD_ID": BUILDS[1]}, 1, work / update.PAYLOAD, known
    )
    parts: list[tuple[str, bytes | Path]] = [
        (update.MANIFEST, text.encode()),
        (update.SIGNATURE, b"x"),
        (update.PAYLOAD, work / update.PAYLOAD),
    ]
    update.write_tar(work / "signed", parts)
    # What the made-up host itself leaves below its root is no part of the story.
    return call(host, "--discard", *words, str(work / "signed"))


NEW = {**FILES, "etc/changed": "2", "boot/grub/grub.cfg": "new menu"}


def test_the_slot_is_whole_though_the_update_has_only_what_changed(host: FakeHost) -> None:
    status, said = send(host, NEW, base(host))
    assert (status, f"build {BUILDS[1]}" in said) == (0, True), said
    assert {path: (host.root / SLOT / path).read_text() for path in NEW} == NEW
    assert "etc/same\n" not in (host.root / "run/hostwright/update/sent").read_text()


def test_another_build_than_the_update_is_for_is_refused(host: FakeHost) -> None:
    host.write("etc/os-release", f"BUILD_ID={BUILDS[1]}\nVARIANT_ID=lab\n")
    status, said = send(host, NEW, base(host))
    assert (status, f"only what changed since build {BUILDS[0]}" in said) == (1, True)
    assert not (host.root / SLOT / "etc").exists()


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_an_edited_file_is_not_taken_from_this_slot(host: FakeHost, how: str) -> None:
    known = base(host)
    (host.root / "etc/same").unlink()
    if how == "changed":
        host.write("etc/same", "edited")
    status, said = send(host, NEW, known)
    assert (status, f"takes /etc/same from this slot, where it was {how}: send a whole update" in said) == (
        1,
        True,
    )
    assert f"{how} /etc/same" in listed(call(host, "changes")[1])
    assert not (host.root / SLOT / "etc").exists()


def test_an_edited_file_that_the_update_has_may_be_kept(host: FakeHost) -> None:
    known = {path: one for path, one in listing_of(host).items() if path != "etc/kept"}
    host.write("etc/kept", "edited")
    status, said = send(host, NEW, update.Base(BUILDS[0], known), "--keep", "/etc/kept")
    assert status == 0, said
    assert (host.root / SLOT / "etc/kept").read_text() == "edited"
    assert (host.root / SLOT / "etc/same").read_text() == "1"


def test_a_file_that_goes_bad_on_the_way_is_found_when_it_is_read_back(host: FakeHost) -> None:
    host.command("e2fsck", f"echo damaged >{host.root}/{SLOT}/etc/same")
    status, said = send(host, NEW, base(host))
    assert (status, "this failed, and the slot that runs stays as it is" in said) == (1, True)
    assert not (host.root / SLOT / "boot/grub/grub.cfg").exists()
