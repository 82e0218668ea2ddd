"""What `./doit groups` says of a captured machine: table, labels, advice, the smallest override."""

import json
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.pci import advice, capture, groups, hierarchy, iommu, registers, view
from hostwright.pci.function import Kind
from hostwright.pci.groups import Label, Report
from hostwright.pci.hierarchy import Hierarchy
from hostwright.pci.inventory import Capture, PciFunction
from hostwright.pci.isolation import Setting
from tests.fakes.computer import device_entry, ivhd, ivrs

GOLDEN = paths.GOLDEN / "groups" / "t1-to-t10.tar.xz"
DISPLAYS = ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:06:00.0", "0000:0d:00.0")


@pytest.fixture(scope="module")
def machine() -> Hierarchy:
    """T1 to T10, booted and captured."""
    return hierarchy.describe(capture.load(GOLDEN))


def function(
    address: str,
    kind: Kind,
    parent: str = "",
    *,
    id: str = "10de:1e37",
    acs: int | None = None,
    secondary: int = 0,
) -> PciFunction:
    config = registers.make(kind, secondary or None, None if acs is None else (acs, 0))
    code = 0x060400 if secondary else 0x030000
    return PciFunction(address, id, code, config=config, is_whole=True, parent=parent, group=None)


def made(*functions: PciFunction, **more: object) -> Hierarchy:
    return hierarchy.describe(replace(Capture("made", functions), **more))  # type: ignore[arg-type]


PORT = function("0000:00:01.0", Kind.ROOT_PORT, id="8086:2f08", secondary=1)
GOOD_PORT = function("0000:00:02.0", Kind.ROOT_PORT, id="8086:2f0a", acs=0x1D, secondary=2)
CARD, SOUND = (
    function("0000:01:00.0", Kind.ENDPOINT, PORT.address),
    function("0000:01:00.1", Kind.ENDPOINT, PORT.address),
)
SWITCH = (
    PORT,
    function("0000:01:00.0", Kind.UPSTREAM, PORT.address, id="10b5:8747", secondary=2),
    function("0000:02:08.0", Kind.DOWNSTREAM, "0000:01:00.0", id="10b5:8747", secondary=3),
    function("0000:02:10.0", Kind.DOWNSTREAM, "0000:01:00.0", id="10b5:8747", secondary=4),
    function("0000:03:00.0", Kind.ENDPOINT, "0000:02:08.0"),
    function("0000:04:00.0", Kind.ENDPOINT, "0000:02:10.0"),
)


# Against the kernel.


def test_now_is_as_predicted(machine: Hierarchy) -> None:
    """The very numbers: the kernel counts groups as it finds devices."""
    report = groups.examine(machine)
    none = report.columns[0]
    assert {one.address: one.group for one in machine.capture.functions} == {
        address: str(number) for address, number in none.numbers.items()
    }
    assert report.differs == ()


def test_groups_that_the_rules_do_not_explain_are_told(machine: Hierarchy) -> None:
    functions = [replace(one, group="3") if one.group == "4" else one for one in machine.capture.functions]
    other = hierarchy.describe(replace(machine.capture, functions=tuple(functions)))
    (said,) = groups.examine(other).differs
    assert said.startswith("group 3 is 0000:00:03.0 0000:00:03.1 0000:00:04.0")


def test_words_of_the_running_kernel_are_counted_in(machine: Hierarchy) -> None:
    cmdline = "ro pcie_acs_override=downstream,multifunction pci=noaer,disable_acs_redir=pci:1b36:c"
    assert groups.current_words(cmdline) == ("downstream", "multifunction")
    assert groups.current_setting(cmdline, "6.1") == Setting("6.1", "", "pci:1b36:c")
    report = groups.examine(hierarchy.describe(replace(machine.capture, cmdline=cmdline)))
    assert report.differs != ()


@pytest.mark.parametrize(
    ("release", "series"),
    [("6.1.0-47-amd64", "6.1"), ("6.12.107-hostwright", "6.12"), ("6.6.1", "6.1"), ("7.2.8", "7.2"), ("8.0-rc1", "7.2"),
     ("5.10.0", "6.1"), ("", "6.1"), ("6.11", "6.1"), ("weird", "6.1")],
)  # fmt: skip
def test_series(release: str, series: str) -> None:
    assert hierarchy.find_series(release) == series


