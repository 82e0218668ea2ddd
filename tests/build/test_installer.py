"""The real installer medium, taken apart again."""

import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostwright.base import files, paths
from hostwright.build import store
from hostwright.formats import control, cpio, deb, elf, gpt
from hostwright.guest import initrd, medium, udeb
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.workshop import open_at
from hostwright.source import closure, fetch

Shell = Callable[[str], str]

PINS = initrd.load_lock()
PARTS = [pin for pin in PINS if pin.name != initrd.NETBOOT]


@pytest.fixture(scope="module")
def boot() -> initrd.Kit:
    return initrd.build_initrd(PINS, open_at(paths.log_file("installer")))


def inside(line: str, *binds: sandbox.Bind) -> bytes:
    """What a line of shell prints in the build root."""
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    return sandbox.output(sandbox.Job(tools, ("sh", "-euc", line), binds, cwd="/"), tools)


@pytest.fixture(scope="module")
def tree(boot: initrd.Kit) -> udeb.Tree:
    plain = inside("zstd -dc /input/initrd", sandbox.Bind(boot.folder, "/input"))
    return {entry.path: entry for entry in cpio.read(plain)}


@pytest.fixture(scope="module")
def unpacked(tree: udeb.Tree) -> Iterator[Path]:
    """The installer's files below a folder, without its device nodes."""
    with tempfile.TemporaryDirectory(dir=paths.DIST, prefix=".test-") as folder:
        for path, entry in sorted(tree.items()):
            target = Path(folder) / path
            if entry.is_folder:
                target.mkdir(exist_ok=True)
            elif entry.is_link:
                target.symlink_to(entry.content.decode())
            elif stat.S_ISREG(entry.mode):
                target.write_bytes(entry.content)
        yield Path(folder)


@pytest.fixture(scope="module")
def iso() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=paths.DIST, prefix=".test-") as folder:
        target = Path(folder) / "one.iso"
        medium.write_iso(target, medium.Start(), store.read_stamp("grub").tree, open_at(Path(folder) / "log"))
        yield target


@pytest.fixture(scope="module")
def shell(iso: Path) -> Shell:
    """Runs a line of shell in the build root: /input has the medium, /sysroot the host's GRUB."""
    grub = sandbox.Bind(store.read_stamp("grub").tree, "/sysroot")
    return lambda line: inside(line, sandbox.Bind(iso.parent, "/input"), grub).decode(errors="replace")


def test_every_part_of_the_lock_is_unpacked_and_not_configured(tree: udeb.Tree) -> None:
    found = {one["Package"]: (one["Version"], one["Status"]) for one in udeb.installed(tree)}
    assert {pin.name: found.get(pin.name) for pin in PARTS} == {
        pin.name: (pin.version, "install ok unpacked") for pin in PARTS
    }


def test_nothing_is_left_that_would_fetch_parts(tree: udeb.Tree) -> None:
    assert initrd.DOWNLOADER not in udeb.provided(tree)
    assert not [path for path in tree if path.startswith(f"{udeb.INFO}/{initrd.DOWNLOADER}.")]


def test_every_need_of_every_part_is_met(tree: udeb.Tree) -> None:
    there = udeb.provided(tree)
    _, excluded = closure.parse_seeds((paths.GUEST / "installer.seeds").read_text())
    unmet = {
        (stanza["Package"], " | ".join(names))
        for stanza in udeb.installed(tree)
        for names in control.dependencies(stanza, "Depends")
        if not {*names} & {*there, *excluded}
    }
    assert unmet == set()


def test_every_library_that_a_part_asks_for_is_there(unpacked: Path) -> None:
    programs = [file for file in unpacked.rglob("*") if elf.is_elf(file) and elf.is_loadable(file)]
    libraries = {path.name for path in (unpacked / "usr/lib").rglob("*.so*")}
    libraries |= {path.name for path in (unpacked / "usr/lib64").glob("*")}
    missing = {(file.name, name) for file in programs for name in elf.needed(file) if name not in libraries}
    assert {"mkfs.xfs", "mke2fs", "parted_server"} <= {file.name for file in programs}
    assert missing == set()


def test_no_script_of_an_added_part_runs_before_it_is_unpacked() -> None:
    """A preinst would have to run here; udpkg's other scripts run in the installer."""
    assert [
        pin.name
        for pin in PARTS
        for name, _, _ in deb.read(fetch.local(pin.sha256), "control")
        if name == "preinst"
    ] == []


@pytest.mark.parametrize(
    "module", ["ext4", "xfs", "vfat", "virtio_net", "virtio_blk", "virtio_scsi", "ahci", "nvme", "e1000e"]
)
def test_modprobe_finds_modules_of_the_image_and_of_the_parts(
    boot: initrd.Kit, unpacked: Path, module: str
) -> None:
    release = initrd.kernel_release(boot.kernel.read_bytes())
    line = f"modprobe -d /input -S {release} --show-depends {module}"
    plan = inside(line, sandbox.Bind(unpacked, "/input")).decode()
    last = plan.splitlines()[-1]
    assert last.startswith(("insmod ", "builtin "))
    assert module in last
    for word in re.findall(r"^insmod /input/(\S+)", plan, re.M):
        assert (unpacked / word).is_file()


