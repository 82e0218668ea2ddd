"""./doit update against a host that runs: real ssh, one word of the command line changed, and what it costs in time."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.build import store
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import boot as boots
from hostwright.proof import lab
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.sandbox.workshop import open_at
from hostwright.updates import bring, deliver, emulated, way
from hostwright.updates.host import Host
from hostwright.vm import login
from hostwright.vm.board import Firmware
from hostwright.vm.console import Console, ConsoleError
from tests.boot.machines import write_archives

WORD = "nmi_watchdog=0"
WISH = deliver.Wish(keep=emulated.KEPT)
MOST_SENT = 5 << 20
HOST_LIMIT_S = 3600.0
CONFIG = """Host lab
HostName 127.0.0.1
Port {port}
IdentityFile {key}
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


@pytest.fixture(scope="module")
def machine() -> Machine:
    """The lab with another word on its command line."""
    host = load.load(paths.TREE / "host.toml")
    return replace(host, kernel=replace(host.kernel, cmdline=(*host.kernel.cmdline, WORD)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bring")


@pytest.fixture(scope="module")
def key(folder: Path) -> Path:
    """The owner's key, which logs in and signs."""
    file = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "owner", "-f", file], check=True)
    return file


def read_on(console: Console) -> None:
    """What nobody reads would hold the machine."""
    try:
        console.wait_for("nothing says this", HOST_LIMIT_S)
    except ConsoleError:
        return


@pytest.fixture(scope="module")
def port(folder: Path, key: Path) -> Iterator[int]:
    """A host that runs what is in dist/, lets the owner in, and takes what he signed."""
    inputs = boots.find_inputs(load.load(paths.TREE / "host.toml"), paths.HOST_IMAGE)
    known = login.Key(key.read_text(), key.with_suffix(".pub").read_text().strip())
    boots.copy_image(folder, inputs, known)
    (folder / lab.IMAGE).rename(folder / "host.img")
    (folder / emulated.DRIVE).touch()
    with emulated.running(inputs, folder, folder / "host.img", Firmware.UEFI, "host") as (console, number):
        reader = threading.Thread(target=read_on, args=(console,))
        reader.start()
        with login.connect("127.0.0.1", number, "root", known.private, LOGIN_LIMIT_S) as shell:
            signer = f"hostwright {known.public}"
            assert shell.run(f"echo '{signer}' >>/etc/hostwright/update_signers; date >/var/mine")[0] == 0
        yield number
    reader.join()


def test_one_word_of_the_command_line(
    machine: Machine, folder: Path, key: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("ssh")
    assert program
    (folder / "config").write_text(CONFIG.format(port=port, key=key))
    (folder / "bin").mkdir()
    (folder / "bin/ssh").write_text(f'#!/bin/sh\nexec {program} -F {folder}/config "$@"\n')
    (folder / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")
    build = way.Build(machine, write_archives(machine, folder), store.read_stamp("grub").tree)
    places = bring.Places(folder / "partial", folder / "signed", folder / "proof-way")
    said: list[str] = []
    bring.bring(Host("lab"), key, build, WISH, places, open_at(folder / "update.log"), said.append)
    print("\n".join(said))
    assert any("the way from build" in line and "rows are green" in line for line in said)
    assert f"build {build.id}, and its self-check is green" in said[-2]
    assert places.signed.stat().st_size < MOST_SENT
    host = Host("lab")
    assert WORD in host.require("cat /proc/cmdline").split()
    assert "slot b starts" in host.require("hostwright-update status && test -s /var/mine")
