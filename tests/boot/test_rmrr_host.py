"""A region that firmware keeps mapped, under the host itself: `guest check` finds it, QEMU and the kernel refuse too.

    the host booted --> its table DMAR + a region for the NVMe drive --> the host booted with that in front of its root

QEMU hands the kernel over, since the image's own entries have no initrd that a table could come from.
"""

import base64
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hostwright.base import files, paths
from hostwright.formats import cpio, gpt
from hostwright.machine import load
from hostwright.machine.cmdline import kernel_words
from hostwright.machine.model import Machine
from hostwright.proof import boot, lab
from hostwright.proof.boot import copy_image
from hostwright.proof.expect import LAB_WORDS
from hostwright.proof.groups_rows import INITRD
from hostwright.proof.login import COMMAND_LIMIT_S, GUESTS, LOGIN_LIMIT_S
from hostwright.vm import board, guest_argv, login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.login import free_port
from tests.boot.test_rmrr import END, START, TABLE
from tests.fakes.machines import append_rmrr

DRIVE, WAY = "0000:01:00.0", "00:02.0/00.0"
GUEST = "debian"
DISK = f"{GUESTS}/{GUEST}/disk.qcow2"
# The very command line of `guest start`, without its check: until QEMU has all devices, or ends.
WITHOUT_CHECK = f"""guest start --dry-run {GUEST} >/run/line || exit 9
sh /run/line </dev/null >/run/said 2>&1 &
until [ -e {guest_argv.HOST_RUN_FOLDER}/{GUEST}/{guest_argv.SOCKETS_FOLDER}/{guest_argv.VNC_SOCKET} ]; do
    kill -0 $! || {{ cat /run/said; wait $!; exit; }}
    sleep 1
done"""
# QEMU's hw/vfio/container.c: what the kernel answered to VFIO_GROUP_SET_CONTAINER.
QEMU_SAYS = "Failed to set group container: Invalid argument"
# drivers/iommu/iommu.c, __iommu_device_set_domain().
KERNEL_SAYS = "Firmware has requested this device have a 1:1 IOMMU mapping"


@dataclass(frozen=True)
class Said:
    """What the booted host answered: exit status and text of each command."""

    dmar: bytes
    driver: str
    regions: str
    check: tuple[int, str]
    start: tuple[int, str]
    qemu: tuple[int, str]
    runs: bool
    log: str


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


@pytest.fixture(scope="module")
def plain(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Said:
    with booted(host, tmp_path_factory.mktemp("plain"), None) as shell:
        return ask(shell)


@pytest.fixture(scope="module")
def kept(host: Machine, plain: Said, tmp_path_factory: pytest.TempPathFactory) -> Said:
    table = append_rmrr(plain.dmar, f"{START:x}-{END:x} {WAY}")
    early = cpio.write(cpio.with_parents([cpio.Entry(TABLE, stat.S_IFREG | 0o644, table)]).values())
    with booted(host, tmp_path_factory.mktemp("kept"), early) as shell:
        return ask(shell)


@contextmanager
def booted(host: Machine, folder: Path, initrd: bytes | None) -> Iterator[login.Session]:
    """A login to the host, its kernel started by QEMU with `initrd` and the words of its own first entry."""
    inputs = boot.find_inputs(host, paths.HOST_IMAGE)
    key, port = login.generate_key(), free_port()
    boot.fill(folder, inputs)
    copy_image(folder, inputs, key)
    files.write(folder / board.KERNEL, inputs.kernel.read_bytes())
    files.write(folder / INITRD, initrd or b"")
    root = gpt.find(inputs.image).partuuid
    words = (f"root=PARTUUID={root}", "ro", "rootwait", "console=ttyS0,115200", *kernel_words(host, True))
    argv = (
        *lab.plan_boot(host, Firmware.BIOS, Accelerator.TCG, port),
        "-kernel", f"{board.FOLDER}/{board.KERNEL}",
        *(("-initrd", f"{board.FOLDER}/{INITRD}") if initrd else ()),
        "-append", " ".join((*words, *LAB_WORDS)),
    )  # fmt: skip
    job = replace(process.plan_job(argv, folder, inputs.tools, Accelerator.TCG), network=True)
    with (
        process.running(job, folder / "console.log") as (console, _),
        login.connect("127.0.0.1", port, "root", key.private, LOGIN_LIMIT_S) as shell,
    ):
        yield shell
        shell.run("init 0")
        console.wait_for_end(boot.POWER_OFF_LIMIT_S)


def ask(shell: login.Session) -> Said:
    """With an empty disk in its place the guest lacks nothing that the lab has."""
    assert shell.run(f"mkdir -p {Path(DISK).parent} && qemu-img create -q -f qcow2 {DISK} 64M")[0] == 0
    device = f"/sys/bus/pci/devices/{DRIVE}"
    check = shell.run(f"guest check {GUEST}")
    start = shell.run(f"guest start {GUEST}", COMMAND_LIMIT_S)
    shell.run(f"guest stop --limit 0 {GUEST}")
    by_hand = shell.run(WITHOUT_CHECK, COMMAND_LIMIT_S)
    runs = shell.run(f"guest status {GUEST}")[0] == 0
    shell.run(f"guest stop --limit 0 {GUEST}")
    return Said(
        dmar=base64.b64decode(shell.run("base64 /sys/firmware/acpi/tables/DMAR")[1]),
        driver=shell.run(f"readlink {device}/driver")[1].strip().rpartition("/")[2],
        regions=shell.run(f"cat {device}/iommu_group/reserved_regions")[1],
        check=check,
        start=start,
        qemu=by_hand,
        runs=runs,
        log=shell.run("dmesg")[1],
    )


def red(said: tuple[int, str]) -> list[str]:
    return [line for line in said[1].splitlines() if line.startswith("red")]


def test_without_the_region_the_guest_gets_the_drive(plain: Said) -> None:
    assert plain.driver == "vfio-pci"
    assert red(plain.check) == []
    assert plain.check[0] == plain.start[0] == plain.qemu[0] == 0, plain
    assert plain.runs
    assert KERNEL_SAYS not in plain.log


def test_the_kernel_took_the_table(kept: Said) -> None:
    assert kept.driver == "vfio-pci"
    assert f"0x{START:016x} 0x{END:016x} direct\n" in kept.regions


def test_guest_check_names_it_with_its_remedy(kept: Said) -> None:
    status, said = kept.check
    assert status == 1
    assert [line.split()[1] for line in red(kept.check)] == ["rmrr-direct"], said
    assert DRIVE in said
    assert "take another slot or card" in said


def test_guest_start_refuses(kept: Said) -> None:
    status, said = kept.start
    assert status == 1
    assert "is not started: rmrr-direct" in said


def test_qemu_and_the_kernel_refuse_too(kept: Said) -> None:
    status, said = kept.qemu
    assert status != 0
    assert not kept.runs
    assert f"vfio {DRIVE}: " in said
    assert QEMU_SAYS in said
    assert f"vfio-pci {DRIVE}: {KERNEL_SAYS}" in kept.log
