"""GRUB with a password: the editor and the prompt are closed, the entries and the proof are not."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import pbkdf2_hmac
from pathlib import Path

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

PASSWORD, SALT = "passthrough", b"hostwright"
HASH = f"grub.pbkdf2.sha512.1000.{SALT.hex()}.{pbkdf2_hmac('sha512', PASSWORD.encode(), SALT, 1000).hex()}"
# An emulated processor computes the hash.
ANSWER_LIMIT_S = 60.0


@pytest.fixture(scope="module")
def host() -> Machine:
    lab = load.load(paths.TREE / "host.toml")
    return replace(lab, access=replace(lab.access, grub_password=HASH))


@pytest.fixture(scope="module")
def disk(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return machines.write_disk(host, tmp_path_factory.mktemp("password"))


@pytest.fixture(params=list(Firmware), ids=lambda firmware: firmware.value)
def menu(host: Machine, disk: Path, request: pytest.FixtureRequest) -> Iterator[Console]:
    """The serial line, with nothing typed so far; the menu's countdown has stopped."""
    with machines.at_menu(host, disk, request.param, f"menu-{request.param.value}") as line:
        line.settle()
        yield line


def answer(menu: Console, key: str, password: str) -> None:
    """Press `key` in the menu, and type name and password where GRUB prompts for them."""
    menu.press(key, "Enter username")
    menu.settle()
    menu.send("root\r")
    menu.wait_for("Enter password", ANSWER_LIMIT_S)
    menu.settle()
    menu.send(f"{password}\r")


def test_editor_and_prompt_need_the_password_and_an_entry_does_not(menu: Console) -> None:
    answer(menu, "e", "wrong")
    menu.wait_for("Access denied|access denied|entry is highlighted", ANSWER_LIMIT_S)
    menu.settle()
    answer(menu, "c", PASSWORD)
    menu.wait_for("grub>", ANSWER_LIMIT_S)
    menu.settle()
    menu.press("\x1b", "entry is highlighted")
    menu.send("\r")
    menu.wait_for(r"Linux version \d", boot.KERNEL_LIMIT_S, stop="Enter username")


def test_the_proof_types_at_the_prompt_of_a_copy(host: Machine, disk: Path) -> None:
    with (
        boot.opened(boot.find_inputs(host, disk), disk.parent) as inputs,
        machines.at_menu(host, inputs.image, Firmware.BIOS, "opened-boot") as line,
    ):
        assert inputs.image != disk
        boot.choose(line, Boot("opened", Firmware.BIOS, "selfcheck", LAB_WORDS))
        line.wait_for(boot.END, boot.SELF_CHECK_LIMIT_S, stop="Kernel panic")
