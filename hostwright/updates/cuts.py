"""Power cuts of an update: QEMU is killed at seeded moments between the first written byte and the first green boot.

    image -> prepare(): key, signed update, a file below /var --> prepared.img
    prepared.img -> start the update -> cut -> start again -> what the host says -> judge() -> Row

Whatever the moment, the host must start by itself, whole, from the old slot or the new one, with its data as it was.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import paths
from hostwright.image import update
from hostwright.proof import boot as boots
from hostwright.proof import lab
from hostwright.proof.verdict import Row
from hostwright.sandbox.workshop import Workshop
from hostwright.updates.emulated import DRIVE, KEEP, KEPT, VERDICT_LIMIT_S, WRITE_LIMIT_S, Visited, running
from hostwright.vm import login
from hostwright.vm.board import Firmware
from hostwright.vm.console import TimedOutError

PREPARED = "prepared.img"
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


@contextmanager
def _visited(scene: Scene, image: Path, firmware: Firmware, name: str) -> Iterator[Visited]:
    with running(scene.inputs, scene.folder, image, firmware, name) as (console, port):
        visited = Visited(console, port, scene.key)
        visited.next_boot()
        yield visited


def prepare(inputs: boots.Inputs, folder: Path, root_tar: Path, shop: Workshop) -> Scene:
    """A disk that has booted once and has a signed update of itself below /var."""
    scene = Scene(inputs, folder, login.generate_key())
    update.write_update(inputs.machine, root_tar, folder / DRIVE, shop)
    boots.copy_image(folder, inputs, scene.key)
    (folder / lab.IMAGE).rename(folder / PREPARED)
    size = (folder / DRIVE).stat().st_size
    with _visited(scene, folder / PREPARED, Firmware.UEFI, "prepare") as visited:
        with visited.shell() as shell:
            status, said = shell.run(PREPARE.format(size=size, namespace=update.NAMESPACE), WRITE_LIMIT_S)
            if status != 0:
                raise RuntimeError(f"the update cannot be signed on the host: {said}")
            shell.run("shutdown -h now")
        visited.console.wait_for_end(boots.POWER_OFF_LIMIT_S)
    return scene


def measure(scene: Scene) -> float:
    """The seconds of an undisturbed way, from the begin of the update to the verdict."""
    with _visited(scene, _copy(scene), Firmware.UEFI, "measure") as visited:
        begun = _begin(visited)
        visited.next_boot(WRITE_LIMIT_S)
        visited.console.wait_for("is green, and starts from now on", VERDICT_LIMIT_S)
        return time.monotonic() - begun


def cut(scene: Scene, one: Cut, length_s: float, note: Note) -> Row:
    """Cut the power at a moment of the way, start again, and judge what starts."""
    image, seconds = _copy(scene), one.moment * length_s
    name = f"cut-{one.number}"
    note(f"{name}: the power goes after {seconds:.1f} s of {length_s:.0f} s")
    with _visited(scene, image, one.firmware, name) as visited:
        begun = _begin(visited)
        _wait(visited, begun + seconds)
        # A machine that is led past its menu is cut right behind that.
        seconds = time.monotonic() - begun
    with _visited(scene, image, one.firmware, f"{name}-after") as visited, visited.shell() as shell:
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


def _begin(visited: Visited) -> float:
    """Start the update in the background, and wait for the first thing that it writes."""
    with visited.shell() as shell:
        shell.run(START)
        shell.run("until grep -q '^writing slot' /var/log/update.log; do sleep 0.2; done", WRITE_LIMIT_S)
    return time.monotonic()


def _wait(visited: Visited, until: float) -> None:
    """Until a moment; a machine that starts anew meanwhile is led past its menu."""
    while (left := until - time.monotonic()) > 0:
        try:
            visited.next_boot(left)
        except TimedOutError:
            return


def make(inputs: boots.Inputs, folder: Path, shop: Workshop, cuts: Sequence[Cut], note: Note) -> list[Row]:
    """Cut the power as planned; a row for each cut."""
    if not cuts:
        return []
    scene = prepare(inputs, folder, paths.ROOTFS_TAR, shop)
    length_s = measure(scene)
    return [cut(scene, one, length_s, note) for one in cuts]
