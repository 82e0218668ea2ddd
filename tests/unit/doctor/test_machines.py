"""Real machines: the groups that their kernels made are those predicted, and the verdicts are a person's."""

import re
import time
from dataclasses import replace

import pytest

from hostwright.base import paths
from hostwright.doctor import case as doctor
from hostwright.doctor import diagnose, regions
from hostwright.doctor.case import Answer, Diagnosis
from hostwright.pci import capture, groups, hierarchy
from hostwright.pci.inventory import Capture
from hostwright.pci.isolation import Setting
from tests.fakes import machines
from tests.fakes.machines import Expectation, RealMachine

NAMES = machines.find_names()
MACHINES = {name: machines.load(name) for name in NAMES}
EXPECTED = [(name, one) for name, machine in MACHINES.items() for one in machine.expected]


@pytest.fixture(scope="session")
def captures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Capture]:
    """Each machine through the whole way: a tar is written, and read as any capture."""
    folder = tmp_path_factory.mktemp("machines")
    return {
        name: capture.load(machines.write(machine, folder / f"{name}.tar"))
        for name, machine in MACHINES.items()
    }


def find_seen(machine: RealMachine) -> frozenset[frozenset[str]]:
    """The groups that the machine's own kernel made."""
    groups_of: dict[str, set[str]] = {}
    for row in machine.rows:
        if "group" in row.values:
            groups_of.setdefault(row.values["group"], set()).add(row.address)
    return frozenset(map(frozenset, groups_of.values()))


def test_there_are_at_least_twenty() -> None:
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_capture_says_what_the_source_showed(captures: dict[str, Capture], name: str) -> None:
    found = captures[name]
    wanted = {row.address: row for row in MACHINES[name].rows}
    assert found.by_address.keys() == wanted.keys()
    for address, row in wanted.items():
        one = found.by_address[address]
        assert (one.id, f"{one.class_code:06x}") == (row.id, row.class_code)
        assert (one.group, one.driver) == (row.values.get("group"), row.values.get("driver", ""))
        assert bool(one.config) == (row.kind is not None or "hidden" in row.flags)
    assert found.cmdline == MACHINES[name].facts.get("cmdline", "")


SHOWN = [
    name
    for name, machine in MACHINES.items()
    if find_seen(machine) and all(row.kind is not None for row in machine.rows)
]


@pytest.mark.parametrize("name", SHOWN)
def test_prediction_is_what_the_kernel_made(captures: dict[str, Capture], name: str) -> None:
    report = groups.examine(hierarchy.describe(captures[name]))
    assert report.columns[0].prediction.groups == find_seen(MACHINES[name])
    assert report.differs == ()


def test_most_are_compared() -> None:
    """Seven machines show both their registers and their groups."""
    assert len(SHOWN) >= 7


# Verdicts.


def examine(machine: Capture, device: str) -> Diagnosis:
    series = hierarchy.find_series(machine.release)
    return diagnose.examine(machine, groups.current_setting(machine.cmdline, series), device)


@pytest.mark.parametrize(
    ("name", "expected"), EXPECTED, ids=[f"{name}-{one.device}" for name, one in EXPECTED]
)
def test_verdict_is_a_persons(captures: dict[str, Capture], name: str, expected: Expectation) -> None:
    found = examine(captures[name], expected.device)
    assert found.chosen
    rules = {one.rule for one in (*found.chosen.findings, *found.case.findings)}
    assert found.chosen.answer.value == expected.verdict, rules
    assert set(expected.reasons) <= rules
    assert not set(expected.without) & rules


def test_every_machine_teaches_something() -> None:
    assert all(machine.expected and machine.teaches and machine.origin for machine in MACHINES.values())
    assert {one.verdict for _, one in EXPECTED} == {answer.value for answer in doctor.Answer}


def test_page_lists_every_machine() -> None:
    page = (paths.TREE / "docs/machines.md").read_text()
    assert all(f"`{name}`" in page and machine.title in page for name, machine in MACHINES.items())


def test_no_serial_number_and_no_address_of_a_card() -> None:
    """Facts, not what tells one machine of a model from another."""
    for name in NAMES:
        text = (machines.FOLDER / f"{name}.toml").read_text()
        assert not re.search(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b(?!\.)", text), name
        assert not re.search(r"[Ss]erial|UUID|uuid=", text), name


# The nine RMRRs of the DL380e.


def test_regions_of_a_real_table_reach_the_devices_behind_bridges(captures: dict[str, Capture]) -> None:
    machine = captures["hp-dl380e-gen8"]
    case = doctor.open_case(machine, Setting())
    lengths = {
        address: len(regions.find_regions(case, machine.by_address[address]))
        for address in machine.by_address
    }
    assert lengths["0000:02:00.0"] == lengths["0000:02:00.3"] == 7
    assert lengths["0000:01:00.0"] == 8
    assert lengths["0000:01:00.4"] == lengths["0000:00:1d.0"] == 1
    assert lengths["0000:01:00.1"] == lengths["0000:00:1f.0"] == 0


def test_a_region_bars_the_group_without_drivers_too(captures: dict[str, Capture]) -> None:
    """The kernel asks the region of every member of a group, whoever has it."""
    machine = captures["hp-dl380e-gen8"]
    functions = (replace(one, driver="") if one.bus == "0000:01" else one for one in machine.functions)
    found = examine(replace(machine, functions=tuple(functions)), "0000:01:00.1")
    assert found.chosen
    assert found.chosen.answer is Answer.OVERRIDE
    (said,) = (one.text for one in found.chosen.findings if one.rule == "group-override")
    assert "0000:01:00.0" in said


def test_doctor_is_quick_on_the_largest(captures: dict[str, Capture]) -> None:
    largest = max(captures.values(), key=lambda one: len(one.functions))
    begin = time.process_time()
    examine(largest, "")
    assert time.process_time() - begin < 0.5
