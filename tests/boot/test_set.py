"""What an owner sets on a host that runs: refused where a build refuses it, tried, kept, and there after a restart."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.machine import load, local
from hostwright.proof import lab
from hostwright.proof.boot import copy_image, fill, find_inputs
from hostwright.updates.emulated import Visited
from hostwright.vm import login, process
from hostwright.vm.board import HOST_ADDRESS, Accelerator, Firmware
from tests.boot.machines import said, wait_for

# The drive that stays with the host, the controller of its disk, and its network card.
TWIN, DISK, CARD = "0000:02:00.0", "0000:00:1f.2", "0000:00:05.0"
GATEWAY, ELSEWHERE = "10.0.2.2", "10.0.2.99/24"
LIMIT_S = 120.0
TRIAL_S = 30


def refused(shell: login.Session, words: str) -> str:
    status, text = shell.run(f"hostwright-set {words}", LIMIT_S)
    assert status == 1, f"{words}: {text}"
    return text


def driver(shell: login.Session, address: str) -> str:
    return said(shell, f"basename $(readlink /sys/bus/pci/devices/{address}/driver)").strip()


def test_settings_count_from_the_next_boot_on(tmp_path: Path) -> None:
    host = load.load(paths.TREE / "host.toml")
    inputs, port, key = find_inputs(host, paths.HOST_IMAGE), login.free_port(), login.generate_key()
    fill(tmp_path, inputs)
    copy_image(tmp_path, inputs, key)
    planned = lab.plan_boot(host, Firmware.UEFI, Accelerator.TCG, port)
    # A restart is one, and does not end QEMU.
    argv = tuple(word for word in planned if word != "-no-reboot")
    job = replace(process.plan_job(argv, tmp_path, inputs.tools, Accelerator.TCG), network=True)
    with process.running(job, tmp_path / "console.log") as (console, _):
        one = Visited(console, port, key)
        one.next_boot()
        with one.shell() as shell:
            check_refusals(shell)
            set_all(shell)
            lose_a_trial(shell)
        wait_until_locked_out(one)
        with one.shell() as shell:
            keep_a_trial(shell)
            lines = said(shell, f"cat {local.PATH}")
            shell.run("shutdown -r now")
        local.apply(host, local.parse(lines.encode()))
        one.next_boot()
        console.wait_for(rf"settings: device {TWIN} pass 1b36:0010, set on this host", LIMIT_S)
        with one.shell() as shell:
            check_restarted(shell)
            give_back(shell)


def check_refusals(shell: login.Session) -> None:
    assert "carries the file system mounted on /" in refused(shell, f"pass {DISK}")
    assert "carries the default route over br0" in refused(shell, f"pass {CARD}")
    assert "nothing was changed" in refused(shell, "network gateway 10.9.9.9")
    assert refused(shell, "pass 0000:7f:00.0").startswith("red     device-absent")
    assert "host.toml has it" in said(shell, "hostwright-set")


def set_all(shell: login.Session) -> None:
    said(shell, f"hostwright-set pass {TWIN}")
    said(shell, f"hostwright-set guest debian device add {TWIN}")
    said(shell, "hostwright-set autostart debian no")
    assert f'a table [[device]] with address = "{TWIN}"' in said(shell, "hostwright-set show")
    assert driver(shell, TWIN) == "nvme"


def lose_a_trial(shell: login.Session) -> None:
    """An address at which nobody is reached: the old one comes back once the time is over."""
    said(shell, f"hostwright-set network address {ELSEWHERE} gateway {GATEWAY} --try {TRIAL_S}")


def wait_until_locked_out(one: Visited) -> None:
    deadline = time.monotonic() + TRIAL_S
    with pytest.raises(login.SshError):
        while time.monotonic() < deadline:
            login.connect("127.0.0.1", one.port, "root", one.key.private, 3.0).close()


def keep_a_trial(shell: login.Session) -> None:
    """The address stays what it was, and comes from the settings from then on."""
    assert "is as it was" in said(shell, "grep -h network /run/hostwright/boot.log")
    assert "network" not in said(shell, f"cat {local.PATH}")
    address = f"{HOST_ADDRESS}/24"
    said(shell, f"hostwright-set network address {address} gateway {GATEWAY} --try 600")
    wait_for(shell, f"ip -4 address show br0 | grep -q '{address}' && ! pgrep dhcpcd")
    said(shell, "hostwright-set confirm")
    wait_for(shell, "! pgrep -f '[h]ostwright-set watch'")


def check_restarted(shell: login.Session) -> None:
    wait_for(shell, "test -e /run/hostwright/verdict")
    assert said(shell, "cat /run/hostwright/verdict").strip() == "green"
    assert driver(shell, TWIN) == "vfio-pci"
    result = json.loads(said(shell, "hostwright-selfcheck --json"))
    rows = {row["id"]: row for row in result["rows"]}
    assert (result["verdict"], rows[f"device:{TWIN}"]["result"]) == ("pass", "pass")
    assert rows["set:guest:debian:autostart"]["found"] == "no (hostwright-set)"
    assert TWIN in said(shell, "guest list") and " no " in said(shell, "guest list")
    assert f"vfio-pci,host={TWIN},bus=port8" in said(shell, "guest start --dry-run debian 2>/dev/null")
    assert "proto static" not in said(shell, "ip -4 route show default") and not shell.run("pgrep dhcpcd")[1]


def give_back(shell: login.Session) -> None:
    said(shell, f"hostwright-set guest debian device remove {TWIN}")
    said(shell, f"hostwright-set keep --now {TWIN}")
    wait_for(shell, f"test -e /sys/bus/pci/drivers/nvme/{TWIN}")
    said(shell, "hostwright-set reset")
    assert said(shell, f"hostwright-selfcheck --quiet; test ! -e {local.PATH}").startswith("self-check: pass")