# Labels.


def test_labels(machine: Hierarchy) -> None:
    none, downstream, multifunction, _ = groups.examine(machine).columns
    assert none.labels["0000:01:00.0"] is Label.HARDWARE
    # The port isolates nothing, and other ports are beside it.
    assert none.labels["0000:02:00.0"] is Label.ASSUMED
    assert downstream.labels["0000:02:00.0"] is Label.OVERRIDE
    # A switch without ACS whose ports are in slots of their own.
    assert none.labels["0000:09:00.0"] is Label.ASSUMED
    assert multifunction.labels["0000:05:00.1"] is Label.OVERRIDE
    assert multifunction.labels["0000:01:00.0"] is Label.HARDWARE


def test_quirk_label() -> None:
    port = function("0000:00:1c.0", Kind.ROOT_PORT, id="8086:a110", secondary=1, acs=0x1D)
    nic = [function(f"0000:01:00.{n}", Kind.ENDPOINT, port.address, id="8086:10c9") for n in (0, 1)]
    labels = groups.examine(made(port, *nic)).columns[0].labels
    assert labels["0000:01:00.0"] is Label.QUIRK


# From a capture to the rules.


def test_virtual_functions_are_single() -> None:
    physical = function("0000:01:00.0", Kind.ENDPOINT, PORT.address)
    virtual = replace(function("0000:01:00.1", Kind.ENDPOINT, PORT.address), physical=physical.address)
    blind = replace(
        function("0000:01:00.2", Kind.ENDPOINT, PORT.address), config=b"\xff" * 4 + CARD.config[4:]
    )
    found = {one.address: one.multifunction for one in made(PORT, physical, virtual, blind).functions}
    assert found == {
        PORT.address: False,
        physical.address: False,
        virtual.address: False,
        blind.address: False,
    }


def test_ports_of_impossible_types_are_corrected() -> None:
    """drivers/pci/probe.c, set_pcie_port_type()."""
    upper = function("0000:01:00.0", Kind.DOWNSTREAM, PORT.address, secondary=2)
    lower = function("0000:02:00.0", Kind.UPSTREAM, upper.address, secondary=3)
    kinds = [one.kind for one in made(PORT, upper, lower).functions]
    assert kinds == [Kind.ROOT_PORT, Kind.UPSTREAM, Kind.DOWNSTREAM]


def test_devices_without_an_iommu_stay_without() -> None:
    inside, outside = replace(PORT, group="0"), replace(GOOD_PORT, group=None)
    found = {one.address: one.has_iommu for one in made(inside, outside).functions}
    assert found == {PORT.address: True, GOOD_PORT.address: False}
    assert all(one.has_iommu for one in made(PORT, GOOD_PORT).functions)


def test_firmwares_acs_is_known_only_while_no_kernel_has_set_it() -> None:
    off, on = made(GOOD_PORT), made(replace(GOOD_PORT, group="0"))
    assert [one.acs and one.acs.firmware for one in (*off.functions, *on.functions)] == [0, None]


# DMA aliases of AMD's firmware.

