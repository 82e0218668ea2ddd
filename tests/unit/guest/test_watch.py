"""An install that proceeds is not interrupted; one that waits, hangs or failed is recognised within a minute."""

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hostwright.guest.udeb import Template
from hostwright.guest.watch import STAGES, Fault, Limits, Stage, Watch

TEMPLATES = {
    "netcfg/get_hostname": Template("netcfg", "string", (), "debian", "Hostname:"),
    "mirror/bad": Template("choose-mirror", "error", (), "", "Bad archive mirror"),
}
LIMITS = Limits()


def watch() -> Watch:
    return Watch(TEMPLATES, LIMITS, started=0.0)


def alive(at: Watch, now: float, idle_share: float) -> None:
    """A sign of life every 5 s, from a system that is idle for this share of its time."""
    at.line(f"hostwright: alive {now:.2f} {now * idle_share:.2f}", now)


def fault_of(at: Watch, now: float) -> Fault:
    found = at.fault(now)
    assert found is not None
    return found


def test_stages_follow_the_menu_and_never_go_back() -> None:
    at = watch()
    titles = []
    for item in ("netcfg", "partman-base", "netcfg", "cdrom-checker", "bootstrap-base"):
        at.line(f"Nov 22 18:00:00 main-menu[213]: INFO: Menu item '{item}' selected", 1.0)
        titles.append(STAGES[at.stage].title)
    assert titles == ["network", "partitions", "partitions", "partitions", "base system"]


def test_the_share_done_grows_within_a_stage() -> None:
    at = watch()
    at.line("main-menu[213]: INFO: Menu item 'bootstrap-base' selected", 1.0)
    shares = [at.done_share()]
    for line in (
        "--> PROGRESS START 0 1000 base-installer/progress",
        "--> PROGRESS SET 400",
        "--> PROGRESS STEP 100",
    ):
        at.line(f"debconf: {line}", 2.0)
        shares.append(at.done_share())
    assert shares == sorted(shares)
    base = STAGES[at.stage].seconds
    assert shares[-1] - shares[0] == pytest.approx(0.5 * base / sum(stage.seconds for stage in STAGES))


def test_another_machine_has_stages_of_its_own() -> None:
    stages = (
        Stage("", "kernel", 10.0),
        Stage("packages", "packages", 30.0),
        Stage("end", "last steps", 10.0),
    )
    at = Watch({}, LIMITS, started=0.0, stages=stages)
    shares = []
    for said in (
        "stage packages",
        "share 1 2",
        "share 3 2",
        "share 1 0",
        "stage other",
        "stage end",
        "stage packages",
    ):
        at.line(f"Nov 22 18:00:00 hostwright: {said}", 1.0)
        shares.append(round(at.done_share(), 3))
    assert shares == [0.2, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8]
    assert at.stage == 2


def ask(at: Watch, question: str, now: float, answer: str = "0 question will be asked") -> None:
    for line in (f"--> INPUT critical {question}", f"<-- {answer}", "--> GO"):
        at.line(f"debconf: {line}", now)


def test_a_question_that_waits_is_named_with_its_remedy() -> None:
    at = watch()
    alive(at, 10.0, 0.0)
    ask(at, "netcfg/get_hostname", 10.0)
    assert at.fault(10.0 + LIMITS.question - 1) is None
    fault = fault_of(at, 10.0 + LIMITS.question)
    assert "netcfg/get_hostname: Hostname:" in fault.what
    assert "d-i netcfg/get_hostname string" in fault.hint


def test_an_error_screen_is_called_one() -> None:
    at = watch()
    alive(at, 10.0, 0.0)
    ask(at, "mirror/bad", 10.0)
    assert "shows an error, mirror/bad: Bad archive mirror" in fault_of(at, 40.0).what


@pytest.mark.parametrize("answer", ["30 question skipped", "0 question will be asked"])
def test_a_question_that_was_answered_is_none(answer: str) -> None:
    at = watch()
    ask(at, "netcfg/get_hostname", 10.0, answer)
    at.line("debconf: <-- 0 ok", 11.0)
    for now in range(15, 100, 5):
        alive(at, now, 0.0)
    assert at.fault(100.0) is None


def test_no_sign_of_life_is_a_fault_within_a_minute() -> None:
    at = watch()
    alive(at, 100.0, 0.0)
    assert at.fault(100.0 + LIMITS.alive - 1) is None
    assert "no sign of life" in fault_of(at, 100.0 + LIMITS.alive).what
    assert LIMITS.alive <= 60


def test_a_machine_that_never_starts_is_a_fault() -> None:
    assert watch().fault(LIMITS.start - 1) is None
    assert "nothing came from the firmware" in fault_of(watch(), LIMITS.start).what


def test_an_idle_installer_is_a_fault_within_a_minute_and_a_busy_one_is_not() -> None:
    idle, busy = watch(), watch()
    for now in range(0, 65, 5):
        alive(idle, now, 1.0)
        alive(busy, now, 0.2)
    assert "does nothing" in fault_of(idle, 60.0).what
    assert busy.fault(60.0) is None


# Shares of idle time between signs of life, as a system had them whose network was cut: emulated, on an idle machine.
WAITING = (0.88, 0.88, 0.91, 0.91, 0.89, 0.90, 0.89, 0.88, 0.91, 0.91, 0.91, 0.92, 0.92, 0.89)


