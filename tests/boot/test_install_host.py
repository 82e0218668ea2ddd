"""hostwright-install on the booted host: the copy on the other disk boots alone, under both kinds of firmware."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import lab
from hostwright.proof.boot import (
    MENU_LIMIT_S,
    NO_BOOT,
    POWER_OFF_LIMIT_S,
    choose,
    copy_image,
    fill,
    find_inputs,
)
from hostwright.proof.expect import LAB_WORDS
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.proof.login_rows import HOST
from hostwright.proof.verdict import Boot
from hostwright.vm import board, login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import Console
from hostwright.vm.login import free_port

DISK_MIB = 4096
INSTALL_LIMIT_S = 400.0
SECOND = "second.img"
IDENTITY = "identity"
OTHER_CLOCK = "2026-01-09T00:00:00"


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


@contextmanager
def booted(host: Machine, folder: Path, boot: Boot, argv: tuple[str, ...], name: str) -> Iterator[Console]:
    """The host from the disk that `argv` names, past GRUB's menu."""
    inputs = find_inputs(host, paths.HOST_IMAGE)
    job = replace(process.plan_job(argv, folder, inputs.tools, Accelerator.TCG), network=True)
    with process.running(job, folder / f"{name}.log") as (console, _):
        console.wait_for("executed automatically in", MENU_LIMIT_S, stop=NO_BOOT)
        choose(console, boot)
        yield console


def identity(shell: login.Session) -> str:
    """The host's key and its DHCP DUID: a line each, none of them empty."""
    status, said = shell.run(
        "cut -d ' ' -f 2 /var/lib/hostwright/ssh/ssh_host_ed25519_key.pub && cat /var/lib/dhcpcd/duid"
    )
    assert status == 0, said
    lines = said.split()
    assert len(lines) == 2
    return said


@pytest.fixture(scope="module")
def installed(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the disk SECOND, on which the booted host has installed itself, and the key for it."""
    folder = tmp_path_factory.mktemp("install")
    key, port = login.generate_key(), free_port()
    fill(folder, find_inputs(host, paths.HOST_IMAGE))
    copy_image(folder, find_inputs(host, paths.HOST_IMAGE), key)
    with (folder / SECOND).open("wb") as disk:
        disk.truncate(DISK_MIB << 20)
    (folder / "key").write_text(key.private)
    drive = f"if=none,id=second,file={board.FOLDER}/{SECOND},format=raw"
    argv = (
        *lab.plan_boot(host, Firmware.UEFI, Accelerator.TCG, port),
        *("-drive", drive, "-device", "ide-hd,bus=ide.1,drive=second"),
    )
    with ExitStack() as stack:
        console = stack.enter_context(booted(host, folder, HOST, argv, "installing"))
        shell = stack.enter_context(login.connect("127.0.0.1", port, "root", key.private, LOGIN_LIMIT_S))
        assert "is in use" in shell.run("hostwright-install --yes /dev/sda")[1]
        status, said = shell.run("hostwright-install --yes /dev/sdb", INSTALL_LIMIT_S)
        assert status == 0, said
        assert "boots this host" in said
        (folder / IDENTITY).write_text(identity(shell))
        shell.run("init 0")
        console.wait_for_end(POWER_OFF_LIMIT_S)
    return folder


@pytest.mark.parametrize("firmware", list(Firmware))
def test_the_copy_boots_alone(host: Machine, installed: Path, firmware: Firmware) -> None:
    port = free_port()
    # With the same card and the same second on the emulated clock, it would make the same DUID by itself.
    argv = tuple(
        word.replace(f"/{lab.IMAGE}", f"/{SECOND}").replace(lab.CLOCK, OTHER_CLOCK)
        for word in lab.plan_boot(host, firmware, Accelerator.TCG, port)
    )
    assert any(OTHER_CLOCK in word for word in argv)
    boot = Boot("copy", firmware, "normal", LAB_WORDS)
    key = (installed / "key").read_text()
    with (
        booted(host, installed, boot, argv, f"copy-{firmware.value}"),
        login.connect("127.0.0.1", port, "root", key, LOGIN_LIMIT_S) as shell,
    ):
        assert shell.run("hostwright-selfcheck --quiet")[0] == 0
        assert set(identity(shell).split()).isdisjoint((installed / IDENTITY).read_text().split())
        size_mib = int(shell.run("df -BM --output=size /var | tail -n 1 | tr -dc 0-9")[1])
        # The whole disk, less the other partitions and the file system's own tables.
        assert size_mib > DISK_MIB - host.disk.esp_mib - 2 * host.disk.root_mib - 250
