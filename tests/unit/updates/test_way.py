"""The script that takes an update in the emulated machine, and the menu that is typed at there."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.image.listing import Listing
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof.boot import drop_password
from hostwright.updates import way
from hostwright.updates.deliver import Wish
from hostwright.updates.host import Host, Running
from hostwright.vm.board import Firmware

WISH = Wish(keep=("/etc/a b",), discard=True)


@pytest.fixture
def machine() -> Machine:
    return load.load(paths.TREE / "host.toml")


def script(machine: Machine, folder: Path) -> str:
    signed = folder / "signed"
    signed.write_bytes(b"x" * 12345)
    running = Running("slot a runs: x", "0" * 16, Listing(), {}, Firmware.UEFI)
    return way.render_script(way.Way(Host("lab"), running, signed, WISH.words), machine)


def test_the_update_is_taken_as_on_the_host_and_the_script_leaves_no_trace(
    machine: Machine, tmp_path: Path
) -> None:
    text = script(machine, tmp_path)
    assert text.index('rm -f "$0"') < text.index("hostwright-update")
    assert "head -c 12345 /dev/sdb >/var/way.update" in text
    assert "hostwright-update --keep '/etc/a b' --discard /var/way.update" in text
    assert "/mnt" not in text
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0


def test_a_menu_with_a_password_is_opened_as_in_every_proof(machine: Machine, tmp_path: Path) -> None:
    """sed on the host and the proof's own rule leave the same lines."""
    locked = replace(machine, access=replace(machine.access, grub_password="grub.pbkdf2.sha512.10000.AA.BB"))
    found = re.search(r"sed -i '([^']*)'", script(locked, tmp_path))
    menu = (paths.GOLDEN / "grub-password.cfg").read_text()
    assert found and "password_" in menu
    opened = subprocess.run(["sed", found[1]], input=menu, capture_output=True, text=True, check=True).stdout
    assert opened == drop_password(menu) != menu
