"""Every fault of an install is told apart, in time: real installs on the real medium with something wrong."""

from dataclasses import replace

from hostwright.machine.model import Guest
from tests.install.runs import LAB, TOLD_LIMIT_S, Start


def changed(**changes: object) -> Guest:
    """The lab's guest with other answers."""
    guest = LAB.guests[0]
    return replace(guest, install=replace(guest.install, **changes))  # type: ignore[arg-type]


def test_a_wrong_answer_is_told_by_its_error_screen(start: Start) -> None:
    run = start(changed(preseed=("d-i passwd/username string root",)))
    run.reach("user-setup-udeb")
    fault, seconds = run.fault()
    assert "shows an error, passwd/username-reserved: Reserved username" in fault.what
    assert seconds < TOLD_LIMIT_S


def test_a_question_without_an_answer_is_named(start: Start) -> None:
    run = start(changed(preseed=("d-i partman/choose_partition seen false",)))
    run.reach("partman-base")
    fault, seconds = run.fault()
    assert "asks partman/choose_partition" in fault.what
    assert seconds < TOLD_LIMIT_S
    assert "guest.install.preseed" in fault.hint


def test_a_disk_that_is_too_small_is_told(start: Start) -> None:
    run = start(replace(LAB.guests[0], disk_gib=1))
    run.reach("partman-base")
    fault, seconds = run.fault()
    assert "partman" in fault.what
    assert seconds < TOLD_LIMIT_S


def test_a_killed_qemu_is_told(start: Start) -> None:
    run = start(LAB.guests[0])
    run.reach("ethdetect")
    run.session.child.kill()
    fault, seconds = run.fault()
    assert "QEMU ended with status -9" in fault.what
    assert seconds < 10
