"""The installed guest, booted again without the installer and checked before it is published.

    disk (read-only) + a copy of its variable store --> two boots: alone, and with further devices
        --> serial login, ssh with a key, the network card's name and MAC, lspci -nnv

The check makes its own ssh key and passes it in through systemd-tmpfiles (systemd.system-credentials(7)). The key is
never written to the guest's disk.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hostwright.base import files
from hostwright.base.errors import UserError
from hostwright.base.run import tail
from hostwright.base.times import limit
from hostwright.guest.plan import Run
from hostwright.vm import guest_argv, login, process
from hostwright.vm.login import free_port, tmpfiles
from hostwright.vm.session import Session, started

LOGIN_LIMIT_S = limit(420.0)
COMMAND_LIMIT_S = limit(60.0)
POWER_OFF_LIMIT_S = limit(90.0)
DRIVE_MIB = 64

LIST_CARDS = 'for c in /sys/class/net/*; do [ ! -e $c/device ] || echo "${c##*/} $(cat $c/address)"; done'


@dataclass(frozen=True)
class Trial:
    """One boot of the check: further -device options, and the PCI ids that lspci must then show."""

    name: str
    extra: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


# Substitutes for passed devices: a drive, and a card of two functions, each on its own port.
BOOTS = (
    Trial("alone"),
    Trial(
        "with-devices",
        (
            f"nvme,bus={guest_argv.passed_port(0)},addr=00.0,drive=drive,serial=CHECK",
            f"bochs-display,bus={guest_argv.passed_port(1)},addr=00.0,multifunction=on",
            f"qemu-xhci,bus={guest_argv.passed_port(1)},addr=00.1",
        ),
        ("1b36:0010", "1234:1111", "1b36:000d"),
    ),
)


def check(plan: Run, network: Mapping[str, str], progress: Callable[[str], None]) -> dict[str, object]:
    """Boot the guest both ways at once; returns the facts of each boot.

    Raises UserError with every difference from the install.
    """
    progress("booting the installed guest, alone and with further devices")
    with ThreadPoolExecutor(len(BOOTS)) as workers:
        found = list(workers.map(partial(_boot, plan), BOOTS))
    faults = [
        fault for boot, facts in zip(BOOTS, found, strict=True) for fault in judge(boot, facts, network)
    ]
    if faults:
        raise UserError(
            "the installed guest is not as it should be:\n" + "\n".join(f"    {fault}" for fault in faults),
            f"logs: {plan.folder}",
        )
    return {boot.name: facts for boot, facts in zip(BOOTS, found, strict=True)}


def judge(boot: Trial, facts: Mapping[str, object], network: Mapping[str, str]) -> list[str]:
    """The faults in the `facts` of a boot.

    `network` contains the card's name and MAC as the installer saw them.
    """
    faults = []
    if facts["network"] != network:
        faults.append(
            f"{boot.name}: network cards are {facts['network']}, but were {dict(network)} at the install"
        )
    listed = str(facts["lspci"])
    faults += [f"{boot.name}: lspci does not show {id}" for id in boot.ids if f"[{id}]" not in listed]
    if not facts["login"]:
        faults.append(f"{boot.name}: no login on the serial line")
    if facts["accepts_password"] and not facts["has_password"]:
        faults.append(f"{boot.name}: ssh accepts passwords, but the user has none")
    if "debian" not in str(facts["boot_entry"]).lower():
        faults.append(
            f"{boot.name}: not booted by its own entry of the variable store: {facts['boot_entry']}"
        )
    return faults


def _boot(plan: Run, boot: Trial) -> dict[str, object]:
    key, port = login.generate_key(), free_port()
    credential = tmpfiles(plan.guest.install.user, key.public)
    argv = guest_argv.plan_boot(plan.guest, plan.accelerator, port, (credential,), boot.extra)
    with ExitStack() as stack:
        folder = stack.enter_context(process.folder(plan.folder, f"check-{boot.name}"))
        _fill(plan.folder, folder)
        session = stack.enter_context(started(argv, folder, plan.tools, plan.accelerator, guest_argv.Vnc()))
        try:
            facts = _ask(plan, session, port, key)
        except UserError as error:
            said = tail(session.console.path)
            raise UserError(f"boot {boot.name}: {error.message}; its console's last lines:\n{said}") from None
        finally:
            shutil.copyfile(session.console.path, plan.folder / f"boot-{boot.name}.log")
        files.write(plan.folder / f"lspci-{boot.name}.txt", str(facts["lspci"]))
        return facts


def _fill(source: Path, folder: Path) -> None:
    """The guest's disk (read-only), its firmware, and a copy of its variable store."""
    os.link(source / guest_argv.DISK, folder / guest_argv.DISK)
    os.link(source / guest_argv.CODE, folder / guest_argv.CODE)
    shutil.copyfile(source / guest_argv.VARS, folder / guest_argv.VARS)
    with (folder / guest_argv.SPARE_DRIVE).open("wb") as drive:
        drive.truncate(DRIVE_MIB << 20)


def _ask(plan: Run, session: Session, port: int, key: login.Key) -> dict[str, object]:
    user = plan.guest.install.user
    with login.connect("127.0.0.1", port, user, key.private, LOGIN_LIMIT_S) as shell:
        facts: dict[str, object] = {
            "network": dict(line.split() for line in _output(shell, LIST_CARDS).splitlines()),
            "lspci": _output(shell, "lspci -nnv"),
            "kernel": _output(shell, "uname -r").strip(),
            "failed_units": _output(shell, "systemctl --failed --plain --no-legend").split("\n")[:-1],
            "seconds_to_userland": _output(shell, "cat /proc/uptime").split()[0],
        }
    facts["accepts_password"] = login.accepts_password("127.0.0.1", port, user)
    facts["has_password"] = plan.guest.install.password_hash is not None
    said = session.console.path.read_text(errors="replace")
    facts["boot_entry"] = boot_entry(said)
    facts["login"] = "login: " in said
    session.monitor.powerdown()
    facts["powered_off"] = session.wait_for_end(POWER_OFF_LIMIT_S)
    return facts


def _output(shell: login.Session, command: str) -> str:
    status, output = shell.run(command, COMMAND_LIMIT_S)
    if status != 0:
        raise UserError(f"`{command}` in the guest ended with status {status}: {output.strip()}")
    return output


def boot_entry(console: str) -> str:
    """The entry of the variable store that OVMF started last.

    OVMF reports it on the serial line (MdeModulePkg, BdsDxe).
    """
    started = re.findall(r'BdsDxe: starting Boot\w+ "([^"]*)"', console)
    return started[-1] if started else "none"
