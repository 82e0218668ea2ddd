"""The results of kernel-hardening-checker against the decisions."""

import json

from hostwright.source.pins import read_lock
from hostwright.upkeep import hardening
from hostwright.upkeep.hardening import Check

MET = Check("KFENCE", "y", "", True)
UNMET = Check("MODULES", "is not set", '"y"', False)


def test_the_checkers_json_is_read() -> None:
    found = [
        {"option_name": "CONFIG_KFENCE", "desired_val": "y", "check_result": "OK", "check_result_bool": True},
        {
            "option_name": "CONFIG_MODULES",
            "desired_val": "is not set",
            "check_result": 'FAIL: "y"',
            "check_result_bool": False,
        },
    ]
    assert hardening.parse(json.dumps(found).encode()) == [MET, UNMET]


def test_a_failure_without_a_reason_is_a_fault() -> None:
    assert hardening.faults([MET, UNMET], {}) == [
        'MODULES: kernel-hardening-checker wants is not set, found "y"; no reason is given'
    ]


def test_a_reason_without_a_failure_is_a_fault() -> None:
    assert hardening.faults([MET], {"KFENCE": "slow"}) == [
        "KFENCE: refused, but kernel-hardening-checker does not miss it"
    ]


def test_the_table_lists_each_refusal() -> None:
    text = hardening.render([MET, UNMET], {"MODULES": "drivers load where their device is"})
    assert "1 OK, 1 FAIL" in text
    assert "| `MODULES` | is not set | drivers load where their device is |" in text


def test_every_auditor_is_pinned() -> None:
    assert hardening.CHECKER in {pin.name for pin in read_lock(hardening.LOCK)}
