"""The proof of the way from the slot that a host runs to the new one, in the emulated machine.

    host --ssh--> its slot --> old.img --> boot 1: takes the signed update --> boot 2: GRUB tries the new slot --> rows

The old slot has the owner's edits, the first menu is the host's own, and the same signed file goes to the host
afterwards. The first boot takes the update by a boot script that removes itself before anything is compared: not every
machine knows the lab's network.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hostwright.base import files
from hostwright.formats import gpt
from hostwright.image import disk, update
from hostwright.machine.model import Machine
from hostwright.proof import boot as boots
from hostwright.proof import lab
from hostwright.proof.judge import judge_boot
from hostwright.proof.verdict import Boot, Origin, Proof, Row
from hostwright.sandbox.workshop import Workshop
from hostwright.updates import emulated, old_slot
from hostwright.updates.host import FIRST_MENU, Host, Running, pull
from hostwright.vm import process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import ConsoleError

START_LIMIT_S = boots.MENU_LIMIT_S + boots.SELF_CHECK_LIMIT_S
SCRIPT = "/etc/rc.d/rc3.d/S11way"
BEGIN, END = "HOSTWRIGHT-WAY-BEGIN", "HOSTWRIGHT-WAY-END"
# The emulated machine has a menu that can be typed at, as in every proof.
DROP_PASSWORD = "; ".join(f"/^ *{word}/d" for word in boots.PASSWORD)
OPEN_MENU = f"mount /dev/hostwright/other /mnt && sed -i '{DROP_PASSWORD}' /mnt{boots.MENU}; umount /mnt"
TAKE = """#!/bin/sh
rm -f "$0"
exec >/dev/console 2>&1
dmesg --console-off
echo {begin}
head -c {size} /dev/sdb >/var/way.update && hostwright-update {words} /var/way.update
status=$?
{open_menu}
echo {end} $status
exec init 0
"""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """From what to what: the host with the slot that it runs, the signed update, and the words that go with it."""

    host: Host
    running: Running
    signed: Path
    words: str


@dataclass(frozen=True)
class Build:
    """The new build: its archives, and the staged tree of GRUB."""

    machine: Machine
    archives: disk.Archives
    grub: Path

    @property
    def id(self) -> str:
        """What the build is called."""
        return update.read_release(self.archives.root)["BUILD_ID"]


def prove(way: Way, build: Build, out: Path, shop: Workshop, note: Note) -> Proof:
    """Go the way in the emulated machine, and write report and logs to `out`.

    Raises UserError after the report is written if the old slot refuses the update, or the new one is not as expected.
    """
    started = time.monotonic()
    files.remove(out)
    out.mkdir(parents=True)
    with process.folder(out, "old") as folder:
        note("putting the host's slot together")
        inputs = _write_old(way, build, folder, shop)
        rows = [_take(way.running.firmware, inputs, folder, note)]
        outcomes = []
        if rows[0].ok:
            note("starting the new slot")
            boot = Boot("way", way.running.firmware, "selfcheck")
            outcomes.append(boots.start(inputs, Accelerator.TCG, out, boot, note))
            partuuid = gpt.find(inputs.image, gpt.ROOTS[1]).partuuid
            origin = Origin(boots.kernel_release(inputs.kernel), partuuid)
            rows += judge_boot(outcomes[0], build.machine, origin)
        for log in folder.glob("*.log"):
            log.rename(out / log.name)
        return emulated.conclude(inputs, rows, outcomes, way.signed, out, time.monotonic() - started)


def _write_old(way: Way, build: Build, folder: Path, shop: Workshop) -> boots.Inputs:
    """The host's disk before the update, with the script that takes it; the inputs of a boot from there."""
    pulled, old = folder / "pulled.tar", disk.Archives(folder / "root.tar", folder / "data.tar")
    pull(way.host, way.running, update.read_listing(build.archives.root), pulled)
    old_slot.write_root(way.running, pulled, build.archives.root, old.root)
    old_slot.write_data(pulled, build.archives.data, old.data)
    menu = folder / "first.cfg"
    menu.write_bytes(way.host.read(FIRST_MENU))
    disk.write_image(build.machine, replace(old, first_menu=menu), build.grub, folder / lab.IMAGE, shop)
    inputs = boots.find_inputs(build.machine, folder / lab.IMAGE)
    _plant(way, build.machine, inputs, folder)
    # A machine may write to a file that it does not know as its image yet.
    inputs.image.rename(folder / "old.img")
    (folder / emulated.DRIVE).hardlink_to(way.signed)
    return replace(inputs, image=folder / "old.img")


def render_script(way: Way, machine: Machine) -> str:
    """The boot script that takes the update from the second disk."""
    return TAKE.format(
        begin=BEGIN,
        end=END,
        size=way.signed.stat().st_size,
        words=way.words,
        open_menu=OPEN_MENU if machine.access.grub_password else ":",
    )


def _plant(way: Way, machine: Machine, inputs: boots.Inputs, folder: Path) -> None:
    (folder / "script").write_text(render_script(way, machine))
    boots.alter(folder, inputs, (f"write script {SCRIPT}", f"set_inode_field {SCRIPT} mode 0100755"))


def _take(firmware: Firmware, inputs: boots.Inputs, folder: Path, note: Note) -> Row:
    """Boot the old slot, which writes the update to the other one and powers off."""
    note("the slot that runs takes the update")
    try:
        with emulated.running(inputs, folder, inputs.image, firmware, "take") as (console, _):
            console.wait_for(BEGIN, START_LIMIT_S, stop=f"{boots.NO_BOOT}|{boots.PANIC}")
            found = console.wait_for(rf"(?s)(.*?){END} (\d+)", emulated.WRITE_LIMIT_S, stop=boots.PANIC)
            console.wait_for_end(boots.POWER_OFF_LIMIT_S)
    except ConsoleError as error:
        evidence, ok = error.message, False
    else:
        evidence = " | ".join(found[1].split("\n")).strip(" |\r")
        ok = found[2] == "0" and "the next boot tries slot" in evidence
    return Row(f"take ({firmware.value})", "update", "the slot that runs takes the update", evidence, ok)
