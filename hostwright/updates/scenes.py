"""What may happen to an update of a host, played in the emulated machine: each scene is a row of the proof.

    host with an owner and a stranger --Scene.act--> evidence, or UnexpectedError --play()--> Row

The scenes follow each other on one disk, in this order: each leaves slot a running and good.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import paths
from hostwright.image import update
from hostwright.machine.model import Machine
from hostwright.proof import boot as boots
from hostwright.proof import lab
from hostwright.proof.verdict import Row
from hostwright.sandbox.workshop import Workshop
from hostwright.updates.emulated import DRIVE, KEEP, VERDICT_LIMIT_S, WRITE_LIMIT_S, Visited, running
from hostwright.vm import login
from hostwright.vm.board import Firmware
from hostwright.vm.console import ConsoleError
from hostwright.vm.login import SshError

# A guest's disk, which no update may touch.
GUEST = "/var/lib/hostwright/guests/debian/disk.qcow2"
WHOLE = f"sha256sum -c --quiet /var/sum && test -s {GUEST}"
PREPARE = (
    "head -c {size} /dev/sdb >/var/tmp/unsigned",
    "ssh-keygen -q -t ed25519 -N '' -f /var/tmp/owner && ssh-keygen -q -t ed25519 -N '' -f /var/tmp/stranger",
    'echo "hostwright $(cat /var/tmp/owner.pub)" >>/etc/hostwright/update_signers',
    f"mkdir -p {GUEST.rpartition('/')[0]} && head -c 1000000 /dev/urandom >{GUEST} && sha256sum {GUEST} >/var/sum",
)
# On the host: the update with another manifest, signed anew. $1 is sed's script, $2 the key.
FORGE = """cd /var/tmp && rm -rf f && mkdir f && cd f && tar -xf ../unsigned && sed -i "$1" manifest &&
ssh-keygen -q -Y sign -f "$2" -n hostwright-update manifest && tar -cf ../forged manifest manifest.sig root.tar.xz"""
# Nothing of a slot was begun, and nothing is to be tried.
UNTOUCHED = """head -c 1048576 /dev/hostwright/other | tr -d '\\0' | wc -c | grep -qx 0 &&
mount -o ro /dev/hostwright/esp /mnt && grep -qx good=a /mnt/grub/grubenv; status=$?
grep -q '^try=.' /mnt/grub/grubenv && status=1
umount /mnt; exit $status"""
# What is refused: how the update differs, by sed on its manifest, and what the host says.
FORGED = {
    "another machine": ("s/^machine .*/machine other/", "is for the machine other"),
    "an unknown format": ("s/^format .*/format 0/", "has format 0"),
    "a slot that is too small": ("s/^root_mib .*/root_mib 99999/", "the update needs 99999"),
    "a damaged payload": ("s/^payload_sha256 .*/payload_sha256 0/", "is damaged"),
    "another base": ("$ a base 0123456789abcdef", "only what changed since build 0123456789abcdef"),
}
# What spoils the slot that was written, mounted at /mnt, and what the host says after it.
SPOILT = {
    "red": ("echo nonsuch >>/mnt/etc/modules", "its self-check was red"),
    "panic": ("rm /mnt/usr/sbin/init", "did not reach the end of its self-check"),
    # Behind the start of the watchdog's feeder, which sees that init does nothing any more: it is frozen.
    "hang": (
        r"printf '#!/bin/sh\nmkdir /sys/fs/cgroup/hung && cd /sys/fs/cgroup/hung\n"
        r"echo 1 >cgroup.procs\necho 1 >cgroup.freeze\n'"
        " >/mnt/etc/rc.d/rcS.d/S03hang && chmod 755 /mnt/etc/rc.d/rcS.d/S03hang",
        "did not reach the end of its self-check",
    ),
    # The host says why itself, and need not wait for a quarter of an hour here.
    "wait": (
        r"printf '#!/bin/sh\nsleep 99999\n' >/mnt/etc/rc.d/rcS.d/S50wait && chmod 755 /mnt/etc/rc.d/rcS.d/S50wait &&"
        " sed -i s/^trial_s=.*/trial_s=30/ /mnt/usr/sbin/hostwright-update",
        "had no verdict after 30 s",
    ),
}


class UnexpectedError(Exception):
    """The host did or said something else."""


@dataclass(frozen=True)
class Scene:
    """A row: what is expected, and what is done for it."""

    name: str
    expectation: str
    act: Callable[[Visited], str]


@contextmanager
def begun(machine: Machine, firmware: Firmware, folder: Path, shop: Workshop) -> Iterator[Visited]:
    """The lab from a copy of the image, with the unsigned update below /var, a guest's disk, and two keys that sign."""
    inputs, key = boots.find_inputs(machine, paths.HOST_IMAGE), login.generate_key()
    boots.copy_image(folder, inputs, key)
    image = (folder / lab.IMAGE).rename(folder / f"scenes-{firmware.value}.img")
    update.write_update(machine, paths.ROOTFS_TAR, folder / DRIVE, shop)
    size = (folder / DRIVE).stat().st_size
    with running(inputs, folder, image, firmware, f"scenes-{firmware.value}") as (console, port):
        visited = Visited(console, port, key)
        visited.next_boot()
        with visited.shell() as shell:
            for command in PREPARE:
                _said(shell, command.format(size=size))
        yield visited


