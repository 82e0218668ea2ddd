"""An update on its way to a host: copied, checked, proved, written, tried by a reboot, and judged by what runs then."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from hostwright.base.errors import UserError
from hostwright.base.times import limit
from hostwright.updates.host import Host

PLACE = "/var/lib/hostwright/update.file"
# A server's firmware takes minutes, and a slot that fails costs a second start.
RETURN_LIMIT_S = limit(1200.0)
POLL_S = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What becomes of the owner's edits in the slot that runs, and whether the host restarts now."""

    keep: tuple[str, ...] = ()
    discard: bool = False
    reboot: bool = True

    @property
    def words(self) -> str:
        """The options of hostwright-update."""
        return " ".join([*(f"--keep {quote(path)}" for path in self.keep), *["--discard"][: self.discard]])


def send(host: Host, signed: Path, wish: Wish) -> None:
    """Copy the update to the host, which says whether it takes it; nothing is written to a slot.

    Raises UserError with the host's own words if it refuses the update.
    """
    _copy(host, signed)
    host.require(f"hostwright-update --check {wish.words} {PLACE} || {{ rm -f {PLACE}; exit 1; }}")


def write(host: Host, build: str, wish: Wish, say: Say) -> None:
    """Have the host write the update that it has, and unless the owner restarts it, wait for the verdict on `build`.

    Raises UserError with the host's own words if it refuses the update or goes back.
    """
    command = f"hostwright-update {wish.words} {PLACE}; status=$?; rm -f {PLACE}; exit $status"
    say(host.require(command).strip())
    if not wish.reboot:
        say(f"{host.address} tries it at its next boot; hostwright-update status on the host has the verdict")
        return
    before, begun = host.require("cat /proc/sys/kernel/random/boot_id"), time.monotonic()
    host.ask("shutdown -r now")
    status = wait_for_boot(host, before)
    judge(build, status, host.address, say)
    say(f"{host.address} came back with its verdict {time.monotonic() - begun:.0f} s after the restart began")


def drop(host: Host) -> None:
    """Remove an update that the host has and does not write."""
    host.ask(f"rm -f {PLACE}")


def _copy(host: Host, file: Path) -> None:
    """As a stream, so that sftp is not needed; complete or not there."""
    child = f"umask 077; cat >{PLACE}.part && sync && mv {PLACE}.part {PLACE}"
    status, said = host.ask(child, stdin=file.read_bytes())
    if status != 0:
        raise UserError(
            f"{host.address}: the update cannot be copied: {said.strip()}", "make room below /var on the host"
        )


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
