"""The proof over ssh: the image booted, its owner logged in, and a guest started inside it.

    a copy of the image + the proof's key + the inner guest's disk --> QEMU --> ssh --> Facts --> login_rows --> rows

The copy differs from the image in those two files, on a larger disk. Without interrupt remapping the guest is refused.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from hostwright.base import files
from hostwright.base.errors import UserError
from hostwright.base.times import limit
from hostwright.build import store
from hostwright.build.recipes import load_recipe, recipe_names
from hostwright.formats import gpt
from hostwright.image import rootfs
from hostwright.machine.model import Guest
from hostwright.proof import boot as boots
from hostwright.proof import inner, lab
from hostwright.proof.lab import plan_boot
from hostwright.proof.login_rows import UNMAPPED, Answer, Facts
from hostwright.proof.verdict import Boot, Outcome
from hostwright.sandbox.sandbox import Job
from hostwright.vm import login, process
from hostwright.vm.board import FOLDER, Accelerator
from hostwright.vm.login import free_port
from hostwright.vm.monitor import Monitor

# Seconds. An emulated machine inside an emulated one takes two minutes, or ten beside four compilers.
LOGIN_LIMIT_S = limit(300.0)
COMMAND_LIMIT_S = limit(120.0)
INNER_LIMIT_S = limit(1500.0)
STOP_LIMIT_S = limit(60.0)
# How long an answer is waited for that must not come. One that may come takes a tenth of it.
SILENCE_S = limit(10.0)
POLL_S = 3.0

# For a shell on the host, or in a guest.
LIST_DRIVERS = "for d in /sys/bus/pci/devices/*; do echo ${d##*/} $(readlink $d/driver); done"

# Also what is mounted by hand only. Each is left as it was found.
MOUNT_ALL = """mount -a && for place in $(findmnt --fstab --noheadings --output TARGET); do
    mountpoint -q "$place" && continue
    echo "$place" && mount "$place" && umount "$place" || exit 1
done && findmnt --verify"""
LIST_PORTS = "bridge -d link"
# As the account of a guest's QEMU. Root opens each of them, and everybody may by the mode of the last file.
REACH = """echo x >/run/reach && /usr/libexec/hostwright/confined {name} bash -c '
for place in /etc/shadow /var/lib/hostwright/ssh/ssh_host_ed25519_key /dev/sda /root /run/reach; do
    : <"$place" && reached="$reached $place"
done
kill -0 1 && reached="$reached init"
timeout 3 bash -c ": </dev/tcp/127.0.0.1/22" && reached="$reached ssh"
echo "reached:${{reached:- nothing}}"
[ -z "$reached" ]' 2>/dev/null"""
# A second server on a port: it tells whether a packet comes through.
LISTEN = "/usr/sbin/sshd -p {0} -o PidFile=/run/probe.pid && bash -c 'head -n 1 </dev/tcp/127.0.0.1/{0}'"
OPEN = "iptables -w -I INPUT -p tcp --dport {0} -j ACCEPT"
CLOSE = "iptables -w -D INPUT -p tcp --dport {0} -j ACCEPT"

_Answers = TypeVar("_Answers")
Answered = tuple[Outcome, Facts | None]

GUESTS = "/var/lib/hostwright/guests"
MONITOR = "monitor"
MONITOR_OPTIONS = ("-qmp", f"unix:{FOLDER}/{MONITOR},server=on,wait=off")


@dataclass(frozen=True)
class Inputs:
    """The proof's inputs, the guest to start, and the path of its disk."""

    proof: boots.Inputs
    guest: Guest
    disk: Path
    smokes: Mapping[str, tuple[str, ...]]


@dataclass
class Record:
    """Seconds since the start at which each step was reached."""

    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def reach(self, step: str) -> None:
        """Record that a step was reached now."""
        self.seconds[step] = round(time.monotonic() - self.started, 1)


@dataclass(frozen=True)
class Visit:
    """A boot with a login as root with `key`, at `port` of loopback; `job` is its QEMU.

    With `monitor`, the socket of QEMU's monitor, its power button ends the boot.
    """

    boot: Boot
    job: Job
    port: int
    key: login.Key
    monitor: Path | None = None


def find_smokes() -> dict[str, tuple[str, ...]]:
    """The smoke test of each package of the host that has one."""
    names = [name for name in recipe_names() if name not in rootfs.NOT_ON_HOST]
    recipes = {recipe.name: recipe.smoke for recipe in map(load_recipe, names)}
    return {name: smoke for name, smoke in recipes.items() if smoke}


