"""A person with the root password gets in on the console; anybody else does not."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.build import kernel, recipes, store
from hostwright.image import rootfs
from hostwright.image.disk import write_image
from hostwright.image.ids import ids_for
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import boot
from hostwright.proof.expect import LAB_WORDS
from hostwright.proof.lab import IMAGE, plan_boot
from hostwright.proof.verdict import Boot
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import open_at
from hostwright.vm import board, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import Console

PASSWORD = "passthrough"
HASH = "$6$hostwright$7ISJkqBuOzXuLeTcuviLLC6mz8rm14pbolbgI/JnVvvwQ.PDFn/u.qHdSBDAeXhlIXyVZ0mOuHHmxsFVf1d7t/"
BOOT_LIMIT_S = 180.0
ANSWER_LIMIT_S = 30.0


@pytest.fixture(scope="module")
def host() -> Machine:
    lab = load.load(paths.TREE / "host.toml")
    return replace(lab, access=replace(lab.access, root_password_hash=HASH))


@pytest.fixture(scope="module")
def disk(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as ./doit host makes it, for a machine with a root password."""
    folder = tmp_path_factory.mktemp("login")
    special = ("linux", "edk2")
    names = recipes.closure([name for name in recipes.recipe_names() if name not in special])
    built = [store.read_stamp(name) for name in [*names, *special] if name not in rootfs.NOT_ON_HOST]
    ids = ids_for(host.name)
    rootfs.assemble(host, built, ids, kernel.release(store.read_stamp("linux")), folder / "rootfs.tar")
    write_image(
        host,
        folder / "rootfs.tar",
        store.read_stamp("grub").tree,
        folder / "host.img",
        open_at(folder / "image.log"),
    )
    return folder / "host.img"


@pytest.fixture(scope="module")
def console(host: Machine, disk: Path) -> Iterator[Console]:
    """The serial line of the booted image, at its login."""
    inputs = boot.find_inputs(host, disk)
    with ExitStack() as stack:
        folder = stack.enter_context(process.folder(disk.parent, "boot"))
        boot.fill(folder, inputs)
        argv = plan_boot(host, Firmware.BIOS, Accelerator.TCG)
        job = process.plan_job(argv, folder, inputs.tools, Accelerator.TCG)
        job = replace(job, binds=(*job.binds, sandbox.Bind(disk, f"{board.FOLDER}/{IMAGE}")))
        line, _ = stack.enter_context(process.running(job, disk.parent / "console.log"))
        line.wait_for("executed automatically in", BOOT_LIMIT_S)
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