def play(visited: Visited, scene: Scene, firmware: Firmware) -> Row:
    """Do what a scene needs, and judge."""
    try:
        evidence, ok = scene.act(visited), True
    except (UnexpectedError, ConsoleError, SshError) as error:
        evidence, ok = str(error), False
    return Row(f"update ({firmware.value})", scene.name, scene.expectation, evidence, ok)


def _said(shell: login.Session, command: str, limit_s: float = WRITE_LIMIT_S) -> str:
    status, text = shell.run(command, limit_s)
    if status != 0:
        raise UnexpectedError(f"{command} ended with status {status}: {text}")
    return text


def _expect(part: str, text: str) -> str:
    if part not in text:
        raise UnexpectedError(f"{part!r} is missing: {text}")
    return text.strip()


def _refused(shell: login.Session, name: str, reason: str, keep: str = KEEP) -> str:
    command = f"hostwright-update {keep} /var/tmp/{name}"
    status, text = shell.run(command, WRITE_LIMIT_S)
    if status != 1:
        raise UnexpectedError(f"{command} ended with status {status}: {text}")
    if shell.run(UNTOUCHED)[0] != 0:
        raise UnexpectedError(f"{command} has left something: {text}")
    return _expect(reason, text)


def _forge(shell: login.Session, script: str = "", key: str = "owner") -> None:
    _said(shell, f"set -- '{script}' /var/tmp/{key}\n{FORGE}")


def _status(shell: login.Session, *expected: str) -> str:
    text = _said(shell, f"hostwright-update status && {WHOLE}")
    for part in expected:
        _expect(part, text)
    return text.partition("\n")[0]


def refuse_strangers(visited: Visited) -> str:
    """An update without a signature, and one that somebody else signed."""
    with visited.shell() as shell:
        _refused(shell, "unsigned", "is not signed")
        _forge(shell, key="stranger")
        return _refused(shell, "forged", "the signature is not by a key")


def refuse_others(visited: Visited) -> str:
    """Updates that the owner signed, and that are not for this host."""
    with visited.shell() as shell:
        for script, reason in FORGED.values():
            _forge(shell, script)
            _refused(shell, "forged", reason)
    return ", ".join(FORGED)


def refuse_a_cut(visited: Visited) -> str:
    """The first bytes of an update."""
    with visited.shell() as shell:
        _forge(shell)
        _said(shell, "head -c 9000000 /var/tmp/forged >/var/tmp/cut")
        return _refused(shell, "cut", "/var/tmp/cut is ")


def refuse_to_lose_edits(visited: Visited) -> str:
    """Edits that nothing was said about, of a file and of a link."""
    with visited.shell() as shell:
        _forge(shell)
        _refused(shell, "forged", "changed /root/.ssh/authorized_keys", keep="")
        _said(shell, "rm /etc/rc.d/rc3.d/S35disks")
        text = _refused(shell, "forged", "removed /etc/rc.d/rc3.d/S35disks\n")
        _said(shell, "ln -s ../init.d/disks /etc/rc.d/rc3.d/S35disks")
        return text


