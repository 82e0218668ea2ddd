"""QEMU's reports about the guest's disk, and the meaning of its silence."""

import pytest

from hostwright.base.errors import UserError
from hostwright.guest.install import MOST_MISSES, find_disk_fault, is_frozen
from hostwright.vm.monitor import Event


def test_a_disk_that_cannot_grow_is_told() -> None:
    events = (
        Event("RTC_CHANGE", {}, 1.0),
        Event("BLOCK_IO_ERROR", {"reason": "No space left on device"}, 2.0),
    )
    fault = find_disk_fault(events)
    assert fault is not None
    assert "No space left on device" in fault.what
    assert find_disk_fault(events[:1]) is None


class Monitor:
    """QEMU's monitor, which answers or stays silent."""

    def __init__(self, answers: bool) -> None:
        self.answers = answers

    def execute(self, _command: str) -> object:
        if not self.answers:
            raise UserError("no answer")
        return {}


@pytest.mark.parametrize(
    ("misses", "answers", "frozen"),
    [(1, False, False), (MOST_MISSES, True, False), (MOST_MISSES, False, True)],
)
def test_a_display_is_frozen_when_the_monitor_is_silent_too(misses: int, answers: bool, frozen: bool) -> None:
    assert is_frozen(misses, Monitor(answers)) is frozen
