"""The installed guest inside the booted host: `guest start` on the image boots Debian with passed devices.

    a copy of the image + the proof's key --+
    dist/guest/NAME --> ext4 ---------------+--> QEMU --> host, by ssh --guest start--> guest, by ssh --> Facts --> rows

The guest's disk is on a separate disk, mounted where the host keeps guests, so the image needs no space for it.
The guest gets the key as in the check after its install, through a further option of its QEMU. That QEMU also takes
the pictures of the screen, since VNC is on the host's loopback.
"""

import json
import os
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.base.times import limit
from hostwright.machine.model import Guest, Machine
from hostwright.proof import boot, inner, lab, report
from hostwright.proof import login as deeper
from hostwright.proof.lab import plan_boot
from hostwright.proof.login_rows import (
    GUEST_BOOT,
    Answer,
    GuestFacts,
    find_drive,
    find_guest,
    is_reachable,
    judge_guest,
)
from hostwright.proof.verdict import Outcome, Proof
from hostwright.sandbox import sandbox
from hostwright.sandbox.sandbox import Bind, Job
from hostwright.vm import board, guest_argv, login, pictures, process
from hostwright.vm.board import Accelerator

# Seconds. Debian and its sshd start slowly in a machine that is emulated inside an emulated machine.
GUEST_LIMIT_S = limit(7200.0)
TRY_LIMIT_S = limit(180.0)
COMMAND_LIMIT_S = limit(300.0)
STOP_LIMIT_S = round(limit(900))
GUESTS_IMAGE = "guests.img"
# By the guest's clock an instruction takes 2 to the power of this in ns (QEMU's -icount).
INSTRUCTION_SHIFT = 2
# The space that a file system needs besides its files.
ROOM_MIB = 128
# Where the guest's QEMU leaves a picture of its screen, on the host.
SCREEN = "screen.ppm"
# QEMU's own picture of a display that no guest has set up yet (ui/console.c).
PLACEHOLDER_SIZE = (640, 480)

# The firmware takes a minute or two to its first screen.
START_PICTURES, PICTURE_EVERY_S = 20, 15.0
PICTURES = {
    "screen-start.png": "The guest's first screen",
    "screen-login.png": "The guest's screen once it lets its user in",
}
CONSOLE, LSPCI = "guest-console.log", "lspci.txt"


@dataclass(frozen=True)
class Ports:
    """Ports of loopback: the host's ssh, and the guest's."""

    host: int
    guest: int