RANGE, RANGE_END, ALIAS, ALIAS_RANGE = 0x03, 0x04, 0x42, 0x43
IVRS = {
    "one": (ivhd(device_entry(ALIAS, 0x0101, 0x0100)), {"0000:01:00.1": 0}),
    "a range": (
        ivhd(device_entry(ALIAS_RANGE, 0x0001, 0x0100), device_entry(RANGE_END, 0x01FF)),
        {"0000:01:00.1": 0},
    ),
    "the later one": (
        ivhd(device_entry(ALIAS, 0x0101, 0x0107), device_entry(ALIAS, 0x0101, 0x0100)),
        {"0000:01:00.1": 0},
    ),
    "after what has another length": (
        ivhd(
            device_entry(0x48, 0, 0xA0),
            bytes((0xF0, *bytes(20), 3, *b"uid")),
            device_entry(ALIAS, 0x0101, 0x0100),
            kind=0x40,
        ),
        {"0000:01:00.1": 0},
    ),
    "itself": (ivhd(device_entry(ALIAS, 0x0101, 0x0101)), {}),
    "on another bus": (ivhd(device_entry(ALIAS, 0x0101, 0x0200)), {}),
    "in another segment": (ivhd(device_entry(ALIAS, 0x0101, 0x0100), segment=1), {}),
    "a plain range after one with an alias": (
        ivhd(
            device_entry(ALIAS_RANGE, 0x0001, 0x0100), device_entry(RANGE, 1), device_entry(RANGE_END, 0x01FF)
        ),
        {},
    ),
    "of the older of two blocks for an IOMMU": (
        ivhd(device_entry(ALIAS, 0x0101, 0x0100)) + ivhd(device_entry(0x01, 0), kind=0x11),
        {},
    ),
    "of the newer of two blocks for an IOMMU": (
        ivhd(device_entry(0x01, 0)) + ivhd(device_entry(ALIAS, 0x0101, 0x0100), kind=0x11),
        {"0000:01:00.1": 0},
    ),
    "of a second IOMMU": (
        ivhd(device_entry(0x01, 0)) + ivhd(device_entry(ALIAS, 0x0101, 0x0100), iommu=0x4002),
        {"0000:01:00.1": 0},
    ),
    "of the type that the first IOMMU has": (
        ivhd(device_entry(ALIAS, 0x0101, 0x0100)) + ivhd(device_entry(0x01, 0), kind=0x11, iommu=0x4002),
        {"0000:01:00.1": 0},
    ),
    "an entry that is cut off": (ivhd(device_entry(ALIAS, 0x0101, 0x0100)[:-1]), {}),
    "an entry of an unknown length": (ivhd(device_entry(0x80, 0), device_entry(ALIAS, 0x0101, 0x0100)), {}),
}
# Isolated from each other but for the alias.
APART = (
    GOOD_PORT,
    function("0000:02:00.0", Kind.ENDPOINT, GOOD_PORT.address, acs=0x1D),
    function("0000:02:00.1", Kind.ENDPOINT, GOOD_PORT.address, acs=0x1D),
    function("0000:02:01.0", Kind.ENDPOINT, GOOD_PORT.address, acs=0x1D),
)


@pytest.mark.parametrize(("blocks", "aliases"), IVRS.values(), ids=IVRS)
def test_aliases_are_read_as_the_kernel_does(blocks: bytes, aliases: dict[str, int]) -> None:
    """drivers/iommu/amd/init.c, init_iommu_from_acpi(); iommu.c, setup_aliases()."""
    found = made(PORT, CARD, SOUND, tables={"IVRS": ivrs(blocks)})
    assert {one.address: one.alias for one in found.functions if one.alias is not None} == aliases
    assert found.notes == ()


@pytest.mark.parametrize(
    ("source", "target", "together"),
    [
        (0x0201, 0x0200, "00.0 00.1"),
        (0x0200, 0x0201, "00.0 00.1"),
        (0x0208, 0x0201, "00.1 01.0"),
        (0x0208, 0x0205, ""),
    ],
)
def test_an_alias_joins_two_groups_whatever_isolates(source: int, target: int, together: str) -> None:
    table = ivrs(ivhd(device_entry(ALIAS, source, target)))
    now, *_, both = groups.examine(made(*APART, tables={"IVRS": table})).columns
    shared = [sorted(one) for one in now.prediction.groups if len(one) > 1]
    assert shared == ([[f"0000:02:{name}" for name in together.split()]] if together else [])
    assert both.prediction.groups == now.prediction.groups


@pytest.mark.parametrize(("tables", "state"), [({}, "not known"), ({"IVRS": ivrs()[:-1]}, "cut off")])
def test_a_table_that_is_not_all_there_is_noted(tables: dict[str, bytes], state: str) -> None:
    (note,) = made(PORT, tables=tables, classes={"iommu": {"ivhd0": "../../x"}}).notes
    assert note.startswith(f"the table IVRS is {state}")


def test_unknown_bridge_is_an_obstacle() -> None:
    machine = made(replace(CARD, parent=None))
    assert machine.obstacles == ("0000:01:00.0: the bridge that it is behind is not known",)
    assert "no prediction is made" in view.render_text(groups.examine(machine))


