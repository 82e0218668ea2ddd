"""Two disks for data: an array with a volume on it is made, mounted at the next boot, and mounted with one disk too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.image import guest_files
from hostwright.image.templates import render_text
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.machine.storage import Storage
from hostwright.proof import lab
from hostwright.proof.boot import POWER_OFF_LIMIT_S, alter, copy_image, fill, find_inputs
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.updates.emulated import pass_menu
from hostwright.vm import login, process
from hostwright.vm.board import FOLDER, Accelerator, Firmware
from hostwright.vm.console import Console
from tests.boot.machines import write_over

UUID = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40"
DISK_MIB = 128
DOWN_LIMIT_S = 120.0
MAKE = f"""set -e
modprobe -a md_mod dm_mod
mdadm --create /dev/md/fast --run --assume-clean --level 1 --raid-devices 2 --bitmap internal /dev/sdb /dev/sdc
pvcreate /dev/md/fast; vgcreate fast /dev/md/fast; lvcreate --yes -n guests -l 100%FREE fast
mkfs.ext4 -q -U {UUID} /dev/fast/guests"""
FAILED = "hostwright-selfcheck --quiet | sed -n 's/^self-check: //p'"


@dataclass(frozen=True)
class Scene:
    """The host with a storage in host.toml, its guest on it, and the folder with its disks."""

    host: Machine
    folder: Path
    key: login.Key


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    lab_host = load.load(paths.TREE / "host.toml")
    (guest,) = lab_host.guests
    storage = (Storage("fast", UUID, "/srv/fast", "ext4", ("discard",)),)
    host = replace(lab_host, storage=storage, guests=(replace(guest, storage="fast"),))
    folder, key = tmp_path_factory.mktemp("storage"), login.generate_key()
    inputs = find_inputs(host, paths.HOST_IMAGE)
    fill(folder, inputs)
    copy_image(folder, inputs, key)
    for path, text in changed_files(host):
        (folder / Path(path).name).write_text(text)
        alter(folder, inputs, write_over(f"/{path}"))
        (folder / Path(path).name).unlink()
    for name in ("first", "second"):
        with (folder / name).open("wb") as disk:
            disk.truncate(DISK_MIB << 20)
    return Scene(host, folder, key)


def changed_files(host: Machine) -> list[tuple[str, str]]:
    """What the storage changes on the image."""
    template = paths.ROOTFS / "etc/hostwright/storage.j2"
    table = render_text(template.read_text(), template.name, {"machine": host})
    return [("etc/hostwright/storage", table), *guest_files.render_host(host)]


@contextmanager
def running(scene: Scene, name: str, *disks: str) -> Iterator[tuple[Console, int]]:
    """The lab with disks for data; its console, past GRUB's menu, and the port of its ssh."""
    port = login.free_port()
    planned = lab.plan_boot(scene.host, Firmware.UEFI, Accelerator.TCG, port)
    argv = [word for word in planned if word != "-no-reboot"]
    for number, disk in enumerate(disks, start=1):
        argv += ["-drive", f"if=none,id={disk},file={FOLDER}/{disk},format=raw"]
        argv += ["-device", f"ide-hd,bus=ide.{number},drive={disk}"]
    tools = find_inputs(scene.host, paths.HOST_IMAGE).tools
    job = replace(process.plan_job(tuple(argv), scene.folder, tools, Accelerator.TCG), network=True)
    with process.running(job, scene.folder / f"{name}.log") as (console, _):
        pass_menu(console)
        yield console, port


@contextmanager
def shell(scene: Scene, port: int) -> Iterator[login.Session]:
    """A login after the boot has come to its end."""
    with login.connect("127.0.0.1", port, "root", scene.key.private, LOGIN_LIMIT_S) as session:
        said(session, "until [ -e /run/hostwright/verdict ]; do sleep 1; done")
        yield session


def said(session: login.Session, command: str) -> str:
    status, text = session.run(command, DOWN_LIMIT_S)
    assert status == 0, f"{command}: {text}"
    return text.strip()


def test_disks_for_data_are_mounted_or_left_out(scene: Scene) -> None:
    with running(scene, "whole", "first", "second") as (console, port):
        console.wait_for(f"storage: fast is left out: no disk has the file system {UUID}", LOGIN_LIMIT_S)
        with shell(scene, port) as session:
            check_nothing_there(session)
            said(session, MAKE)
            session.run("shutdown -r now")
        pass_menu(console, DOWN_LIMIT_S)
        with shell(scene, port) as session:
            check_mounted(session)
            assert said(session, FAILED).startswith("pass, ")
            assert said(session, "guest check debian | grep storage").startswith("green   storage")
            said(session, "echo kept >/srv/fast/mine")
            session.run("shutdown -h -P now")
        console.wait_for("storage: the file systems for data are unmounted", DOWN_LIMIT_S)
        console.wait_for_end(POWER_OFF_LIMIT_S)
    with running(scene, "degraded", "second") as (console, port), shell(scene, port) as session:
        check_mounted(session)
        assert said(session, "cat /srv/fast/mine") == "kept"
        assert said(session, FAILED) == "fail: array:md127"
        assert "array /dev/md127 lacks a disk" in said(session, "cat /etc/motd")


def check_nothing_there(session: login.Session) -> None:
    """No array has been made yet: the boot has come to its end all the same, and says what is missing."""
    assert said(session, FAILED) == "fail: storage:fast"
    status, text = session.run("guest start debian")
    assert status == 1
    assert f"not there: fast at /srv/fast: no disk has the file system {UUID}" in text
    assert "debian is not started: no-storage" in text


def check_mounted(session: login.Session) -> None:
    source, kind, options = said(session, "findmnt -n -o SOURCE,FSTYPE,OPTIONS /srv/fast").split()
    assert (source, kind) == ("/dev/mapper/fast-guests", "ext4")
    assert {"rw", "nodev", "nosuid", "noatime", "discard"} <= set(options.split(","))
    said(session, "kill -0 $(cat /run/mdadm/monitor.pid)")
    assert said(session, "hostwright-update changes").count("/etc/lvm") == 0
