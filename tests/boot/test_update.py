"""A host that updates itself: refusals, a green slot, the way back, and a slot that is red, panics, hangs or waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pytest

from hostwright.base import paths
from hostwright.image import update
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof.boot import copy_image, fill, find_inputs
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.sandbox.workshop import open_at
from hostwright.updates.cuts import DRIVE, KEEP, VERDICT_LIMIT_S, WRITE_LIMIT_S, pass_menu, plan_machine
from hostwright.vm import login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import Console

# On the host: the update with another manifest, signed anew. $1 is sed's script, $2 the key.
FORGE = """cd /var/tmp && rm -rf f && mkdir f && cd f && tar -xf ../unsigned && sed -i "$1" manifest &&
ssh-keygen -q -Y sign -f "$2" -n hostwright-update manifest && tar -cf ../forged manifest manifest.sig root.tar.xz"""
# Nothing of a slot was begun, and nothing is to be tried.
UNTOUCHED = """head -c 1048576 /dev/hostwright/other | tr -d '\\0' | wc -c | grep -qx 0 &&
mount -o ro /dev/hostwright/esp /mnt && grep -qx good=a /mnt/grub/grubenv; status=$?
grep -q '^try=.' /mnt/grub/grubenv && status=1
umount /mnt; exit $status"""


@dataclass
class Visited:
    """A machine that is started anew by its own means; `shell` is a login to the boot that runs."""

    console: Console
    port: int
    key: login.Key

    @contextmanager
    def shell(self) -> Iterator[login.Session]:
        with login.connect("127.0.0.1", self.port, "root", self.key.private, LOGIN_LIMIT_S) as shell:
            yield shell

    def next_boot(self) -> None:
        """Past GRUB's menu, whose first entry is the slot that GRUB chose."""
        pass_menu(self.console)


def said(shell: login.Session, command: str, limit_s: float = 120.0) -> str:
    status, text = shell.run(command, limit_s)
    assert status == 0, f"{command}: {text}"
    return text


def refused(shell: login.Session, command: str) -> str:
    status, text = shell.run(command, WRITE_LIMIT_S)
    assert status == 1, f"{command}: {text}"
    assert shell.run(UNTOUCHED)[0] == 0, text
    return text


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


BIOS = pytest.param(Firmware.BIOS, id="bios", marks=pytest.mark.long)


@pytest.fixture(scope="module", params=[pytest.param(Firmware.UEFI, id="uefi"), BIOS])
def machine(
    request: pytest.FixtureRequest, host: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visited]:
    """The lab from a copy of the image, with the unsigned update on a second disk, at its first boot."""
    folder, key, port = tmp_path_factory.mktemp("update"), login.generate_key(), login.free_port()
    inputs = find_inputs(host, paths.HOST_IMAGE)
    fill(folder, inputs)
    copy_image(folder, inputs, key)
    update.write_update(host, paths.ROOTFS_TAR, folder / DRIVE, open_at(folder / "update.log"))
    argv = plan_machine(host, request.param, port)
    job = replace(process.plan_job(argv, folder, inputs.tools, Accelerator.TCG), network=True)
    with ExitStack() as stack:
        console, _ = stack.enter_context(process.running(job, folder / "console.log"))
        visited = Visited(console, port, key)
        visited.next_boot()
        with visited.shell() as shell:
            size = (folder / DRIVE).stat().st_size
            said(shell, f"head -c {size} /dev/sdb >/var/tmp/unsigned")
            for name in ("owner", "stranger"):
                said(shell, f"ssh-keygen -q -t ed25519 -N '' -f /var/tmp/{name}")
            said(shell, 'echo "hostwright $(cat /var/tmp/owner.pub)" >>/etc/hostwright/update_signers')
            said(shell, "head -c 1000000 /dev/urandom >/var/mine && sha256sum /var/mine >/var/sum")
        yield visited


def forge(shell: login.Session, script: str = "", key: str = "owner") -> None:
    said(shell, f"set -- '{script}' /var/tmp/{key}\n{FORGE}", WRITE_LIMIT_S)


