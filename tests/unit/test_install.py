"""What QEMU tells of the guest's disk."""

from hostwright.install import find_disk_fault
from hostwright.qmp import Event


def test_a_disk_that_cannot_grow_is_told() -> None:
    events = (
        Event("RTC_CHANGE", {}, 1.0),
        Event("BLOCK_IO_ERROR", {"reason": "No space left on device"}, 2.0),
    )
    fault = find_disk_fault(events)
    assert fault is not None
    assert "No space left on device" in fault.what
    assert find_disk_fault(events[:1]) is None
