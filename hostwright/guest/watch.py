"""The progress of an unattended install, read from its own log, and whether it has stalled; pure.

    lines of the installer's log, changes of the screen --> Watch --> stage, share done, Fault

The log is syslog's and includes debconf's protocol (DEBCONF_DEBUG=developer). Every few seconds it has a sign of life
with uptime and idle time (guest/watch.sh). A line may be torn, since both are written to one serial line. Sources:
Debian's installer (main-menu, cdebconf); debconf-devel(7).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hostwright.base.times import limit
from hostwright.guest.udeb import Template


@dataclass(frozen=True)
class Stage:
    """A step of the installer: menu item, title, and its seconds in emulation on a 2-core machine."""

    item: str
    title: str
    seconds: float


STAGES = (
    Stage("", "firmware, boot loader and kernel", 45),
    Stage("localechooser", "language", 2),
    Stage("console-setup-udeb", "keyboard", 2),
    Stage("ethdetect", "network card", 8),
    Stage("netcfg", "network", 12),
    Stage("choose-mirror", "archive", 6),
    Stage("user-setup-udeb", "accounts", 2),
    Stage("clock-setup", "clock", 2),
    Stage("disk-detect", "disks", 6),
    Stage("partman-base", "partitions", 25),
    Stage("bootstrap-base", "base system", 640),
    Stage("apt-setup-udeb", "package sources", 22),
    Stage("pkgsel", "packages", 105),
    Stage("grub-installer", "boot loader", 125),
    Stage("finish-install", "last steps", 80),
)


@dataclass(frozen=True)
class Limits:
    """Limits in seconds: for an answer, for a sign of life, for any activity at all."""

    question: float = limit(15.0)
    alive: float = limit(45.0)
    start: float = limit(120.0)
    still: float = limit(45.0)
    busy: float = limit(900.0)


@dataclass(frozen=True)
class Fault:
    """Why an install is aborted, and what to do."""

    what: str
    hint: str


_SELECTED = re.compile(r"main-menu\[\d+\]: INFO: Menu item '([^']+)' selected")
_ALIVE = re.compile(r"hostwright: alive (\d{1,9}\.\d\d) (\d{1,9}\.\d\d)", re.ASCII)
_SAID = re.compile(r"hostwright: (.*)")
_DEBCONF = re.compile(r"debconf: (-->|<--) (.*)")
# What debconf counts in: none of its steps has more digits, and no torn number has a surprise.
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
# The share of idle time, over a whole stillness, of a system that waits. One that is emulated on an idle machine spends
# up to 12 % on its own timer. A sign of life with less than the second share begins a stillness anew.
_IDLE_SHARE, _BUSY_SHARE = 0.85, 0.5
_PANIC = re.compile(r"Kernel panic - not syncing.*")


@dataclass
class Watch:
    """Everything that was read so far; `now` is the seconds of any clock."""

    templates: Mapping[str, Template]
    limits: Limits
    started: float
    stages: tuple[Stage, ...] = STAGES
    stage: int = 0
    share: float = 0.0
    is_done: bool = False
    network: dict[str, str] = field(default_factory=dict)
    packages: list[tuple[str, ...]] = field(default_factory=list)
    _fault: Fault | None = None
    _command: str = ""
    _asked: list[str] = field(default_factory=list)
    _waiting_since: float | None = None
    _progress: tuple[float, float, float] = (0.0, 0.0, 0.0)
    _alive_at: float | None = None
    _alive: tuple[float, float] = (0.0, 0.0)
    _moved_at: float = 0.0
    # The first sign of life since something moved: when it came, uptime and idle time.
    _still_from: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        self._moved_at = self.started

    def line(self, text: str, now: float) -> None:
        """Process a line of the log."""
        if found := _ALIVE.search(text):
            self._live(float(found[1]), float(found[2]), now)
            return
        self.moved(now)
        if found := _SELECTED.search(text):
            self._enter(found[1])
        elif found := _DEBCONF.search(text):
            self._debconf(found[1], found[2], now)
        elif found := _SAID.search(text):
            self._said(found[1].split())
        elif found := _PANIC.search(text):
            self._fault = Fault(f"the installer's kernel gave up: {found[0]}", "see the console's log")

    def moved(self, now: float) -> None:
        """Record a change in the log or on the screen."""
        self._moved_at, self._still_from = now, None

    def fault(self, now: float) -> Fault | None:
        """The fault that makes further waiting pointless; None if there is none."""
        return self._fault or self._question(now) or self._silence(now) or self._stillness(now)

    def done_share(self) -> float:
        """The completed share of the install, 0 to 1, weighted by the time of each stage."""
        total = sum(stage.seconds for stage in self.stages)
        before = sum(stage.seconds for stage in self.stages[: self.stage])
        return (before + self.stages[self.stage].seconds * self.share) / total

    def _enter(self, item: str) -> None:
        later = [stage.item for stage in self.stages[self.stage + 1 :]]
        if item in later:
            self.stage, self.share = self.stage + 1 + later.index(item), 0.0

    def _live(self, uptime: float, idle: float, now: float) -> None:
        """A sign of life. A stillness begins again where the processor was busy."""
        up, rest = uptime - self._alive[0], idle - self._alive[1]
        self._alive_at, self._alive = now, (uptime, idle)
        if self._still_from is None or rest < _BUSY_SHARE * up:
            self._still_from = (now, uptime, idle)

    def _idle(self, now: float) -> float:
        """For how many seconds nothing moved and the processor was idle, all in all."""
        if self._still_from is None:
            return 0.0
        since, uptime, idle = self._still_from
        up, rest = self._alive[0] - uptime, self._alive[1] - idle
        return now - since if up > 0 and rest >= _IDLE_SHARE * up else 0.0

    def _debconf(self, direction: str, text: str, now: float) -> None:
        if direction == "-->":
            self._command = text
            self._take_command(text.split(), now)
        else:
            self._waiting_since = None
            # INPUT PRIORITY QUESTION
            words = self._command.split()
            if words[:1] == ["INPUT"] and len(words) > 2 and text.startswith("0"):
                self._asked.append(words[2])
            elif self._command.startswith("GO"):
                self._asked.clear()

    def _take_command(self, words: list[str], now: float) -> None:
        match words:
            case ["GO", *_] if self._asked:
                self._waiting_since = now
            case ["PROGRESS", "START", low, high, *_] if _COUNT.fullmatch(low) and _COUNT.fullmatch(high):
                self._take_progress(float(low), float(high), float(low))
            case ["PROGRESS", "SET", at, *_] if _COUNT.fullmatch(at):
                self._take_progress(*self._progress[:2], float(at))
            case ["PROGRESS", "STEP", by, *_] if _COUNT.fullmatch(by):
                self._take_progress(*self._progress[:2], self._progress[2] + float(by))

    def _take_progress(self, low: float, high: float, at: float) -> None:
        """The bar that debconf shows: PROGRESS START MIN MAX TITLE, SET VALUE and STEP INCREMENT."""
        self._progress = low, high, at
        if high > low:
            self.share = max(self.share, min(1.0, (at - low) / (high - low)))

    def _said(self, words: list[str]) -> None:
        """A message of guest/late.sh or guest/second-stage.sh."""
        match words:
            case ["package", *rest]:
                self.packages.append(tuple(rest))
            case ["network", name, mac]:
                self.network[name] = mac
            case ["stage", item]:
                self._enter(item)
            case ["share", done, total] if _COUNT.fullmatch(done) and _COUNT.fullmatch(total) and int(total):
                self.share = min(1.0, int(done) / int(total))
            case ["late:", "failed:", *step]:
                self._fault = Fault(
                    f"the last command of the install failed: {' '.join(step)}",
                    "the lines above show the reason",
                )
            case ["late:", "done"]:
                self.is_done = True

    def _question(self, now: float) -> Fault | None:
        if self._waiting_since is None or now - self._waiting_since < self.limits.question:
            return None
        name = self._asked[-1]
        template = self.templates.get(name)
        title = f": {template.description}" if template else ""
        if template and template.type == "error":
            return Fault(
                f"the installer shows an error, {name}{title}", "the log lines before it show what went wrong"
            )
        return Fault(
            f"the installer asks {name}{title}, and waits for a person",
            f"answer it in guest.install.preseed: d-i {name} {template.type if template else 'string'} ...",
        )

    def _silence(self, now: float) -> Fault | None:
        if self._alive_at is None:
            limit, what = self.limits.start, "nothing came from the firmware, the boot loader or the kernel"
            since = self._moved_at
        else:
            limit, what, since = (
                self.limits.alive,
                "the installer's system gives no sign of life",
                self._alive_at,
            )
        if now - since < limit:
            return None
        return Fault(
            f"{what} for {now - since:.0f} s", "the guest hangs: try again, and look at the console's log"
        )

    def _stillness(self, now: float) -> Fault | None:
        idle = self._idle(now)
        still = now - self._moved_at
        if still < self.limits.busy and (still < self.limits.still or idle < self.limits.still):
            return None
        doing = "does nothing" if idle else "is busy with one thing"
        return Fault(
            f"for {still:.0f} s the installer {doing}: no line in its log, no change on its screen",
            "the picture shows what it waits for; a broken network connection looks like this",
        )