def test_chipset_register_that_no_capture_has_is_noted() -> None:
    port = function("0000:00:1c.0", Kind.ROOT_PORT, id="8086:1c10", secondary=1)
    assert "taken as so" in made(port).notes[0]
    lpc = function("0000:00:1f.0", Kind.CONVENTIONAL)
    real = replace(lpc, config=b"\x86\x80" + bytes(0xEE) + b"\1\0\0\0" + bytes(12))
    assert made(port, real).notes == ()
    assert made(port, real).platform.has_rcba is True
    # What was made from lspci's text has a zero there, which says nothing.
    assert made(port, lpc).platform.has_rcba is None
    assert "taken as so" in made(port, lpc).notes[0]


# Advice.


def advice_for(machine: Hierarchy, device: str) -> advice.Advice:
    found = groups.examine(machine, device=device).advice
    assert found
    return found


def test_functions_of_one_card_are_no_companions() -> None:
    assert advice_for(made(PORT, CARD, SOUND), CARD.address).is_free


def test_the_root_ports_id_frees_what_shares_a_switch() -> None:
    """The kernel asks nothing of a switch's ports in slots of their own (T6)."""
    found = advice_for(made(*SWITCH), "0000:03:00.0")
    assert (found.companions, found.smallest, found.spared) == (("0000:04:00.0",), ("id:8086:2f08",), ())
    assert [one.kind for one in found.remedies] == [
        "firmware",
        "id",
        "downstream",
        "multifunction",
        "multifunction",
    ]
    assert [one.does for one in found.remedies] == [None, True, True, False, True]


def test_ports_of_one_slot_must_be_named_too() -> None:
    slot = {"0000:02:10.0": "0000:02:08.1"}
    switch = [replace(one, address=slot.get(one.address, one.address), parent=slot.get(one.parent or "", one.parent))
              for one in SWITCH]  # fmt: skip
    found = advice_for(made(*switch), "0000:03:00.0")
    assert found.smallest == ("id:10b5:8747", "id:8086:2f08")
    assert found.spared == ("0000:02:08.1",)


def test_a_free_slot_comes_first() -> None:
    found = advice_for(made(*SWITCH, replace(GOOD_PORT, address="0000:00:05.0")), "0000:03:00.0")
    assert found.remedies[0].kind == "other slot"
    assert "0000:00:05.0" in found.remedies[0].text


def test_an_occupied_or_unisolated_slot_is_no_remedy() -> None:
    machine = made(*SWITCH, GOOD_PORT, function("0000:05:00.0", Kind.ENDPOINT, GOOD_PORT.address),
                   replace(PORT, address="0000:00:06.0"))  # fmt: skip
    assert advice_for(machine, "0000:03:00.0").remedies[0].kind == "firmware"


def test_what_was_switched_off_is_switched_on_before_anything_is_overridden() -> None:
    ports = [function(f"0000:00:03.{n}", Kind.ROOT_PORT, secondary=n + 1, acs=0x1D) for n in (0, 1)]
    ends = [function(f"0000:0{n + 1}:00.0", Kind.ENDPOINT, ports[n].address) for n in (0, 1)]
    machine = made(*ports, *ends)
    off = Setting(disable_acs_redir="pci:0:0")
    found = groups.examine(machine, setting=off, device=ends[0].address).advice
    assert found
    kinds = {one.kind: one for one in found.remedies}
    assert kinds["config_acs"].does is True
    assert "xx111x1@0000:00:03" in kinds["config_acs"].text
    # Capable devices are never overridden.
    assert found.smallest is None
    assert "no override frees it" in view.render_text(
        groups.examine(machine, setting=off, device=ends[0].address)
    )


def test_conventional_neighbours_cannot_be_parted() -> None:
    bridge = function("0000:01:00.0", Kind.PCI_BRIDGE, PORT.address, secondary=2)
    pair = [function(f"0000:02:0{n}.0", Kind.CONVENTIONAL, bridge.address) for n in (1, 2)]
    assert advice_for(made(PORT, bridge, *pair), pair[0].address).smallest is None


def test_amd_boards_have_a_setting_for_it() -> None:
    ports = [function(f"0000:00:03.{n}", Kind.ROOT_PORT, secondary=n, id="1022:1483") for n in (1, 2)]
    ends = [function(f"0000:0{n}:00.0", Kind.ENDPOINT, ports[n - 1].address) for n in (1, 2)]
    texts = [one.text for one in advice_for(made(*ports, *ends), ends[0].address).remedies]
    assert any("ACS Enable" in text for text in texts)