def stand(at: Watch, shares: Iterable[float]) -> float:
    """A sign of life every 5 s, with these shares of idle time in between; when the last one came."""
    now = idle = 0.0
    at.line("hostwright: alive 0.00 0.00", now)
    for share in shares:
        now, idle = now + 5.0, idle + 5.0 * share
        at.line(f"hostwright: alive {now:.2f} {idle:.2f}", now)
    return now


def test_an_emulated_system_that_waits_is_idle_though_its_timer_is_not() -> None:
    at = watch()
    stand(at, WAITING[:10])
    assert "does nothing" in fault_of(at, 51.0).what


def test_a_system_that_works_now_and_then_is_not_idle() -> None:
    at = watch()
    assert at.fault(stand(at, [0.9, 0.9, 0.3] * 9)) is None
    assert at.fault(stand(at, [0.7] * 20)) is None


def test_a_change_on_the_screen_counts_as_life() -> None:
    at = watch()
    for now in range(0, 100, 5):
        alive(at, now, 1.0)
        if now % 20 == 0:
            at.moved(now)
    assert at.fault(99.0) is None


def test_busy_for_ever_is_a_fault_too() -> None:
    at = watch()
    for now in range(0, int(LIMITS.busy) + 5, 5):
        alive(at, now, 0.0)
    assert "busy with one thing" in fault_of(at, LIMITS.busy + 1).what


def test_what_the_last_command_says_is_kept() -> None:
    at = watch()
    for line in ("package bash 5.2 amd64", "network enp2s0 52:54:00:00:00:01", "late: done"):
        at.line(f"Nov 22 18:00:00 hostwright: {line}", 1.0)
    assert (at.packages, at.network, at.is_done) == (
        [("bash", "5.2", "amd64")],
        {"enp2s0": "52:54:00:00:00:01"},
        True,
    )


def test_a_failed_last_command_and_a_panic_end_the_wait_at_once() -> None:
    at = watch()
    at.line("Nov 22 18:00:00 hostwright: late: failed: 00-setup.sh", 1.0)
    assert "00-setup.sh" in fault_of(at, 1.0).what
    other = watch()
    other.line("[    9.1] Kernel panic - not syncing: VFS: Unable to mount", 1.0)
    assert "VFS: Unable to mount" in fault_of(other, 1.0).what


WORDS = some.sampled_from(
    [
        "debconf:",
        "-->",
        "<--",
        "INPUT",
        "GO",
        "PROGRESS",
        "START",
        "SET",
        "STEP",
        "0",
        "-1",
        "x",
        "hostwright:",
        "alive",
    ]
)


@given(some.lists(some.lists(WORDS).map(" ".join) | some.text()))
def test_no_line_makes_it_stumble(lines: list[str]) -> None:
    at = watch()
    for number, line in enumerate(lines):
        at.line(line, float(number))
        at.fault(float(number))
    assert 0.0 <= at.done_share() <= 1.0


LOG = (
    "Nov 30 08:08:04 main-menu[213]: INFO: Menu item 'bootstrap-base' selected",
    "Nov 30 08:08:04 debconf: --> INPUT critical netcfg/get_hostname",
    "Nov 30 08:08:04 debconf: <-- 0 question will be asked",
    "Nov 30 08:08:04 debconf: --> GO ",
    "Nov 30 08:08:04 debconf: <-- 0 ok",
    "Nov 30 08:08:04 debconf: --> PROGRESS START 0 1000 base-installer/progress",
    "Nov 30 08:08:04 debconf: --> PROGRESS SET 400",
    "Nov 30 08:08:04 debconf: --> PROGRESS STEP 100",
    "hostwright: alive 584.64 18.34",
    "Nov 30 08:08:04 hostwright: share 12 300",
    "Nov 30 08:08:04 hostwright: network enp2s0 52:54:00:4c:41:42",
    "Nov 30 08:08:04 hostwright: late: failed: 00-setup.sh",
)
DIGITS = some.text("0123456789\u00b2\u0663.-", max_size=400)


@some.composite
def torn(draw: some.DrawFn) -> str:
    """A line of the log, cut anywhere, with the rest of another behind it, or with other digits in it."""
    line = draw(some.sampled_from(LOG))
    end = draw(some.integers(0, len(line)))
    other = draw(some.sampled_from(("", *LOG)))
    begin = draw(some.integers(0, len(other)))
    digits = draw(some.none() | DIGITS)
    cut = line[:end] + other[begin:]
    return cut if digits is None else re.sub(r"\d+(?=\D*$)", lambda _: digits, cut)


@given(some.lists(torn(), max_size=30))
def test_a_torn_line_does_not_end_the_watch(lines: list[str]) -> None:
    at = watch()
    for number, line in enumerate(lines):
        at.line(line, float(number))
        at.fault(float(number))
        assert 0.0 <= at.done_share() <= 1.0


@pytest.mark.parametrize(
    "line",
    [
        "debconf: --> ",
        "debconf: --> PROGRESS START 0",
        "debconf: --> PROGRESS START 0 1000debconf:",
        "debconf: --> PROGRESS SET \u00b2",
        "hostwright: alive 1.2.3 4.5",
        f"hostwright: share 1 {'9' * 5000}",
    ],
)
def test_a_torn_line_is_passed_over(line: str) -> None:
    at = watch()
    at.line(line, 1.0)
    assert (at.done_share(), at.fault(2.0)) == (0.0, None)


def test_a_torn_question_is_none() -> None:
    at = watch()
    for line in ("--> INPUT high", "<-- 0 question will be asked", "--> GO"):
        at.line(f"debconf: {line}", 1.0)
    assert at.fault(LIMITS.question + 1.0) is None
