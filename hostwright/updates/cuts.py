"""Power cuts of an update: QEMU is killed at seeded moments between the first written byte and the first green boot.

    image -> prepare(): key, signed update, a file below /var --> prepared.img
    prepared.img -> start the update -> cut -> start again -> what the host says -> judge() -> Row

Whatever the moment, the host must start by itself, whole, from the old slot or the new one, with its data as it was.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hostwright.base import files, paths
from hostwright.base.times import limit
from hostwright.image import update
from hostwright.machine.model import Machine
from hostwright.proof import boot as boots
from hostwright.proof import lab, report
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.proof.login_rows import HOST
from hostwright.proof.prove import qemu_version
from hostwright.proof.verdict import Proof, Row
from hostwright.sandbox.workshop import Workshop
from hostwright.vm import board, login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import Console, TimedOutError

WRITE_LIMIT_S = limit(600.0)
VERDICT_LIMIT_S = limit(300.0)
MENU = "executed automatically in"
PREPARED, DRIVE = "prepared.img", "update.drive"
# What a machine writes to the image in lab.plan_boot() is gone with it.
LOST = ",snapshot=on"
KEPT = ("/etc/hostwright/update_signers", "/root/.ssh/authorized_keys")
KEEP = " ".join(f"--keep {path}" for path in KEPT)
# On the host, with the unsigned update on its second disk: sign it there, and make a file that must survive.
PREPARE = """set -e; cd /var; head -c {size} /dev/sdb >unsigned; mkdir parts; tar -C parts -xf unsigned; rm unsigned
ssh-keygen -q -t ed25519 -N '' -f key; echo "hostwright $(cat key.pub)" >>/etc/hostwright/update_signers
cd parts; ssh-keygen -q -Y sign -f ../key -n {namespace} manifest
tar -cf ../update manifest manifest.sig root.tar.xz; cd ..; rm -r parts
head -c 1000000 /dev/urandom >mine; sha256sum mine >sum; sync"""
START = f"nohup sh -c 'hostwright-update {KEEP} /var/update && shutdown -r now' >/var/log/update.log 2>&1 &"
ASK = """until [ -e /run/hostwright/verdict ]; do sleep 1; done; cat /run/hostwright/verdict; hostwright-update status
hostwright-update changes; cd /var && sha256sum -c --quiet sum && echo data whole"""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Cut:
    """The cut with this number: `moment` is its place on the way, from 0 (the first byte) to 1 (the verdict)."""

    number: int
    firmware: Firmware
    moment: float


@dataclass(frozen=True)
class Scene:
    """What every cut works on: the host, the folder with its prepared disk, and the key that logs in."""

    inputs: boots.Inputs
    folder: Path
    key: login.Key


def plan(seed: int, count: int) -> tuple[Cut, ...]:
    """The cuts of a seed; UEFI and BIOS take turns."""
    draw = random.Random(seed)
    kinds = (Firmware.UEFI, Firmware.BIOS)
    return tuple(Cut(number, kinds[number % 2], draw.random()) for number in range(count))


def plan_machine(machine: Machine, firmware: Firmware, port: int) -> tuple[str, ...]:
    """The lab with the unsigned update on a second disk; a restart is one, and does not end QEMU."""
    drive = f"if=none,id=update,file={board.FOLDER}/{DRIVE},format=raw{LOST}"
    planned = lab.plan_boot(machine, firmware, Accelerator.TCG, port)
    return (
        *(word for word in planned if word != "-no-reboot"),
        *("-drive", drive, "-device", "ide-hd,bus=ide.1,drive=update"),
    )


@contextmanager
def running(
    inputs: boots.Inputs, work: Path, image: Path, firmware: Firmware, name: str
) -> Iterator[tuple[Console, int]]:
    """The lab from `image`, which keeps what is written to it; its console, and the port of its ssh.

    The update is in the folder `work`, and so is the log afterwards.
    """
    port = login.free_port()
    with process.folder(work, name) as folder:
        boots.fill(folder, inputs)
        # Moved, not linked: a machine may write to a file that has one name only.
        image.rename(folder / lab.IMAGE)
        (folder / DRIVE).hardlink_to(work / DRIVE)
        planned = plan_machine(inputs.machine, firmware, port)
        argv = tuple(word.replace(LOST, "") if lab.IMAGE in word else word for word in planned)
        job = replace(process.plan_job(argv, folder, inputs.tools, Accelerator.TCG), network=True)
        try:
            with process.running(job, work / f"{name}.log") as (console, _):
                yield console, port
        finally:
            (folder / lab.IMAGE).rename(image)


def pass_menu(console: Console, limit_s: float = boots.MENU_LIMIT_S) -> None:
    """Past GRUB's menu, whose first entry is the slot that GRUB chose."""
    console.wait_for(MENU, limit_s, stop=boots.NO_BOOT)
    boots.choose(console, HOST)