def take(visited: Visited) -> str:
    """An update that is green: its slot starts from then on."""
    with visited.shell() as shell:
        _forge(shell)
        _expect("the next boot tries slot b", _said(shell, f"hostwright-update {KEEP} /var/tmp/forged"))
        shell.run("shutdown -r now")
    visited.next_boot()
    visited.console.wait_for(
        r"update: slot b \(version .*\) is green, and starts from now on", VERDICT_LIMIT_S
    )
    with visited.shell() as shell:
        _said(shell, 'grep -qF "$(cat /var/tmp/owner.pub)" /etc/hostwright/update_signers')
        return _status(shell, "slot b runs: version ", "slot b starts")


def go_back(visited: Visited) -> str:
    """One word, and a restart."""
    with visited.shell() as shell:
        _expect("starts from now on", _said(shell, "hostwright-update back"))
        shell.run("shutdown -r now")
    visited.next_boot()
    with visited.shell() as shell:
        return _status(shell, "slot a runs: ", "slot a starts")


def write_boot_loaders(visited: Visited) -> str:
    """GRUB and its first menu from the slot that runs; the old ones are kept."""
    with visited.shell() as shell:
        _expect("the boot loaders of slot a", _said(shell, "hostwright-update boot-loader"))
        _said(shell, "mount -o ro /dev/hostwright/esp /mnt")
        _said(shell, "test -s /mnt/EFI/BOOT/BOOTX64.OLD && test -s /mnt/grub/bios-boot.old && umount /mnt")
        shell.run("shutdown -r now")
    visited.next_boot()
    with visited.shell() as shell:
        return _status(shell, "slot a runs: ")


def _spoil(how: str) -> Callable[[Visited], str]:
    spoil, reason = SPOILT[how]

    def act(visited: Visited) -> str:
        with visited.shell() as shell:
            _forge(shell)
            _said(shell, f"hostwright-update {KEEP} /var/tmp/forged")
            _said(shell, f"mount /dev/hostwright/other /mnt && {spoil}; umount /mnt")
            shell.run("shutdown -r now")
        visited.next_boot()
        visited.next_boot(VERDICT_LIMIT_S)
        with visited.shell() as shell:
            deadline = time.monotonic() + VERDICT_LIMIT_S
            while shell.run("test -e /run/hostwright/verdict")[0] != 0 and time.monotonic() < deadline:
                time.sleep(2.0)
            return _status(shell, "slot a runs: ", "slot a starts\n", reason)

    return act


SCENES = (
    Scene(
        "strangers", "what nobody or a stranger signed is refused, and nothing is touched", refuse_strangers
    ),
    Scene(
        "not for this host",
        "signed updates that do not fit are refused, and nothing is touched",
        refuse_others,
    ),
    Scene("cut", "a cut file is refused, and nothing is touched", refuse_a_cut),
    Scene("edits", "edits that were not named stop the update, and nothing is touched", refuse_to_lose_edits),
    Scene("green", "a green slot starts from then on; edits that were named and the guest stay", take),
    Scene("back", "hostwright-update back starts the old slot again", go_back),
    Scene("boot-loader", "the boot loaders are written anew, and start the host", write_boot_loaders),
    Scene("red", "a slot with a red self-check brings the old one back, which says why", _spoil("red")),
    Scene("panic", "a slot whose kernel panics brings the old one back", _spoil("panic")),
    Scene("hang", "a slot whose init hangs is reset by the watchdog, and the old one starts", _spoil("hang")),
    Scene("wait", "a slot whose boot waits for ever is left, and the old one says so", _spoil("wait")),
)
# Under BIOS, GRUB writes its environment by other code; what follows on a bad slot is the same.
FOR_UEFI_ALONE = frozenset({"panic", "hang", "wait"})


def chosen(firmware: Firmware) -> tuple[Scene, ...]:
    """The scenes that are played under a kind of firmware."""
    return tuple(one for one in SCENES if firmware is Firmware.UEFI or one.name not in FOR_UEFI_ALONE)
