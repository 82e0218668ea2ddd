"""An unattended install, from the medium to a bootable disk, watched all the time.

answers + medium + empty disk --> QEMU --> Watch (log), pictures (screen), Depot (archive) --> Outcome
                                                \\-> Fault: the machine is ended, UserError with the log's end
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from hostwright.base.errors import UserError
from hostwright.base.times import clock, limit, meter
from hostwright.guest.plan import Outcome, Run, Voice
from hostwright.guest.watch import Fault, Watch
from hostwright.source.depot import Depot
from hostwright.vm import guest_argv, pictures
from hostwright.vm.monitor import Event
from hostwright.vm.pictures import Frame, Shot
from hostwright.vm.screen import ScreenError
from hostwright.vm.session import Session, started

TICK_S = 1.0
PICTURE_S = 10.0
# A screen counts as frozen after this number of failed reads in a row.
MOST_MISSES = 4
CAPTURE_LIMIT_S = limit(8.0)
SETTLE_S = 2.0
# Longer than the log takes to name a dialog's question.
RED_LIMIT_S = limit(35.0)
TAIL_LINES = 12
# A blinking cursor changes no more than this share of the screen.
BLINK = 0.0005


def install(plan: Run, depot: Depot, voice: Voice) -> Outcome:
    """Run the installer to its end; raises UserError with the reason and the log's last lines if it fails."""
    argv = guest_argv.plan_install(plan.guest, plan.accelerator, plan.vnc, depot.port)
    return follow(plan, argv, depot, voice)


def follow(plan: Run, argv: tuple[str, ...], depot: Depot, voice: Voice) -> Outcome:
    """Follow any machine that logs as the installer does; `depot` is its archive."""
    with started(argv, plan.folder, plan.tools, plan.accelerator, plan.vnc) as session:
        voice.say(_invitation(session))
        follower = Follower(plan, session, depot, voice.note)
        fault = follower.follow()
        if fault:
            raise follower.failure(fault)
        return follower.outcome()


def _invitation(session: Session) -> str:
    """The line with the VNC address: a port with its password, or a unix socket."""
    kind = f", password {session.password}" if session.password else " (a unix socket: see docs/guest.md)"
    return f"watch the install with a VNC client: {session.address}{kind}"


def find_disk_fault(events: Sequence[Event]) -> Fault | None:
    """The fault if QEMU stopped the machine because the disk's file cannot grow (BLOCK_IO_ERROR, qemu-qmp-ref(7))."""
    for event in events:
        if event.name == "BLOCK_IO_ERROR":
            reason = str(event.data.get("reason", "an error"))
            return Fault(f"the guest's disk cannot be written: {reason}", "free disk space below dist/")
    return None


class Answers(Protocol):
    """The part of QEMU's monitor that is used here."""

    def execute(self, command: str, /) -> object:
        """Run a command of the QEMU machine protocol; returns its answer."""


def is_frozen(misses: int, monitor: Answers) -> bool:
    """Whether neither the screen nor the monitor answers; a machine that is merely slow answers on one."""
    if misses < MOST_MISSES:
        return False
    try:
        monitor.execute("query-status")
    except UserError:
        return True
    return False


