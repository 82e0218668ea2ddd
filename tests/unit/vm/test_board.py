"""The argv of the lab machine, and the groups that it must have."""

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import lab
from hostwright.proof.lab import IMAGE, plan_boot
from hostwright.vm import board
from hostwright.vm.board import Accelerator, Firmware

GOLDEN = paths.GOLDEN / "lab.argv"


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


def with_words(host: Machine, *words: str) -> Machine:
    return replace(host, kernel=replace(host.kernel, cmdline=words))


def show(argv: tuple[str, ...]) -> str:
    """One option with its value a line."""
    lines: list[list[str]] = []
    for word in argv:
        if word.startswith("-") or not lines:
            lines.append([word])
        else:
            lines[-1].append(word)
    return "".join(shlex.join(line) + "\n" for line in lines)


def test_argv_is_the_golden_one(host: Machine) -> None:
    plans = {
        "UEFI": plan_boot(host, Firmware.UEFI, Accelerator.TCG),
        "BIOS": plan_boot(host, Firmware.BIOS, Accelerator.TCG),
        "BIOS, KVM": plan_boot(host, Firmware.BIOS, Accelerator.KVM),
        "probe, KVM": board.plan_probe(Accelerator.KVM),
    }
    assert "\n".join(f"# {name}\n{show(argv)}" for name, argv in plans.items()) == GOLDEN.read_text()


def test_a_closed_port_is_one_that_the_machine_does_not_open(host: Machine) -> None:
    argv = plan_boot(host, Firmware.UEFI, Accelerator.TCG, 2001, closed_port=2002)
    forwarded = "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2001-10.0.2.15:22,hostfwd=tcp:127.0.0.1:2002-10.0.2.15:"
    assert f"{forwarded}2200" in argv
    opened = replace(host, network=replace(host.network, inbound=("tcp/2200", "udp/2201", "tcp/2202")))
    assert f"{forwarded}2201" in plan_boot(opened, Firmware.UEFI, Accelerator.TCG, 2001, closed_port=2002)


def test_iommu_comes_before_every_device(host: Machine) -> None:
    argv = plan_boot(host, Firmware.UEFI, Accelerator.TCG)
    devices = [value for option, value in pairwise(argv) if option == "-device"]
    assert devices[0].startswith("intel-iommu,")


def test_image_is_never_written_to(host: Machine) -> None:
    argv = plan_boot(host, Firmware.BIOS, Accelerator.TCG)
    [root] = [word for word in argv if f"/{IMAGE}" in word]
    assert "snapshot=on" in root.split(",")


def test_all_devices_that_the_board_lacks_are_asked_for(host: Machine) -> None:
    argv = plan_boot(host, Firmware.BIOS, Accelerator.TCG)
    assert all(part.option in argv for part in lab.PARTS if part.option)
    assert {part.function.address for part in lab.PARTS if not part.option} == {
        "0000:00:00.0", "0000:00:1f.0", "0000:00:1f.2", "0000:00:1f.3",
    }  # fmt: skip


def serial_ports(argv: tuple[str, ...]) -> list[str]:
    return [value for option, value in pairwise(argv) if option == "-serial"]


@pytest.mark.parametrize(
    ("words", "bios", "uefi"),
    [
        ((), ["stdio"], ["stdio"]),
        (("console=ttyS0,9600",), ["stdio"], ["stdio"]),
        (("console=ttyS1,115200",), ["null", "stdio"], ["null", "stdio"]),
        (("console=ttyS3",), ["null"] * 3 + ["stdio"], ["stdio", "null", "null", "file:/dev/stdout"]),
    ],
)
def test_serial_line_of_the_machine_is_heard(
    host: Machine, words: tuple[str, ...], bios: list[str], uefi: list[str]
) -> None:
    other = with_words(host, *words)
    assert serial_ports(plan_boot(other, Firmware.BIOS, Accelerator.TCG)) == bios
    assert serial_ports(plan_boot(other, Firmware.UEFI, Accelerator.TCG)) == uefi


def test_serial_line_that_no_pc_has(host: Machine) -> None:
    with pytest.raises(UserError, match="ttyS4"):
        plan_boot(with_words(host, "console=ttyS4"), Firmware.BIOS, Accelerator.TCG)


def test_golden_file_has_no_path_of_this_machine() -> None:
    assert str(Path.home()) not in GOLDEN.read_text()