@pytest.mark.parametrize("device", DISPLAYS)
def test_smallest_override_frees_and_nothing_can_be_left_out(machine: Hierarchy, device: str) -> None:
    setting = Setting(platform=machine.platform)
    words = advice.find_smallest(machine, device, setting)
    assert words is not None
    assert advice.is_freed(machine, device, words, setting)
    for word in words:
        assert not advice.is_freed(machine, device, [one for one in words if one != word], setting)


def test_wrong_device() -> None:
    with pytest.raises(UserError, match=r"no device 0000:09:00\.0") as caught:
        groups.examine(made(PORT, CARD), device="0000:09:00.0")
    assert "did you mean 0000:01:00.0?" in caught.value.hint or "addresses are like" in caught.value.hint


def test_words_without_effect_are_named(machine: Hierarchy) -> None:
    report = groups.examine(machine, ("downstrem", "id:1b36:000c"))
    assert report.columns[-1].name == "downstrem,id:1b36:000c"
    assert any("downstrem is without effect" in note for note in report.notes)


# What it looks like.


@pytest.fixture(scope="module")
def report(machine: Hierarchy) -> Report:
    return groups.examine(machine, ("id:8086:3420",), device="0000:03:00.0")


def test_text(report: Report) -> None:
    text = view.render_text(report)
    lines = text.splitlines()
    row = next(line for line in lines if line.startswith("0000:11:00.1"))
    assert row.split() == ["0000:11:00.1", "1b36:0010", "NVMe", "-", "9", "9?", "30!", "9?", "33!", "20!"]
    assert "│  └─ 0000:01:00.0 display: group 12, hardware" in lines
    assert "0000:03:00.0 would take along: 0000:04:00.0" in lines
    assert "the smallest override that frees it: pcie_acs_override=id:1b36:000c" in lines


def test_json(report: Report) -> None:
    document = json.loads(view.render_json(report))
    device = next(one for one in document["devices"] if one["address"] == "0000:02:00.0")
    assert device["group"] == "2"
    assert device["predicted"]["downstream"] == {
        "group": 14,
        "isolation": "override (unsafe)",
        "reason": "a single function has no peers behind it",
    }
    assert document["advice"]["smallest"] == ["id:1b36:000c"]


def test_drawing(report: Report) -> None:
    drawing = ElementTree.fromstring(view.render_svg(report))
    space = "{http://www.w3.org/2000/svg}"
    texts = ["".join(one.itertext()) for one in drawing.iter(f"{space}text")]
    assert len(list(drawing.iter(f"{space}rect"))) == len(report.machine.functions)
    assert any(text.startswith("0000:0d:00.0 [1234:1111] display, group") for text in texts)


def test_a_machine_without_a_prediction_can_be_shown() -> None:
    report = groups.examine(made(replace(PORT, config=b"")))
    assert report.columns == ()
    assert "0000:00:01.0" in view.render_text(report)
    assert "0000:00:01.0" in view.render_svg(report)
    assert json.loads(view.render_json(report))["obstacles"] != []


@given(
    st.lists(
        st.sampled_from(["downstream", "multifunction", "id:1b36:000c", "id:8086:3420", "x"]), max_size=3
    )
)
@settings(deadline=None)
def test_columns_for_any_words(words: list[str]) -> None:
    machine = made(PORT, CARD, SOUND, GOOD_PORT)
    for column in groups.examine(machine, words).columns:
        assert column.numbers.keys() == column.labels.keys() == {one.address for one in machine.functions}
        assert column.prediction.groups == iommu.predict(machine.functions, column.words).groups


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1), min_size=1, max_size=4))
def test_words_that_can_be_spared_are_found_as_one_by_one(needs: list[set[str]]) -> None:
    """`needs`: sets of words, any of which frees the device."""

    def is_free(words: Sequence[str]) -> bool:
        return any(need <= set(words) for need in needs)

    words = list("abcdefgh")
    left = list(words)
    for word in words:
        fewer = [one for one in left if one != word]
        if is_free(fewer):
            left = fewer
    assert advice._shorten(words, is_free) == tuple(left)