def prove(machine: Machine, image: Path, out: Path, progress: Callable[[str], None]) -> Proof:
    """Boot both, and write report and logs to `out`; raises UserError for every expectation that was not met."""
    guest = find_guest(machine)
    if not guest or not is_reachable(machine):
        raise UserError(
            f"{machine.name}: the lab cannot carry its guests: it has no such devices, or gives no such addresses",
            "prove it with the lab's own host.toml",
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in (*PICTURES, CONSOLE, LSPCI):
        files.remove(out / name)
    started = time.monotonic()
    inputs = boot.find_inputs(machine, image)
    accelerator, reason = process.find_accelerator(inputs.kernel, inputs.tools, out)
    with boot.opened(inputs, out) as given:
        outcome, facts = start(given, guest, accelerator, out, progress)
    sample = deeper.digest_samples()[lab.NVME_DRIVES.index(find_drive(guest))]
    verdict = Proof(
        machine=machine.name,
        rows=tuple(judge_guest(outcome, facts, guest, sample)),
        outcomes=(),
        deeper=(outcome,),
        pictures={title: name for name, title in PICTURES.items() if (out / name).exists()},
        qemu="QEMU of the build root, and QEMU of the image inside it",
        accelerator=f"{accelerator.value}: {reason}",
        artifacts={file.name: files.digest(file) for file in (inputs.image, inputs.kernel, inputs.code)},
        seconds=round(time.monotonic() - started, 1),
    )
    report.write_reports(verdict, out)
    if not verdict.ok:
        raise report.failure(verdict, out)
    return verdict


def start(
    inputs: boot.Inputs, guest: Guest, accelerator: Accelerator, out: Path, progress: Callable[[str], None]
) -> tuple[Outcome, GuestFacts | None]:
    """Boot the host, start the guest in it, and query the guest.

    The facts are None if no login to the guest was possible.
    """
    record, key, ports = deeper.Record(), login.generate_key(), Ports(login.free_port(), login.free_port())

    def reach(step: str) -> None:
        record.reach(step)
        progress(step)

    with process.folder(out, GUEST_BOOT.name) as folder:
        fill(folder, inputs, guest, key)
        job = process.plan_job(plan(inputs.machine, accelerator, ports), folder, inputs.tools, accelerator)
        visit = deeper.Visit(GUEST_BOOT, job, ports.host, key)
        return deeper.carry_out(
            visit, record, out, lambda host: Asker(host, guest, key, ports.guest, out, reach).ask()
        )


def plan(machine: Machine, accelerator: Accelerator, ports: Ports) -> tuple[str, ...]:
    """The lab with the guests' disk in addition to the image."""
    return (
        *plan_boot(machine, GUEST_BOOT.firmware, accelerator, ports.host, ports.guest),
        "-drive", f"if=none,id=guests,file={board.FOLDER}/{GUESTS_IMAGE},format=raw",
        "-device", "ide-hd,bus=ide.1,drive=guests",
    )  # fmt: skip


def fill(folder: Path, inputs: boot.Inputs, guest: Guest, key: login.Key) -> None:
    """Place the files that QEMU opens, the guests' disk among them; raises UserError if the guest is not installed."""
    deeper.fill(folder, inputs, key)
    _write_extra(folder, inputs, guest, key)
    _write_guests(folder, inputs.tools, guest)


def plan_extra(guest: Guest, key: login.Key) -> tuple[str, ...]:
    """Arguments for the guest's QEMU: the credential that admits `key`, and a clock that counts instructions.

    By the host's clock, an emulated guest inside an emulated host is too slow for the time limits of its own systemd.
    Such a guest takes 4 ns per instruction when it runs on this machine directly. The host has no KVM here
    (plan_board()), so its guests are always emulated.
    """
    credential = login.tmpfiles(guest.install.user, key.public)
    return (
        *("-smbios", f"type=11,value=io.systemd.credential.binary:{credential}"),
        *("-icount", f"shift={INSTRUCTION_SHIFT}"),
    )


def _write_extra(folder: Path, inputs: boot.Inputs, guest: Guest, key: login.Key) -> None:
    (folder / "extra.args").write_text("".join(f"{word}\n" for word in plan_extra(guest, key)))
    boot.alter(folder, inputs, (f"write extra.args /{guest_argv.HOST_SETTINGS}/{guest.name}/extra.args",))


def _write_guests(folder: Path, tools: Path, guest: Guest) -> None:
    place = folder / "guests" / guest.name
    place.mkdir(parents=True)
    size_mib = ROOM_MIB
    for name in (guest_argv.DISK, guest_argv.VARS):
        source = paths.GUESTS / guest.name / name
        if not source.exists():
            raise UserError(f"{source}: guest {guest.name} is not installed", "run ./doit guest")
        os.link(source, place / name)
        size_mib += 2 * (source.stat().st_blocks >> 11)
    argv = ("mke2fs", "-q", "-F", "-t", "ext4", "-d", "guests", GUESTS_IMAGE, f"{size_mib}M")
    sandbox.output(Job(tools, argv, (Bind(folder, "/build", writable=True),)), tools)
    files.remove(folder / "guests")


def plan_picture(guest: Guest) -> str:
    """A command for the host that prints the guest's screen as a PPM in base64.

    Its status is 1 if QEMU gives no picture within half a minute. It writes to the monitor as `guest stop` does. The
    file is complete once it stops growing.
    """
    run = f"{guest_argv.HOST_RUN_FOLDER}/{guest.name}"
    place = f"{run}/{guest_argv.SOCKETS_FOLDER}/{SCREEN}"
    words = {"execute": "qmp_capabilities"}, {"execute": "screendump", "arguments": {"filename": place}}
    asked = " ".join(f"'{json.dumps(word)}'" for word in words)
    return (
        f"rm -f {place}; printf '%s\\n' {asked} 1<>{run}/monitor.in;"
        f" for second in $(seq 30); do sleep 1; size=$(stat -c %s {place} 2>/dev/null || echo 0);"
        f' [ "$size" = 0 ] || [ "$size" != "$before" ] || exec base64 {place}; before=$size; done; exit 1'
    )


class Asker:
    """Queries the host, and through it the guest."""

    def __init__(
        self,
        host: login.Session,
        guest: Guest,
        key: login.Key,
        port: int,
        out: Path,
        reach: Callable[[str], None],
    ) -> None:
        self.host, self.guest, self.key, self.port, self.out, self.reach = host, guest, key, port, out, reach

    def ask(self) -> GuestFacts:
        """Query all that the judge needs to know."""
        self._on_host(f"mkdir -p {guest_argv.HOST_FOLDER} && mount /dev/sdb {guest_argv.HOST_FOLDER}")
        checked = self._on_host(f"guest check {self.guest.name}")
        started = self._on_host(f"guest start {self.guest.name}")
        self.reach("guest start")
        facts = GuestFacts(check=checked, start=started)
        return self._visit(facts) if started.status == 0 else facts

    def _visit(self, facts: GuestFacts) -> GuestFacts:
        """Log in to the started guest, and shut it down; its console's log is kept in any case."""
        try:
            facts = self._ask_guest(facts)
            stop = self._on_host(f"guest stop --limit {STOP_LIMIT_S} {self.guest.name}", STOP_LIMIT_S + 60)
            self.reach("guest stop")
        finally:
            said = self._on_host(
                f"cat {guest_argv.HOST_FOLDER}/{self.guest.name}/{guest_argv.CONSOLE_LOG}"
            ).output
            files.write(self.out / CONSOLE, said)
        return replace(facts, stop=stop)

    def _ask_guest(self, facts: GuestFacts) -> GuestFacts:
        self._picture_start()
        user = self.guest.install.user
        with login.connect(
            "127.0.0.1", self.port, user, self.key.private, GUEST_LIMIT_S, TRY_LIMIT_S
        ) as shell:
            self.reach("ssh to the guest")
            self._picture("screen-login.png")
            lspci = shell.run("lspci -nnv", COMMAND_LIMIT_S)[1]
            files.write(self.out / LSPCI, lspci)
            read = f"sudo head -c {inner.SAMPLE_BYTES} /dev/nvme0n1 | sha256sum"
            drivers = deeper.parse_drivers(shell.run(deeper.LIST_DRIVERS, COMMAND_LIMIT_S)[1])
            digest = shell.run(read, COMMAND_LIMIT_S)[1].split()[0]
        return replace(facts, is_reached=True, lspci=lspci, digest=digest, drivers=drivers)

    def _picture_start(self) -> None:
        """Wait for the guest's first own screen. A guest that shows none in time may still accept a login."""
        for _ in range(START_PICTURES):
            frame = self._picture("screen-start.png")
            if frame and (frame.width, frame.height) != PLACEHOLDER_SIZE and not pictures.is_blank(frame):
                return
            time.sleep(PICTURE_EVERY_S)

    def _picture(self, name: str) -> pictures.Frame | None:
        """Save the guest's screen as `name`; None if its QEMU gives no picture in time."""
        answer = self._on_host(plan_picture(self.guest))
        if answer.status != 0:
            return None
        raw = self.out / SCREEN
        files.write(raw, b64decode(answer.output))
        try:
            frame = pictures.read(raw)
        except (OSError, ValueError):
            # An incomplete picture does not end the proof.
            return None
        finally:
            files.remove(raw)
        pictures.write_png(frame, self.out / name)
        return frame

    def _on_host(self, command: str, limit_s: float = COMMAND_LIMIT_S) -> Answer:
        return Answer(*self.host.run(command, limit_s))