def prepare(machine: Machine, inputs: boots.Inputs, folder: Path, root_tar: Path, shop: Workshop) -> Scene:
    """A disk that has booted once and has a signed update of itself below /var."""
    scene = Scene(inputs, folder, login.generate_key())
    update.write_update(machine, root_tar, folder / DRIVE, shop)
    boots.copy_image(folder, inputs, scene.key)
    (folder / lab.IMAGE).rename(folder / PREPARED)
    size = (folder / DRIVE).stat().st_size
    with running(inputs, folder, folder / PREPARED, Firmware.UEFI, "prepare") as (console, port):
        pass_menu(console)
        with login.connect("127.0.0.1", port, "root", scene.key.private, LOGIN_LIMIT_S) as shell:
            status, said = shell.run(PREPARE.format(size=size, namespace=update.NAMESPACE), WRITE_LIMIT_S)
            if status != 0:
                raise RuntimeError(f"the update cannot be signed on the host: {said}")
            shell.run("shutdown -h now")
        console.wait_for_end(boots.POWER_OFF_LIMIT_S)
    return scene


def measure(scene: Scene) -> float:
    """The seconds of an undisturbed way, from the begin of the update to the verdict."""
    image = _copy(scene)
    with running(scene.inputs, scene.folder, image, Firmware.UEFI, "measure") as (console, port):
        begun = _begin(scene, console, port)
        pass_menu(console, WRITE_LIMIT_S)
        console.wait_for("is green, and starts from now on", VERDICT_LIMIT_S)
        return time.monotonic() - begun


def cut(scene: Scene, one: Cut, length_s: float, note: Note) -> Row:
    """Cut the power at a moment of the way, start again, and judge what starts."""
    image, seconds = _copy(scene), one.moment * length_s
    name = f"cut-{one.number}"
    note(f"{name}: the power goes after {seconds:.1f} s of {length_s:.0f} s")
    with running(scene.inputs, scene.folder, image, one.firmware, name) as (console, port):
        begun = _begin(scene, console, port)
        _wait(console, begun + seconds)
        # A machine that is led past its menu is cut right behind that.
        seconds = time.monotonic() - begun
    with running(scene.inputs, scene.folder, image, one.firmware, f"{name}-after") as (console, port):
        pass_menu(console)
        with login.connect("127.0.0.1", port, "root", scene.key.private, LOGIN_LIMIT_S) as shell:
            _, said = shell.run(ASK, VERDICT_LIMIT_S)
    return judge(name, one.firmware, seconds, said)


def judge(name: str, firmware: Firmware, seconds: float, said: str) -> Row:
    """Whether the host runs whole, from a slot that starts again, with its data."""
    lines = said.splitlines()
    edits = {line.split()[-1] for line in lines if line.startswith(("changed /", "removed /", "added /"))}
    runs = next((line for line in lines if " runs: version " in line), "nothing runs")
    slot = runs.removeprefix("slot ")[:1]
    ok = (
        lines[:1] == ["green"]
        and f"slot {slot} starts" in lines
        and "data whole" in lines
        and edits == set(KEPT)
    )
    evidence = f"after {seconds:.1f} s: {runs}" if ok else f"after {seconds:.1f} s: {' | '.join(lines)}"
    return Row(
        f"{name} ({firmware.value})", "cut", "a whole host starts, the old one or the new", evidence, ok
    )


def _copy(scene: Scene) -> Path:
    image = scene.folder / "cut.img"
    image.unlink(missing_ok=True)
    boots.copy_sparse(scene.folder / PREPARED, image)
    return image


def _begin(scene: Scene, console: Console, port: int) -> float:
    """Boot, start the update in the background, and wait for the first thing that it writes."""
    pass_menu(console)
    with login.connect("127.0.0.1", port, "root", scene.key.private, LOGIN_LIMIT_S) as shell:
        shell.run(START)
        shell.run("until grep -q '^writing slot' /var/log/update.log; do sleep 0.2; done", WRITE_LIMIT_S)
    return time.monotonic()


def _wait(console: Console, until: float) -> None:
    """Until a moment; a machine that starts anew meanwhile is led past its menu."""
    while (left := until - time.monotonic()) > 0:
        try:
            pass_menu(console, left)
        except TimedOutError:
            return


def prove(machine: Machine, out: Path, shop: Workshop, cuts: Sequence[Cut], note: Note) -> Proof:
    """Cut the power as planned, and write report and logs to `out`.

    Raises UserError after the report is written if a host did not start whole.
    """
    started, inputs = time.monotonic(), boots.find_inputs(machine, paths.HOST_IMAGE)
    files.remove(out)
    out.mkdir(parents=True)
    with process.folder(out, "cuts") as folder:
        scene = prepare(machine, inputs, folder, paths.ROOTFS_TAR, shop)
        length_s = measure(scene)
        rows = tuple(cut(scene, one, length_s, note) for one in cuts)
        for log in folder.glob("*.log"):
            log.rename(out / log.name)
    verdict = Proof(
        machine=machine.name,
        rows=rows,
        outcomes=(),
        qemu=qemu_version(inputs.tools),
        accelerator=Accelerator.TCG.value,
        artifacts={file.name: files.digest(file) for file in (inputs.image, inputs.kernel)},
        seconds=round(time.monotonic() - started, 1),
    )
    report.write_reports(verdict, out)
    if not verdict.ok:
        raise report.failure(verdict, out)
    return verdict
