"""The plan of power cuts, and the judge of the host that starts after one."""

import pytest

from hostwright.updates import cuts
from hostwright.vm.board import Firmware

GOOD = """green
slot b runs: version 1.2.3, build 0123456789abcdef
slot a: version 1.2.3, build 0123456789abcdef
slot b starts
changed /etc/hostwright/update_signers
changed /root/.ssh/authorized_keys
data whole
"""


def test_a_seed_has_its_cuts_and_both_kinds_of_firmware() -> None:
    planned = cuts.plan(7, 40)
    assert planned == cuts.plan(7, 40) != cuts.plan(8, 40)
    assert {one.firmware for one in planned} == {Firmware.UEFI, Firmware.BIOS}
    assert all(0 <= one.moment < 1 for one in planned)
    assert len({one.moment for one in planned}) == 40


def test_a_whole_host_is_green() -> None:
    row = cuts.judge("cut-0", Firmware.UEFI, 12.34, GOOD)
    assert (row.ok, row.evidence) == (
        True,
        "after 12.3 s: slot b runs: version 1.2.3, build 0123456789abcdef",
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("green\n", "red\n"),
        ("slot b starts", "slot a starts"),
        ("data whole\n", ""),
        ("changed /root/.ssh/authorized_keys\n", ""),
        ("changed /root/.ssh/authorized_keys\n", "changed /root/.ssh/authorized_keys\nremoved /bin/sh\n"),
        (GOOD, ""),
    ],
)
def test_whatever_is_missing_or_damaged_is_red(old: str, new: str) -> None:
    assert old in GOOD
    row = cuts.judge("cut-0", Firmware.BIOS, 1.0, GOOD.replace(old, new))
    assert (row.ok, row.boot) == (False, "cut-0 (bios)")
