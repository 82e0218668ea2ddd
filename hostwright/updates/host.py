"""A host by its address, and what it says of the slot that runs: build, list of files, and the owner's edits.

Everything goes through ssh(1) of this machine, so that its owner's settings, agent and known hosts count.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import run
from hostwright.base.errors import UserError
from hostwright.image import listing, rootfs, update
from hostwright.vm.board import Firmware

CONNECT_S = 5
# ssh(1) itself failed, and not the command.
SSH_FAILED = 255
LOCAL = "var/lib/hostwright/local"
STATUS = (
    "hostwright-update status && hostwright-update changes && if [ -d /sys/firmware/efi ]; then echo uefi; fi"
)
LIST = f"cat /{rootfs.MANIFEST}"
# The names come on the standard input, each with a NUL behind it. What hostwright-set wrote is for the real devices.
PULL = (
    f"cd / && {{ cat; [ ! -d {LOCAL} ] || printf '%s\\0' {LOCAL}; }} |"
    f" tar --exclude={LOCAL}/settings --null --verbatim-files-from -T - --numeric-owner --hard-dereference -cf -"
)
FIRST_MENU = (
    "esp=$(mktemp -d) && mount -t vfat -o ro /dev/hostwright/esp $esp && cat $esp/grub/grub.cfg; status=$?;"
    " umount $esp; rmdir $esp; exit $status"
)
_EDIT = re.compile(r"^(changed|removed|added) /([^\n]+)$", re.M)


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

    def read(self, command: str, stdin: bytes = b"") -> bytes:
        """The standard output of a line of shell on the host; UserError with its own words if it fails."""
        status, out, said = run.capture(self.argv(command), stdin=stdin)
        if status != 0:
            words = f"{out.decode(errors='replace')}{said}".strip()
            is_away = status == SSH_FAILED
            raise UserError(
                f"{self.address}: {words or f'the command ended with status {status}'}",
                "ssh must reach the host as root without a password"
                if is_away
                else "the host's own words are above",
            )
        return out

    def require(self, command: str) -> str:
        """As read(), as text."""
        return self.read(command).decode(errors="replace")


@dataclass(frozen=True)
class Running:
    """The slot that runs, in the host's own words; `edits` maps a path to `changed`, `removed` or `added`."""

    slot: str
    build: str
    listed: listing.Listing
    edits: Mapping[str, str]
    firmware: Firmware

    @property
    def base(self) -> update.Base:
        """What an update need not bring: every file that is as it was written."""
        return update.Base(
            self.build, {path: one for path, one in self.listed.files.items() if path not in self.edits}
        )

    def find_missing(self, known: listing.Listing) -> list[str]:
        """The files of the slot whose content is none of `known`, the owner's edits among them."""
        old = {path for path, (_, digest) in self.base.files.items() if digest not in known.digests}
        return sorted(
            {rootfs.MANIFEST, *old, *(path for path, how in self.edits.items() if how != "removed")}
        )


def ask(host: Host) -> Running:
    """What runs on `host`; raises UserError with its own words if it does not say."""
    said = host.require(STATUS)
    slot = said.partition("\n")[0]
    build = re.search(r"\bbuild ([0-9a-f]{16})$", slot)
    if not build:
        raise UserError(
            f"{host.address} does not name the build that it runs: {slot}", "log in, and look at it"
        )
    return Running(
        slot,
        build[1],
        listing.parse(host.require(LIST)),
        {path: how for how, path in _EDIT.findall(said)},
        Firmware.UEFI if said.endswith("\nuefi\n") else Firmware.BIOS,
    )


def pull(host: Host, running: Running, known: listing.Listing, target: Path) -> None:
    """Write a tar of what `known` does not have: files of the slot, and the owner's settings below /var."""
    names = running.find_missing(known)
    target.write_bytes(host.read(PULL, "".join(f"{name}\0" for name in names).encode()))
