"""An update on its way to a host: copied, written, tried by a reboot, and judged by what runs afterwards.

Everything goes through ssh(1) of this machine, so that its owner's settings, agent and known hosts count.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import run
from hostwright.base.errors import UserError
from hostwright.base.times import limit
from hostwright.image import update

PLACE = "/var/lib/hostwright/update.file"
# A server's firmware takes minutes, and a slot that fails costs a second start.
RETURN_LIMIT_S = limit(1200.0)
POLL_S = 5.0
CONNECT_S = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Host:
    """A host by the name or address that ssh knows it by."""

    address: str

    def argv(self, command: str) -> list[str]:
        """The program that runs a line of shell there as root."""
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"]
        return ["ssh", *options, "-l", "root", "--", self.address, command]

    def ask(self, command: str, stdin: bytes = b"") -> tuple[int, str]:
        """Status and output of a line of shell on the host."""
        status, out, said = run.capture(self.argv(command), stdin=stdin)
        return status, out.decode(errors="replace") + said


def deliver(host: Host, signed: Path, root_tar: Path, *, reboot: bool, say: Say) -> None:
    """Write the update to the other slot of `host` and, unless the owner restarts it, wait for the verdict.

    Raises UserError with the host's own words if it refuses the update or goes back.
    """
    build = update.read_release(root_tar)["BUILD_ID"]
    say(f"{host.address} runs {_require(host, 'hostwright-update status').splitlines()[0]}")
    _copy(host, signed)
    say(_require(host, f"hostwright-update {PLACE}; status=$?; rm -f {PLACE}; exit $status").strip())
    if not reboot:
        say(f"{host.address} tries it at its next boot; hostwright-update status on the host has the verdict")
        return
    before = _require(host, "cat /proc/sys/kernel/random/boot_id")
    host.ask("shutdown -r now")
    judge(build, wait_for_boot(host, before), host.address, say)


def _copy(host: Host, file: Path) -> None:
    """As a stream, so that sftp is not needed; complete or not there."""
    child = f"umask 077; cat >{PLACE}.part && sync && mv {PLACE}.part {PLACE}"
    status, said = host.ask(child, stdin=file.read_bytes())
    if status != 0:
        raise UserError(
            f"{host.address}: the update cannot be copied: {said.strip()}", "make room below /var on the host"
        )


def _require(host: Host, command: str) -> str:
    status, said = host.ask(command)
    if status != 0:
        raise UserError(
            f"{host.address}: {said.strip() or f'ssh ended with status {status}'}",
            "ssh must reach the host as root without a password, and the host must run Hostwright with two slots",
        )
    return said


def wait_for_boot(host: Host, before: str) -> str:
    """What `hostwright-update status` says after the next boot that came to its verdict; UserError if none does."""
    deadline = time.monotonic() + RETURN_LIMIT_S
    asked = (
        "test -e /run/hostwright/verdict && cat /proc/sys/kernel/random/boot_id && hostwright-update status"
    )
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        status, said = host.ask(asked)
        boot, _, rest = said.partition("\n")
        if status == 0 and boot != before.strip():
            return rest
    raise UserError(
        f"{host.address} did not come back within {RETURN_LIMIT_S / 60:.0f} minutes",
        "look at its console: the slot that ran before is still in GRUB's menu",
    )


def judge(build: str, status: str, address: str, say: Say) -> None:
    """Whether the build that was sent runs and starts from now on; UserError with the host's reason if not."""
    runs, _, rest = status.partition("\n")
    slot = runs.removeprefix("slot ")[:1]
    if f"build {build}" not in runs or f"slot {slot} starts\n" not in f"{rest}\n":
        raise UserError(
            f"{address} went back:\n{status.strip()}", "the reason is above; the host is as it was before"
        )
    say(f"{address}: {runs}, and its self-check is green")
