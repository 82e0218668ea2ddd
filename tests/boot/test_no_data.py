"""A host whose data partition is damaged: it boots, says so, and lets its owner in."""

from dataclasses import replace
from pathlib import Path

from hostwright.base import paths
from hostwright.formats import gpt
from hostwright.machine import load
from hostwright.proof import lab
from hostwright.proof.boot import copy_image, fill, find_inputs
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.updates.emulated import pass_menu
from hostwright.vm import login, process
from hostwright.vm.board import Accelerator, Firmware


def test_a_host_without_its_data_lets_its_owner_in(tmp_path: Path) -> None:
    host = load.load(paths.TREE / "host.toml")
    inputs, key, port = find_inputs(host, paths.HOST_IMAGE), login.generate_key(), login.free_port()
    fill(tmp_path, inputs)
    copy_image(tmp_path, inputs, key)
    data = gpt.find(inputs.image, gpt.DATA_PART)
    with (tmp_path / lab.IMAGE).open("r+b") as disk:
        disk.seek(data.offset)
        disk.write(bytes(data.size))
    argv = lab.plan_boot(host, Firmware.UEFI, Accelerator.TCG, port)
    job = replace(process.plan_job(argv, tmp_path, inputs.tools, Accelerator.TCG), network=True)
    with process.running(job, tmp_path / "console.log") as (console, _):
        pass_menu(console)
        console.wait_for("the data partition is missing or damaged: /var is in memory", LOGIN_LIMIT_S)
        with login.connect("127.0.0.1", port, "root", key.private, LOGIN_LIMIT_S) as shell:
            assert shell.run("hostwright-update status")[1].startswith("slot a runs: ")
            assert shell.run("findmnt -n -o FSTYPE /var")[1].strip() == "tmpfs"
            # What is written there is lost: the slot below stays as it is.
            assert shell.run("touch /var/log/x && umount -l /var && test ! -e /var/log/x")[0] == 0