def test_modules_have_the_version_of_the_kernel(boot: initrd.Kit, tree: udeb.Tree) -> None:
    assert udeb.module_releases(tree.values()) == {initrd.kernel_release(boot.kernel.read_bytes())}


def test_questions_come_from_the_image_and_from_the_parts() -> None:
    known = initrd.templates(PINS, open_at(paths.log_file("installer")))
    assert known["partman-auto/method"].owner == "partman-auto"
    assert known["partman/choose_partition"].type == "select"
    assert known["debian-installer/locale"].owner == "localechooser"
    assert known["base-installer/cannot_install"].type == "error"
    assert known["netcfg/get_hostname"].type == "string"
    assert f"debian-installer/{initrd.DOWNLOADER}/title" not in known


def test_the_first_screen_has_its_template_in_the_place_where_it_is_loaded(tree: udeb.Tree) -> None:
    hook = tree["usr/lib/debian-installer-startup.d/S20templates"].content.decode()
    assert "debconf-loadtemplate d-i /var/lib/dpkg/info/*.templates" in hook


def test_another_build_elsewhere_gives_the_same_bits(
    boot: initrd.Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = paths.cache()
    with tempfile.TemporaryDirectory(dir=paths.DIST, prefix=".test-") as folder:
        other = Path(folder) / "hostwright"
        other.mkdir()
        for name in ("downloads", "buildroot"):
            (other / name).symlink_to(real / name)
        monkeypatch.setenv("XDG_CACHE_HOME", folder)
        monkeypatch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        mask = os.umask(0o077)
        try:
            again = initrd.build_initrd(PINS, open_at(Path(folder) / "log"))
            assert again.folder != boot.folder
            for name in ("linux", "initrd", "templates.json"):
                assert files.digest(again.folder / name) == files.digest(boot.folder / name)
        finally:
            os.umask(mask)
            monkeypatch.undo()
            time.tzset()


def test_the_iso_is_the_same_when_written_again(iso: Path) -> None:
    with tempfile.TemporaryDirectory(dir=paths.DIST, prefix=".test-") as folder:
        again = Path(folder) / "deeper" / "two.iso"
        medium.write_iso(again, medium.Start(), store.read_stamp("grub").tree, open_at(Path(folder) / "log"))
        assert files.digest(again) == files.digest(iso)
        assert [file.name for file in again.parent.iterdir()] == ["two.iso"]


def test_firmware_finds_the_loader_on_a_disc_and_on_a_stick(shell: Shell) -> None:
    report = shell("xorriso -no_rc -indev /input/one.iso -report_el_torito plain 2> /dev/null")
    assert re.search(r"El Torito boot img :\s+1\s+UEFI", report)
    table = json.loads(shell("sfdisk --json /input/one.iso"))["partitiontable"]
    assert table["label"] == "gpt"
    esp = [one for one in table["partitions"] if one["type"] == gpt.EFI_SYSTEM]
    assert [one["size"] for one in esp] == [medium.ESP_SECTORS]
    cut = f"dd if=/input/one.iso of=/tmp/esp bs=512 skip={esp[0]['start']} count={medium.ESP_SECTORS} status=none"
    assert (
        shell(
            f"{cut}; fsck.fat -n /tmp/esp > /dev/null; mtype -i /tmp/esp ::/EFI/BOOT/BOOTX64.EFI | head -c 2"
        )
        == "MZ"
    )


def test_the_partition_table_has_both_copies(shell: Shell) -> None:
    said = shell("sfdisk --verify /input/one.iso 2>&1")
    assert "No errors detected" in said
    assert "corrupt" not in said


def test_the_menu_is_on_the_disc_and_grub_accepts_it(shell: Shell, boot: initrd.Kit) -> None:
    extract = "xorriso -no_rc -osirrox on -indev /input/one.iso -extract /boot/grub/grub.cfg /tmp/cfg"
    shell(f"{extract} 2> /dev/null; /sysroot/usr/bin/grub-script-check /tmp/cfg")
    listing = shell("xorriso -no_rc -indev /input/one.iso -find / -exec lsdl 2> /dev/null")
    assert "/install/answers" not in listing
    assert str(boot.initrd.stat().st_size) in listing
    assert [
        line for line in listing.splitlines() if " 0        0 " not in line or "Jan  1  2026" not in line
    ] == []


def test_answers_are_on_the_disc_as_they_were_given(boot: initrd.Kit) -> None:
    answers = cpio.write([cpio.Entry("preseed.cfg", stat.S_IFREG | 0o644, b"d-i x/y string z\n")])
    with tempfile.TemporaryDirectory(dir=paths.DIST, prefix=".test-") as folder:
        target = Path(folder) / "auto.iso"
        start = medium.Start(answers, ("auto=true",))
        medium.write_iso(target, start, store.read_stamp("grub").tree, open_at(Path(folder) / "log"))
        extract = "xorriso -no_rc -osirrox on -indev /input/auto.iso -extract /install/answers /tmp/a"
        line = f"{extract} 2> /dev/null; cat /tmp/a"
        assert inside(line, sandbox.Bind(Path(folder), "/input")) == answers
