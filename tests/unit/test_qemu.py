"""The argv of the lab machine, and the groups that it must have."""

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hostwright import lab, machine, paths, qemu
from hostwright.errors import UserError
from hostwright.iommu import Function, Kind, predict
from hostwright.machine import Machine
from hostwright.qemu import Accelerator, Firmware

GOLDEN = paths.GOLDEN / "lab.argv"


@pytest.fixture(scope="module")
def host() -> Machine:
    return machine.load(paths.TREE / "host.toml")


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
        "UEFI": qemu.plan_boot(host, Firmware.UEFI, Accelerator.TCG),
        "BIOS": qemu.plan_boot(host, Firmware.BIOS, Accelerator.TCG),
        "BIOS, KVM": qemu.plan_boot(host, Firmware.BIOS, Accelerator.KVM),
        "probe, KVM": qemu.plan_probe(Accelerator.KVM),
    }
    assert "\n".join(f"# {name}\n{show(argv)}" for name, argv in plans.items()) == GOLDEN.read_text()


def test_iommu_comes_before_every_device(host: Machine) -> None:
    argv = qemu.plan_boot(host, Firmware.UEFI, Accelerator.TCG)
    devices = [value for option, value in pairwise(argv) if option == "-device"]
    assert devices[0].startswith("intel-iommu,")


def test_image_is_never_written_to(host: Machine) -> None:
    argv = qemu.plan_boot(host, Firmware.BIOS, Accelerator.TCG)
    [root] = [word for word in argv if f"/{qemu.IMAGE}" in word]
    assert "snapshot=on" in root.split(",")


def test_all_devices_that_the_board_lacks_are_asked_for(host: Machine) -> None:
    argv = qemu.plan_boot(host, Firmware.BIOS, Accelerator.TCG)
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
        (("console=ttyS1,115200",), ["null", "stdio"], ["stdio", "file:/dev/stdout"]),
        (("console=ttyS3",), ["null"] * 3 + ["stdio"], ["stdio", "null", "null", "file:/dev/stdout"]),
    ],
)
def test_serial_line_of_the_machine_is_heard(
    host: Machine, words: tuple[str, ...], bios: list[str], uefi: list[str]
) -> None:
    other = with_words(host, *words)
    assert serial_ports(qemu.plan_boot(other, Firmware.BIOS, Accelerator.TCG)) == bios
    assert serial_ports(qemu.plan_boot(other, Firmware.UEFI, Accelerator.TCG)) == uefi


def test_serial_line_that_no_pc_has(host: Machine) -> None:
    with pytest.raises(UserError, match="ttyS4"):
        qemu.plan_boot(with_words(host, "console=ttyS4"), Firmware.BIOS, Accelerator.TCG)


# Groups. Booted on 6.12: none, for all of these, and every set of words for the lab itself.


def port(address: str, *, acs: bool = False, multifunction: bool = False) -> Function:
    return Function(address, "1b36:000c", Kind.ROOT_PORT, has_acs=acs, multifunction=multifunction)


def end(address: str, behind: str, *, multifunction: bool = False, kind: Kind = Kind.ENDPOINT) -> Function:
    return Function(address, "8086:10d3", kind, behind, multifunction=multifunction)