def prepare(inputs: boots.Inputs, guest: Guest, work: Path) -> Inputs:
    """The inner guest's disk, made in the empty folder `work`."""
    disk = inner.make_disk(inputs.kernel, store.read_stamp("grub").tree, inputs.tools, work)
    return Inputs(inputs, guest, disk, find_smokes())


def start(
    inputs: Inputs, accelerator: Accelerator, out: Path, boot: Boot, progress: Callable[[str], None]
) -> Answered:
    """Boot the image once and query everything.

    The facts are None if no login was possible; the outcome contains the reason.
    """
    record, key, port, closed = Record(), login.generate_key(), free_port(), free_port()

    def ask(shell: login.Session) -> Facts:
        asker = Asker(shell, inputs, record, lambda text: progress(f"{boot.name}: {text}"))
        facts = replace(asker.ask(boot, port), inbound=asker.ask_inbound(closed))
        if asker.said:
            files.write(out / f"{boot.name}-guest.log", asker.said)
        return facts

    with process.folder(out, boot.name) as folder:
        fill(folder, inputs.proof, key)
        _place_guest(folder, inputs)
        argv = plan_boot(inputs.proof.machine, boot.firmware, accelerator, port, closed_port=closed)
        argv = (*argv, *MONITOR_OPTIONS)
        progress(f"{boot.name}: booting")
        job = process.plan_job(argv, folder, inputs.proof.tools, accelerator)
        outcome, facts = carry_out(Visit(boot, job, port, key, folder / MONITOR), record, out, ask)
        if facts:
            facts = replace(
                facts,
                drives=tuple(_digest(folder / f"{drive}.img") for drive in lab.DRIVES),
                image_mib=gpt.find(inputs.proof.image, gpt.DATA_PART).size >> 20,
            )
    return outcome, facts


def carry_out(
    visit: Visit, record: Record, out: Path, ask: Callable[[login.Session], _Answers]
) -> tuple[Outcome, _Answers | None]:
    """Boot, log in, query, and power off; a failure becomes the outcome's error."""
    boot, answers, error = visit.boot, None, ""
    with process.running(replace(visit.job, network=True), out / f"{boot.name}.log") as (console, status_of):
        try:
            console.wait_for("executed automatically in", boots.MENU_LIMIT_S, stop=boots.NO_BOOT)
            boots.choose(console, boot)
            with login.connect("127.0.0.1", visit.port, "root", visit.key.private, LOGIN_LIMIT_S) as shell:
                record.reach("ssh")
                answers = ask(shell)
                end(visit, shell)
            console.wait_for_end(boots.POWER_OFF_LIMIT_S)
            record.reach("power-off")
        except UserError as what:
            error = what.message
        status, text = status_of(), console.text
    return Outcome(boot, None, text, "", status, error, record.seconds), answers


def end(visit: Visit, shell: login.Session) -> None:
    """Begin the host's way down."""
    if visit.monitor:
        with Monitor(visit.monitor) as monitor:
            monitor.powerdown()
    else:
        shell.run("init 0", COMMAND_LIMIT_S)