def test_what_is_no_update_of_this_host_is_refused_and_nothing_is_touched(machine: Visited) -> None:
    with machine.shell() as shell:
        run: Callable[[str], str] = lambda name: refused(shell, f"hostwright-update {KEEP} /var/tmp/{name}")  # noqa: E731
        assert "is not signed" in run("unsigned")
        forge(shell, key="stranger")
        assert "the signature is not by a key" in run("forged")
        forge(shell, "s/^machine .*/machine other/")
        assert "is for the machine other" in run("forged")
        forge(shell, "s/^format .*/format 0/")
        assert "has format 0" in run("forged")
        forge(shell, "s/^root_mib .*/root_mib 99999/")
        assert "the update needs 99999" in run("forged")
        forge(shell, "s/^payload_sha256 .*/payload_sha256 0/")
        assert "is damaged" in run("forged")
        forge(shell)
        said(shell, "head -c 9000000 /var/tmp/forged >/var/tmp/cut")
        assert "is cut" in run("cut") or "no whole update" in run("cut")
        edits = refused(shell, "hostwright-update /var/tmp/forged")
        assert "changed /root/.ssh/authorized_keys" in edits and "--keep PATH" in edits
        said(shell, "rm /etc/rc.d/rc3.d/S35disks")
        edits = refused(shell, f"hostwright-update {KEEP} /var/tmp/forged")
        assert "removed /etc/rc.d/rc3.d/S35disks\n" in edits and "authorized_keys" not in edits
        said(shell, "ln -s ../init.d/disks /etc/rc.d/rc3.d/S35disks")


def take(machine: Visited) -> None:
    """Write the update to the other slot, and start the host anew."""
    with machine.shell() as shell:
        text = said(shell, f"hostwright-update {KEEP} /var/tmp/forged", WRITE_LIMIT_S)
        assert "the next boot tries slot" in text
        shell.run("shutdown -r now")


def status(shell: login.Session) -> str:
    return said(shell, "hostwright-update status")


def wait_for_verdict(machine: Visited, expected: str) -> None:
    machine.console.wait_for(expected, VERDICT_LIMIT_S)


def test_a_green_slot_starts_from_then_on_and_nothing_is_lost(machine: Visited) -> None:
    take(machine)
    machine.next_boot()
    wait_for_verdict(machine, r"update: slot b \(version .*\) is green, and starts from now on")
    with machine.shell() as shell:
        assert status(shell).startswith("slot b runs: version ")
        assert "slot b starts" in status(shell)
        said(
            shell,
            'sha256sum -c /var/sum && grep -qF "$(cat /var/tmp/owner.pub)" /etc/hostwright/update_signers',
        )


def test_the_way_back_is_one_word(machine: Visited) -> None:
    with machine.shell() as shell:
        assert "starts from now on" in said(shell, "hostwright-update back")
        shell.run("shutdown -r now")
    machine.next_boot()
    with machine.shell() as shell:
        assert status(shell).startswith("slot a runs: ")
        said(shell, "sha256sum -c /var/sum")


def test_the_boot_loaders_are_written_anew_if_asked(machine: Visited) -> None:
    with machine.shell() as shell:
        assert "starts with the boot loaders of slot a" in said(
            shell, "hostwright-update boot-loader", WRITE_LIMIT_S
        )
        said(shell, "mount -o ro /dev/hostwright/esp /mnt")
        said(shell, "test -s /mnt/EFI/BOOT/BOOTX64.OLD && test -s /mnt/grub/bios-boot.old && umount /mnt")
        shell.run("shutdown -r now")
    machine.next_boot()
    with machine.shell() as shell:
        assert status(shell).startswith("slot a runs: ")


# What spoils the slot that was written, mounted at /mnt, and what the host says after it.
SPOILT = {
    "red": ("echo nonsuch >>/mnt/etc/modules", "its self-check was red"),
    "panic": ("rm /mnt/usr/sbin/init /mnt/usr/bin/sh", "did not reach the end of its self-check"),
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


# What follows on a bad slot is the same under BIOS, whose GRUB writes its environment above.
@pytest.mark.parametrize("machine", [Firmware.UEFI], ids=["uefi"], indirect=True)
@pytest.mark.parametrize(
    "how", [how if how == "red" else pytest.param(how, marks=pytest.mark.long) for how in SPOILT]
)
def test_a_slot_that_is_not_green_brings_the_old_one_back(machine: Visited, how: str) -> None:
    spoil, reason = SPOILT[how]
    with machine.shell() as shell:
        said(shell, f"hostwright-update {KEEP} /var/tmp/forged", WRITE_LIMIT_S)
        said(shell, f"mount /dev/hostwright/other /mnt && {spoil}; umount /mnt")
        shell.run("shutdown -r now")
    machine.next_boot()
    pass_menu(machine.console, VERDICT_LIMIT_S)
    with machine.shell() as shell:
        deadline = time.monotonic() + VERDICT_LIMIT_S
        while shell.run("test -e /run/hostwright/verdict")[0] != 0 and time.monotonic() < deadline:
            time.sleep(2.0)
        text = status(shell)
        assert text.startswith("slot a runs: ") and "slot a starts\n" in text
        assert reason in text
        said(shell, "sha256sum -c /var/sum")