class Follower:
    """Reads log and screen in turn until the install ends or fails."""

    def __init__(self, plan: Run, session: Session, depot: Depot, progress: Callable[[str], None]) -> None:
        self.plan, self.session, self.depot, self.progress = plan, session, depot, progress
        self.started = time.monotonic()
        self.watch = Watch(plan.templates, plan.limits, self.started, plan.stages)
        self.last: list[str] = []
        self.shots: list[Shot] = []
        self.frames: list[Path] = []
        self._frame: Frame | None = None
        self._misses = 0
        self._red_since = self.started
        self._next_picture = self.started + PICTURE_S
        # When to take the picture of a stage, and the stage; "" once it is taken.
        self._due = self.started + PICTURE_S, plan.stages[0].title
        (plan.folder / "pictures").mkdir(exist_ok=True)

    def follow(self, until: str = "") -> Fault | None:
        """Wait until the machine ends; None if it finished its work, otherwise the fault.

        `until` is a menu item: the wait ends when its stage begins.
        """
        goal = next(
            (index for index, stage in enumerate(self.plan.stages) if stage.item == until and until),
            len(self.plan.stages),
        )
        while self.watch.stage < goal:
            ended = self.session.status is not None
            now = time.monotonic()
            self._read(now)
            if ended:
                return self._judge_end()
            if fault := find_disk_fault(self.session.monitor.events()) or self.watch.fault(now):
                self._picture("the end")
                return fault
            self._take_due(now)
            if now >= self._next_picture and (fault := self._look(now)):
                return fault
            self.progress(self._status(now))
            time.sleep(TICK_S)
        return None

    def outcome(self) -> Outcome:
        """The outcome for the records."""
        return Outcome(
            tuple(self.watch.packages),
            dict(self.watch.network),
            tuple(self.shots),
            tuple(self.frames),
            round(time.monotonic() - self.started, 1),
        )

    def failure(self, fault: Fault) -> UserError:
        """The error: the fault with its stage, the files that the archive could not serve, and the log's last lines."""
        stage = self.plan.stages[self.watch.stage].title
        after = clock(time.monotonic() - self.started)
        trouble = [f"    archive: {each}" for each in self.depot.failures[-3:]]
        last = [f"    {line}" for line in self.last[-TAIL_LINES:]]
        lines = [f"{fault.what} (at: {stage}, after {after}); the installer's last lines:", *last, *trouble]
        return UserError("\n".join(lines), f"{fault.hint}; logs and pictures: {self.plan.folder}")

    def _read(self, now: float) -> None:
        stage = self.watch.stage
        for line in self.session.console.lines():
            if line.strip():
                self.watch.moved(now)
        for line in self.session.installer.lines():
            self.watch.line(line, now)
            if line.strip() and "hostwright: alive" not in line and "debconf: " not in line:
                self.last = [*self.last[-TAIL_LINES:], line]
        if self.watch.stage != stage:
            self._begin_stage(now)

    def _begin_stage(self, now: float) -> None:
        """Take a stage's picture at its first dialog, at the latest when the next stage begins."""
        self._take_due(now, at_once=True)
        self._due = now + SETTLE_S, self.plan.stages[self.watch.stage].title

    def _take_due(self, now: float, *, at_once: bool = False) -> None:
        when, title = self._due
        if title and (at_once or now >= when):
            self._due = now, ""
            self._picture(title)

    def _look(self, now: float) -> Fault | None:
        """Take a picture from time to time; several failed reads in a row are a fault."""
        self._next_picture = now + PICTURE_S
        before = self._frame
        if not self._capture():
            frozen = is_frozen(self._misses, self.session.monitor)
            return Fault("the display is frozen", "QEMU hangs: try again") if frozen else None
        assert self._frame
        if before is None or pictures.difference(before, self._frame) > BLINK:
            self.watch.moved(now)
            self._keep()
        return self._judge_colour(now)

    def _judge_colour(self, now: float) -> Fault | None:
        """A screen that stays red is an error, even if the log did not report one."""
        assert self._frame
        if pictures.red_share(self._frame) <= pictures.RED_SCREEN:
            self._red_since = now
        elif now - self._red_since >= RED_LIMIT_S:
            return Fault("the installer shows a red error screen", "the picture shows what went wrong")
        return None

    def _picture(self, title: str) -> None:
        """Save the current screen under a title."""
        if self._capture():
            self.shots.append(Shot(title, self._keep()))

    def _capture(self) -> bool:
        try:
            self._frame, self._misses = self.session.screen.capture(CAPTURE_LIMIT_S), 0
        except ScreenError:
            self._misses += 1
        return self._misses == 0

    def _keep(self) -> Path:
        assert self._frame
        path = self.plan.folder / "pictures" / f"{len(self.frames):04}.png"
        pictures.write_png(self._frame, path)
        self.frames.append(path)
        return path

    def _judge_end(self) -> Fault | None:
        if self.watch.is_done and self.session.status == 0:
            return None
        if fault := self.watch.fault(time.monotonic()):
            return fault
        early = "" if self.watch.is_done else " before the install was done"
        return Fault(
            f"QEMU ended with status {self.session.status}{early}", "see qemu.log and console.log there"
        )

    def _status(self, now: float) -> str:
        share = self.watch.done_share()
        elapsed = now - self.started
        left = (
            elapsed / share * (1 - share)
            if share > 0.05
            else sum(stage.seconds for stage in self.plan.stages)
        )
        title = self.plan.stages[self.watch.stage].title
        return f"{meter(share)} {title}, about {clock(left)} left; VNC {self.session.address}"