def sample(number: int) -> bytes:
    """The first bytes of the lab's drive `number`: different from its twin's, and not all zero."""
    block = b"".join(sha256(f"drive {number} block {index}".encode()).digest() for index in range(1 << 10))
    return block * (inner.SAMPLE_BYTES // len(block))


def digest_samples() -> list[str]:
    """The sha256 of each drive's sample, in the order of the lab's drives."""
    return [sha256(sample(number)).hexdigest() for number, _ in enumerate(lab.DRIVES, start=1)]


def _digest(path: Path) -> str:
    """The sha256 of the bytes of a drive that its sample fills."""
    with path.open("rb") as drive:
        return sha256(drive.read(inner.SAMPLE_BYTES)).hexdigest()


def fill(folder: Path, inputs: boots.Inputs, key: login.Key) -> None:
    """Place the files that QEMU opens: the altered copy of the image, the firmware, and drives with their samples."""
    boots.fill(folder, inputs)
    for number, drive in enumerate(lab.DRIVES, start=1):
        with (folder / f"{drive}.img").open("r+b") as disk:
            disk.write(sample(number))
    boots.copy_image(folder, inputs, key)


def _place_guest(folder: Path, inputs: Inputs) -> None:
    """Put the inner guest's disk where `guest start` looks for it."""
    guests = GUESTS.removeprefix("/var")
    place = f"{guests}/{inputs.guest.name}"
    os.link(inputs.disk, folder / inner.DISK)
    boots.alter(
        folder,
        inputs.proof,
        (f"mkdir {guests}", f"mkdir {place}", f"write {inner.DISK} {place}/{inner.DISK}"),
        gpt.DATA_PART,
    )
    (folder / inner.DISK).unlink()


class Asker:
    """Queries the booted host, command by command, as root over ssh."""

    def __init__(
        self, shell: login.Session, inputs: Inputs, record: Record, progress: Callable[[str], None]
    ) -> None:
        self.shell, self.inputs, self.record, self.progress = shell, inputs, record, progress
        self.name = inputs.guest.name
        # The guest's console output, start by start.
        self.said = ""
        self.running: dict[str, Answer] = {}

    def ask(self, boot: Boot, port: int) -> Facts:
        """Query all that the judge needs to know about this boot."""
        facts = Facts(
            uptime_s=float(self._run("cat /proc/uptime").output.split()[0]),
            methods=login.find_methods("127.0.0.1", port, "root"),
            listening=tuple(self._run("ss -Hltun").output.splitlines()),
            used_mib=self._mib("used", "/"),
            size_mib=self._mib("size", "/var"),
            fstab=self._run(MOUNT_ALL),
            check=self._run(f"guest check {self.name}"),
        )
        if boot == UNMAPPED:
            return replace(facts, start=self._run(f"guest start {self.name}"))
        smokes = {name: self._run(" ".join(argv)) for name, argv in self.inputs.smokes.items()}
        start, first = self._run_guest("first start")
        # If the first start did not finish, the guest may still run, and a second start would not be one.
        again = self._run_guest("second start")[1] if first else None
        return replace(
            facts,
            smokes=smokes,
            start=start,
            running=self.running,
            first=first,
            again=again,
            drivers=self._drivers(),
        )

    def ask_inbound(self, outside: int) -> Mapping[str, str]:
        """What a server on a closed port says: on loopback, at `outside`, and there with a rule that opens the port."""
        port = lab.find_closed_port(self.inputs.proof.machine)
        inside = self._run(LISTEN.format(port)).output.strip()
        closed = login.read_banner("127.0.0.1", outside, SILENCE_S)
        self._run(OPEN.format(port))
        opened = login.read_banner("127.0.0.1", outside, COMMAND_LIMIT_S)
        self._run(f"{CLOSE.format(port)}; kill $(cat /run/probe.pid)")
        return {"loopback": inside, "closed": closed, "opened": opened}

    def _run(self, command: str) -> Answer:
        return Answer(*self.shell.run(command, COMMAND_LIMIT_S))

    def _mib(self, field: str, place: str) -> int:
        """A field of df in MiB, for the file system of `place`; 0 if it is not a number."""
        return int(self._run(f"df -BM --output={field} {place} | tail -n 1 | tr -dc 0-9").output or 0)

    def _run_guest(self, step: str) -> tuple[Answer, inner.Report | None]:
        """Start the guest, wait until it powers itself off, and read its console."""
        self.progress(f"guest {self.name}: {step}")
        answer = self._run(f"guest start {self.name}")
        if answer.status != 0:
            return answer, None
        asked = {
            "ports": LIST_PORTS,
            "check": f"guest check {self.name}",
            "reach": REACH.format(name=self.name),
        }
        self.running = {what: self._run(command) for what, command in asked.items()}
        has_ended = self._wait_for_end()
        self.record.reach(step)
        said = self._run(f"cat {GUESTS}/{self.name}/console.log").output
        self.said += said
        return answer, inner.read_console(said) if has_ended else None

    def _wait_for_end(self) -> bool:
        """Whether the guest powers itself off in time; its status is then 3."""
        deadline = time.monotonic() + INNER_LIMIT_S
        while self._run(f"guest status {self.name}").status == 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _drivers(self) -> dict[str, str]:
        """The driver of each function of the lab."""
        return parse_drivers(self._run(LIST_DRIVERS).output)


def parse_drivers(listed: str) -> dict[str, str]:
    """The output of LIST_DRIVERS: each function's address and its driver, "" if it has none."""
    rows = (line.split() for line in listed.splitlines() if line)
    return {row[0]: row[1].rpartition("/")[2] if len(row) > 1 else "" for row in rows}