T1 = (port("00:01.0", acs=True), end("01:00.0", "00:01.0"))
T2 = (port("00:01.0"), end("01:00.0", "00:01.0"))
T3 = (
    port("00:01.0", multifunction=True), port("00:01.1", multifunction=True),
    end("01:00.0", "00:01.0"), end("02:00.0", "00:01.1"),
)  # fmt: skip
T4 = (
    port("00:01.0", acs=True),
    end("01:00.0", "00:01.0", multifunction=True), end("01:00.1", "00:01.0", multifunction=True),
)  # fmt: skip
UNEQUAL = (
    port("00:01.0", acs=True),
    Function("01:00.0", "1234:1111", Kind.ENDPOINT, "00:01.0", multifunction=True),
    T4[2],
)
T5 = (port("00:01.0"), *T4[1:])
T7 = (
    port("00:01.0", acs=True),
    Function("01:00.0", "104c:8232", Kind.UPSTREAM, "00:01.0"),
    *(Function(f"02:00.{n}", "104c:8233", Kind.DOWNSTREAM, "01:00.0", multifunction=True) for n in (0, 1)),
    end("03:00.0", "02:00.0"), end("04:00.0", "02:00.1"),
)  # fmt: skip
T8 = (
    port("00:01.0", acs=True),
    Function("01:00.0", "1b36:000e", Kind.PCI_BRIDGE, "00:01.0"),
    end("02:01.0", "01:00.0", kind=Kind.CONVENTIONAL), end("02:02.0", "01:00.0", kind=Kind.CONVENTIONAL),
)  # fmt: skip

D, M, BOTH = ("downstream",), ("multifunction",), ("downstream", "multifunction")


@pytest.mark.parametrize(
    ("topology", "words", "groups"),
    [
        (T1, (), "00:01.0|01:00.0"),
        (T1, BOTH, "00:01.0|01:00.0"),
        (T2, (), "00:01.0 01:00.0"),
        (T2, D, "00:01.0|01:00.0"),
        (T2, M, "00:01.0 01:00.0"),
        (T3, (), "00:01.0 00:01.1 01:00.0 02:00.0"),
        (T3, D, "00:01.0|00:01.1|01:00.0|02:00.0"),
        (T3, M, "00:01.0 00:01.1 01:00.0 02:00.0"),
        (T4, (), "00:01.0|01:00.0 01:00.1"),
        (T4, D, "00:01.0|01:00.0 01:00.1"),
        (T4, M, "00:01.0|01:00.0|01:00.1"),
        (T5, (), "00:01.0 01:00.0 01:00.1"),
        (T5, D, "00:01.0|01:00.0 01:00.1"),
        (T5, M, "00:01.0 01:00.0 01:00.1"),
        (T5, BOTH, "00:01.0|01:00.0|01:00.1"),
        (T5, ("id:1b36:000c",), "00:01.0|01:00.0 01:00.1"),
        (T5, ("id:8086:10d3",), "00:01.0 01:00.0 01:00.1"),
        (UNEQUAL, ("id:1234:1111",), "00:01.0|01:00.0|01:00.1"),
        (T7, (), "00:01.0|01:00.0|02:00.0 02:00.1 03:00.0 04:00.0"),
        (T7, D, "00:01.0|01:00.0|02:00.0|02:00.1|03:00.0|04:00.0"),
        (T8, (), "00:01.0|01:00.0 02:01.0 02:02.0"),
        (T8, BOTH, "00:01.0|01:00.0 02:01.0 02:02.0"),
    ],
)
def test_predicted_groups(topology: tuple[Function, ...], words: tuple[str, ...], groups: str) -> None:
    wanted = frozenset(frozenset(group.split()) for group in groups.split("|"))
    assert predict(topology, words).groups == wanted


@pytest.mark.parametrize(
    ("words", "overridden"),
    [
        ((), {}),
        (D, {"00:01.0": "downstream"}),
        # The port joins them already: nobody asks about its functions.
        (M, {}),
        (BOTH, {"00:01.0": "downstream", "01:00.0": "multifunction", "01:00.1": "multifunction"}),
        (("id:1b36:000c",), {"00:01.0": "id"}),
    ],
)
def test_who_is_said_to_be_overridden(words: tuple[str, ...], overridden: dict[str, str]) -> None:
    assert predict(T5, words).overridden == overridden


def test_capable_devices_are_never_overridden() -> None:
    assert predict(T1, (*BOTH, "id:1b36:000c")).overridden == {}


def test_golden_file_has_no_path_of_this_machine() -> None:
    assert str(Path.home()) not in GOLDEN.read_text()
