"""A person with the root password gets in on the console; anybody else does not."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import boot
from hostwright.proof.expect import LAB_WORDS
from hostwright.proof.verdict import Boot
from hostwright.vm.board import Firmware
from hostwright.vm.console import Console
from tests.boot import machines

PASSWORD = "passthrough"
HASH = "$6$hostwright$7ISJkqBuOzXuLeTcuviLLC6mz8rm14pbolbgI/JnVvvwQ.PDFn/u.qHdSBDAeXhlIXyVZ0mOuHHmxsFVf1d7t/"
BOOT_LIMIT_S = 180.0
ANSWER_LIMIT_S = 30.0


@pytest.fixture(scope="module")
def host() -> Machine:
    lab = load.load(paths.TREE / "host.toml")
    return replace(lab, access=replace(lab.access, root_password_hash=HASH))


@pytest.fixture(scope="module")
def console(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The serial line of the booted image, on its way to the login."""
    disk = machines.write_disk(host, tmp_path_factory.mktemp("login"))
    with machines.at_menu(host, disk, Firmware.BIOS, "login") as line:
        boot.choose(line, Boot("login", Firmware.BIOS, "normal", LAB_WORDS))
        yield line


def log_in(console: Console, password: str) -> None:
    console.wait_for("login: ", BOOT_LIMIT_S)
    console.send("root\r")
    console.wait_for("Password: ", ANSWER_LIMIT_S)
    console.settle()
    console.send(f"{password}\r")


def test_a_wrong_password_is_refused_and_the_right_one_gives_a_shell(console: Console) -> None:
    log_in(console, "wrong")
    console.wait_for("Login incorrect", ANSWER_LIMIT_S)
    log_in(console, PASSWORD)
    console.wait_for(r"# ", ANSWER_LIMIT_S)
    console.send("echo id=$(id -u) tty=$(tty)\r")
    assert console.wait_for(r"id=(\d+) tty=(\S+)\s", ANSWER_LIMIT_S).groups() == ("0", "/dev/ttyS0")
