"""Groups as the kernel makes them: every rule on a small topology, and what must hold for all topologies."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostwright.base.errors import UserError
from hostwright.pci import quirks
from hostwright.pci.function import FULL_ACS, ROOT, Acs, Function, Kind
from hostwright.pci.iommu import predict, predict_in_order
from hostwright.pci.isolation import (
    SERIES,
    Isolation,
    Override,
    Setting,
    find_control,
    find_obstacle,
    find_override,
    judge,
    matches_device,
    parse_override,
)
from hostwright.pci.quirks import Platform
from hostwright.proof import generate, topologies

# Topologies, as booted on 6.12; tests/boot has the proof.


def port(address: str, *, acs: bool = False, multifunction: bool = False) -> Function:
    return Function(
        address, "1b36:000c", Kind.ROOT_PORT, acs=FULL_ACS if acs else None, multifunction=multifunction
    )


def end(address: str, behind: str, *, multifunction: bool = False, kind: Kind = Kind.ENDPOINT) -> Function:
    return Function(address, "8086:10d3", kind, behind, multifunction=multifunction)


T1 = (port("00:01.0", acs=True), end("01:00.0", "00:01.0"))
T2 = (port("00:01.0"), end("01:00.0", "00:01.0"))
T3 = (
    port("00:01.0", multifunction=True), port("00:01.1", multifunction=True),
    end("01:00.0", "00:01.0"), end("02:00.0", "00:01.1"),
)  # fmt: skip
T4 = (
    port("00:01.0", acs=True),
    end("01:00.0", "00:01.0", multifunction=True), end("01:00.1", "00:01.0", multifunction=True),
)  # fmt: skip
UNEQUAL = (
    port("00:01.0", acs=True),
    Function("01:00.0", "1234:1111", Kind.ENDPOINT, "00:01.0", multifunction=True),
    T4[2],
)
T5 = (port("00:01.0"), *T4[1:])
T7 = (
    port("00:01.0", acs=True),
    Function("01:00.0", "104c:8232", Kind.UPSTREAM, "00:01.0"),
    *(Function(f"02:00.{n}", "104c:8233", Kind.DOWNSTREAM, "01:00.0", multifunction=True) for n in (0, 1)),
    end("03:00.0", "02:00.0"), end("04:00.0", "02:00.1"),
)  # fmt: skip
T8 = (
    port("00:01.0", acs=True),
    Function("01:00.0", "1b36:000e", Kind.PCI_BRIDGE, "00:01.0"),
    end("02:01.0", "01:00.0", kind=Kind.CONVENTIONAL), end("02:02.0", "01:00.0", kind=Kind.CONVENTIONAL),
)  # fmt: skip

D, M, BOTH = ("downstream",), ("multifunction",), ("downstream", "multifunction")


@pytest.mark.parametrize(
    ("topology", "words", "groups"),
    [
        (T1, (), "00:01.0|01:00.0"),
        (T1, BOTH, "00:01.0|01:00.0"),
        (T2, (), "00:01.0 01:00.0"),
        (T2, D, "00:01.0|01:00.0"),
        (T2, M, "00:01.0 01:00.0"),
        (T3, (), "00:01.0 00:01.1 01:00.0 02:00.0"),
        (T3, D, "00:01.0|00:01.1|01:00.0|02:00.0"),
        (T3, M, "00:01.0 00:01.1 01:00.0 02:00.0"),
        (T4, (), "00:01.0|01:00.0 01:00.1"),
        (T4, D, "00:01.0|01:00.0 01:00.1"),
        (T4, M, "00:01.0|01:00.0|01:00.1"),
        (T5, (), "00:01.0 01:00.0 01:00.1"),
        (T5, D, "00:01.0|01:00.0 01:00.1"),
        (T5, M, "00:01.0 01:00.0 01:00.1"),
        (T5, BOTH, "00:01.0|01:00.0|01:00.1"),
        (T5, ("id:1b36:000c",), "00:01.0|01:00.0 01:00.1"),
        (T5, ("id:8086:10d3",), "00:01.0 01:00.0 01:00.1"),
        (UNEQUAL, ("id:1234:1111",), "00:01.0|01:00.0|01:00.1"),
        (T7, (), "00:01.0|01:00.0|02:00.0 02:00.1 03:00.0 04:00.0"),
        (T7, D, "00:01.0|01:00.0|02:00.0|02:00.1|03:00.0|04:00.0"),
        (T8, (), "00:01.0|01:00.0 02:01.0 02:02.0"),
        (T8, BOTH, "00:01.0|01:00.0 02:01.0 02:02.0"),
    ],
)
def test_predicted_groups(topology: tuple[Function, ...], words: tuple[str, ...], groups: str) -> None:
    wanted = frozenset(frozenset(group.split()) for group in groups.split("|"))
    assert predict(topology, words).groups == wanted


@pytest.mark.parametrize(
    ("words", "overridden"),
    [
        ((), {}),
        (D, {"00:01.0": "downstream"}),
        # The port joins them already: nobody asks about its functions.
        (M, {}),
        (BOTH, {"00:01.0": "downstream", "01:00.0": "multifunction", "01:00.1": "multifunction"}),
        (("id:1b36:000c",), {"00:01.0": "id"}),
    ],
)
def test_who_is_said_to_be_overridden(words: tuple[str, ...], overridden: dict[str, str]) -> None:
    assert predict(T5, words).overridden == overridden


def test_capable_devices_are_never_overridden() -> None:
    assert predict(T1, (*BOTH, "id:1b36:000c")).overridden == {}


def groups_of(functions: Sequence[Function], *words: str, setting: Setting | None = None) -> str:
    found = predict(functions, words, setting or Setting()).groups
    return "|".join(sorted(" ".join(sorted(group)) for group in found))


def isolation(function: Function, setting: Setting | None = None, *words: str) -> Isolation:
    return judge(function, parse_override(words), setting or Setting()).isolation


# The words.


def test_misspelt_words_and_malformed_ids_are_without_effect() -> None:
    words = ("downstrem", "id:1b36", "id:1b36:000cc", "ids:1b36:000c", "", "id:1B36:C")
    override = parse_override(words)
    assert override == Override(ids=frozenset({"1b36:000c"}), refused=words[:4])


def test_the_65th_id_has_no_room() -> None:
    words = [f"id:1000:{number:04x}" for number in range(65)]
    override = parse_override([*words, words[0]])
    assert len(override.ids) == 64
    assert override.refused == (words[64],)


OBSTACLES = {
    "conventional": (Function("00:01.0", "1:1", Kind.CONVENTIONAL, multifunction=True), "shares its bus"),
    "capable": (port("00:01.0", acs=True), "has an ACS capability"),
    "single": (end("01:00.0", "00:01.0"), "single function"),
    "bridge": (Function("01:00.0", "1:1", Kind.PCI_BRIDGE, multifunction=True), "does not apply"),
    "collector": (Function("00:01.0", "1:1", Kind.EVENT_COLLECTOR, multifunction=True), "does not apply"),
}


@pytest.mark.parametrize(("function", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_who_cannot_be_overridden(function: Function, reason: str) -> None:
    everything = Override(downstream=True, multifunction=True, ids=frozenset({function.id}))
    assert reason in find_obstacle(function)
    assert find_override(function, everything) == ""


@pytest.mark.parametrize("kind", [Kind.LEGACY_ENDPOINT, Kind.ROOT_COMPLEX_ENDPOINT, Kind.UPSTREAM])
def test_multifunction_means_every_kind_of_function(kind: Kind) -> None:
    function = Function("00:01.0", "1:1", kind, multifunction=True)
    assert isolation(function) is Isolation.NONE
    assert isolation(function, None, "multifunction") is Isolation.OVERRIDE
    assert isolation(function, None, "downstream") is Isolation.NONE


# Control bits.


def test_capability_without_a_control_counts_as_hard_wired() -> None:
    """pci_acs_flags_enabled(): what is not in the capability is either always so or not needed."""
    assert isolation(replace(port("00:01.0"), acs=Acs(0))) is Isolation.HARDWARE


NO_REDIRECT = Setting(disable_acs_redir="00:01.0;pci:8086:1")


def test_redirects_switched_off_take_the_kernels_own_bits_along() -> None:
    """Since 6.11: all other bits go back to what firmware had set."""
    function = replace(port("0000:00:01.0"), acs=FULL_ACS)
    assert find_control(function, FULL_ACS, NO_REDIRECT) == 0
    assert find_control(function, FULL_ACS, replace(NO_REDIRECT, series="6.1")) == 0x11
    assert find_control(function, Acs(0x5F, 0x13), NO_REDIRECT) == 0x13
    assert isolation(function, NO_REDIRECT) is Isolation.NONE
    assert "ReqRedir CmpltRedir" in judge(function, Override(), NO_REDIRECT).reason


def test_an_override_does_not_undo_what_was_switched_off() -> None:
    pair = (replace(port("0000:00:01.0"), acs=FULL_ACS), end("0000:01:00.0", "0000:00:01.0"))
    assert groups_of(pair, *BOTH, "id:1b36:000c", setting=NO_REDIRECT) == "0000:00:01.0 0000:01:00.0"


@pytest.mark.parametrize(
    ("config", "control"),
    [
        ("", 0x1D),
        ("0011101@0000:00:01.0", 0x1D),
        ("xx111x1@00:01.0", 0x1D),
        # What is left alone keeps firmware's setting, here none.
        ("xxxxxx1@00:01.0", 0x01),
        ("101xxxx@pci:1b36:0", 0x50),
        ("1@pci:0:0", 0x01),
        # The first entry that fits counts.
        ("x1xxxxx@pci:1b36:c;xxxxxx1@00:01.0", 0x20),
        ("xxxxxx1@00:02.0;1xxxxxx@pci:1b36:c:1af4:1100", 0x40),
        ("1111111@01:00.0", 0x1D),
    ],
)
def test_config_acs(config: str, control: int) -> None:
    function = replace(port("0000:00:01.0"), subsystem="1af4:1100")
    assert find_control(function, FULL_ACS, Setting(config_acs=config)) == control


def test_config_acs_counts_after_disable_acs_redir() -> None:
    both = replace(NO_REDIRECT, config_acs="0011101@00:01.0")
    assert find_control(port("0000:00:01.0"), FULL_ACS, both) == 0x1D


def test_series_6_1_does_not_know_config_acs() -> None:
    setting = Setting(series="6.1", config_acs="0000000@00:01.0")
    assert find_control(port("0000:00:01.0"), FULL_ACS, setting) == 0x1D


IDT_PORT = Function("0000:00:01.0", "111d:80b5", Kind.DOWNSTREAM, acs=FULL_ACS)
NO_VALIDATION = Setting(config_acs="xx111x0@pci:111d:0;xx111x0@pci:1b36:0")


@pytest.mark.parametrize("series", ["6.12", "7.2"])
def test_series_7_2_does_without_the_source_validation_of_idts_switches(series: str) -> None:
    """What the kernel does not use counts as hard-wired, so that the bit does not matter to isolation."""
    later = series == "7.2"
    assert find_control(IDT_PORT, FULL_ACS, Setting(series)) == (0x1C if later else 0x1D)
    assert isolation(IDT_PORT, Setting(series)) is Isolation.HARDWARE
    without = replace(NO_VALIDATION, series=series)
    assert isolation(IDT_PORT, without) is (Isolation.HARDWARE if later else Isolation.NONE)
    assert isolation(replace(IDT_PORT, id="1b36:000c"), without) is Isolation.NONE


@pytest.mark.parametrize(
    "config", ["0000@", "12@00:01.0", "00:01.0", "11111111@00:01.0", "1@nonsense", "@00:01.0"]
)
def test_config_acs_that_the_kernel_cannot_read(config: str) -> None:
    with pytest.raises(UserError, match=r"FLAGS@DEVICE|names no PCI device"):
        find_control(port("0000:00:01.0"), FULL_ACS, Setting(config_acs=config))


WAY = (
    Function("0001:3a:1c.4", "8086:1", Kind.ROOT_PORT),
    Function("0001:3b:00.0", "10b5:8747", Kind.UPSTREAM, "0001:3a:1c.4"),
    Function("0001:3c:10.1", "10b5:8747", Kind.DOWNSTREAM, "0001:3b:00.0", FULL_ACS),
)
KNOWN_WAY = {one.address: one for one in WAY}


@pytest.mark.parametrize(
    ("text", "is_meant"),
    [
        ("1:3c:10.1", True),
        ("0x1:0x3C:0x10.1", True),
        ("3c:10.1", False),
        ("1:3b:00.0/10.1", True),
        ("1:3a:1c.4/0.0/10.1", True),
        ("01:3A:1C.4/00.0/10.1", True),
        # PCI_DEVFN() keeps five bits and three.
        ("1:3a:3c.c/20.8/30.9", True),
        # Of the three steps each must be right, and the bus is that of the first.
        ("1:3a:1c.5/00.0/10.1", False),
        ("1:3a:1c.4/01.0/10.1", False),
        ("1:3a:1c.4/00.0/10.0", False),
        ("1:3b:1c.4/00.0/10.1", False),
        ("3a:1c.4/00.0/10.1", False),
        ("1:3a:1c.4/10.1", False),
        # It ends above the root bus.
        ("1:39:00.0/1c.4/00.0/10.1", False),
        ("pci:10b5:8747", True),
        ("pci:0x10b5:0", True),
        ("pci:110b5:8747", True),
        ("pci:10b5:8747:0:0", True),
        ("pci:10b5:8747:10b5:0", False),
    ],
)
def test_how_a_parameter_names_a_device(text: str, is_meant: bool) -> None:
    """drivers/pci/pci.c, pci_dev_str_match()."""
    assert matches_device(WAY[-1], text, KNOWN_WAY) is is_meant


@pytest.mark.parametrize(
    "text",
    [
        "1:3a:1c.4/",
        "1:3a:1c.4//10.1",
        "1:3a:1c.4/1:00.0",
        "1:3a:1c.4/10",
        "/10.1",
        "10.1",
        "1:2:3:4.5",
        "x:1.0",
        "",
    ],
)
def test_what_names_no_device(text: str) -> None:
    with pytest.raises(UserError, match="names no PCI device"):
        matches_device(WAY[-1], text, KNOWN_WAY)


def test_a_path_decides_about_the_function_at_its_end_alone() -> None:
    ports = tuple(replace(one, acs=FULL_ACS) for one in WAY)
    way = (*ports, Function("0001:3d:00.0", "8086:10d3", Kind.ENDPOINT, ports[-1].address))
    path = Setting(config_acs="0000000@1:3a:1c.4/00.0/10.1")
    found = predict(way, (), path).judgements
    assert [one for one in found if not found[one].isolates] == [ports[-1].address]
    assert predict(way, (), path).groups == predict(way, (), Setting(config_acs="0000000@1:3c:10.1")).groups
    assert predict(way, (), path).groups != predict(way).groups
    off = Setting("6.1", disable_acs_redir="2:00.0/1.0;1:3a:1c.4/00.0/10.1")
    assert not predict(way, (), off).judgements[ports[-1].address].isolates


# Quirks.

AMD_BRIDGE = Function("0000:00:14.4", "1002:4384", Kind.CONVENTIONAL, multifunction=True)
AMD = Platform(has_ivrs=True)
PCH_PORT = Function("0000:00:1c.0", "8086:1c10", Kind.ROOT_PORT, multifunction=True)
SPT_PORT = Function("0000:00:1c.0", "8086:a110", Kind.ROOT_PORT, acs=Acs(0x1D), multifunction=True)
QUIRKS = {
    "AMD southbridge": (AMD_BRIDGE, AMD, Isolation.QUIRK),
    "AMD southbridge without IOMMU": (AMD_BRIDGE, Platform(), Isolation.NONE),
    "AMD southbridge, alone": (replace(AMD_BRIDGE, multifunction=False), AMD, Isolation.NONE),
    "AMD southbridge, elsewhere": (replace(AMD_BRIDGE, port="0000:00:01.0"), AMD, Isolation.NONE),
    "Intel NIC": (Function("01:00.0", "8086:10c9", Kind.ENDPOINT, multifunction=True), AMD, Isolation.QUIRK),
    "Intel integrated": (
        Function("00:02.0", "8086:1234", Kind.ROOT_COMPLEX_ENDPOINT, multifunction=True),
        Platform(),
        Isolation.QUIRK,
    ),
    "other integrated": (
        Function("00:02.0", "1022:1234", Kind.ROOT_COMPLEX_ENDPOINT, multifunction=True),
        Platform(),
        Isolation.NONE,
    ),
    "Intel chipset port": (PCH_PORT, Platform(has_rcba=True), Isolation.QUIRK),
    "Intel chipset port, RCBA off": (PCH_PORT, Platform(has_rcba=False), Isolation.NONE),
    "Intel 100 series port": (SPT_PORT, Platform(), Isolation.HARDWARE),
    "Zhaoxin port": (Function("00:02.0", "1d17:0710", Kind.ROOT_PORT), Platform(), Isolation.QUIRK),
    "later Zhaoxin port": (
        Function("00:02.0", "1d17:0760", Kind.ROOT_PORT, acs=FULL_ACS),
        Platform(),
        Isolation.NONE,
    ),
    "Zhaoxin endpoint": (Function("00:02.0", "1d17:0760", Kind.ENDPOINT), Platform(), Isolation.HARDWARE),
    "ThunderX port": (Function("00:02.0", "177d:a123", Kind.ROOT_PORT), Platform(), Isolation.QUIRK),
    "Ampere port": (Function("00:02.0", "1def:e00a", Kind.ROOT_PORT), Platform(), Isolation.QUIRK),
    "Annapurna port": (Function("00:02.0", "1c36:0031", Kind.ROOT_PORT), Platform(), Isolation.QUIRK),
    "Wangxun NIC": (Function("01:00.0", "8088:1001", Kind.ENDPOINT), Platform(), Isolation.QUIRK),
    "later Wangxun NIC": (Function("01:00.0", "8088:9999", Kind.ENDPOINT), Platform(), Isolation.NONE),
}


@pytest.mark.parametrize(("function", "platform", "wanted"), QUIRKS.values(), ids=QUIRKS)
def test_quirks(function: Function, platform: Platform, wanted: Isolation) -> None:
    assert isolation(function, Setting(platform=platform)) is wanted


def test_quirk_keeps_its_answer_whatever_the_override_says() -> None:
    setting = Setting(platform=Platform(has_rcba=False))
    assert isolation(PCH_PORT, setting, "downstream", "id:8086:1c10") is Isolation.NONE


def test_config_acs_takes_the_redirects_of_an_intel_100_series_port_whatever_it_asks_for() -> None:
    setting = Setting(config_acs="0011101@pci:8086:a110")
    assert find_control(SPT_PORT, Acs(0x1D), setting) == 0x11


# Aliases.


def test_dma_of_a_marvell_controller_is_function_1s() -> None:
    """drivers/pci/quirks.c, quirk_dma_func1_alias()."""
    slot = (
        port("0000:00:01.0", acs=True),
        Function("0000:01:00.0", "1b4b:9123", Kind.ENDPOINT, "0000:00:01.0", FULL_ACS, multifunction=True),
        Function("0000:01:00.1", "1b4b:91a4", Kind.ENDPOINT, "0000:00:01.0", FULL_ACS, multifunction=True),
    )
    assert groups_of(slot) == "0000:00:01.0|0000:01:00.0 0000:01:00.1"
    assert groups_of(slot, *BOTH) == "0000:00:01.0|0000:01:00.0 0000:01:00.1"
    other = (*slot[:2], replace(slot[2], address="0000:02:00.1"))
    assert groups_of(other) == "0000:00:01.0|0000:01:00.0|0000:02:00.1"


def test_a_bridge_that_takes_all_ids_of_its_bus() -> None:
    bus = [Function(f"0000:05:{slot:02x}.0", "1:1", Kind.CONVENTIONAL) for slot in range(3)]
    assert groups_of([*bus, Function("0000:05:04.0", "10b5:87b0", Kind.ENDPOINT)]).count("|") == 0


def test_a_bridge_that_the_kernel_trusts_still_lends_its_id() -> None:
    """AMD's southbridge bridge isolates by quirk, and is a conventional bridge all the same."""
    below = Function("0000:03:05.0", "1:1", Kind.CONVENTIONAL, AMD_BRIDGE.address)
    trusted = Setting(platform=AMD)
    assert isolation(AMD_BRIDGE, trusted) is Isolation.QUIRK
    assert groups_of([AMD_BRIDGE, below], setting=trusted) == "0000:00:14.4 0000:03:05.0"


def test_what_is_behind_a_volume_device_is_in_its_group() -> None:
    vmd = Function("0000:00:0e.0", "8086:28c0", Kind.ROOT_COMPLEX_ENDPOINT)
    inner = Function("10000:e0:06.0", "8086:a33c", Kind.ROOT_PORT, acs=FULL_ACS, owner=vmd.address)
    drive = Function("10000:e1:00.0", "144d:a808", Kind.ENDPOINT, inner.address, owner=vmd.address)
    assert groups_of([drive, inner, vmd]) == "0000:00:0e.0 10000:e0:06.0 10000:e1:00.0"


def test_iommu_below_a_bridge_ends_the_walk() -> None:
    bridge = Function("0000:00:00.0", "14e4:9084", Kind.PCI_BRIDGE)
    below = Function("0000:01:00.0", "14e4:9999", Kind.PCI_BRIDGE, bridge.address)
    assert quirks.ends_alias_walk(bridge)
    # The path is not isolated all the same.
    assert groups_of([bridge, below]) == "0000:00:00.0 0000:01:00.0"


def test_a_function_without_an_iommu_has_no_group_and_lends_none() -> None:
    bridge = replace(port("0000:00:01.0"), has_iommu=False)
    assert groups_of([bridge, end("0000:01:00.0", bridge.address)]) == "0000:01:00.0"


def test_reverse_bridge_gives_its_id_to_all_below() -> None:
    bridge = Function("0000:00:01.0", "1:1", Kind.PCIE_BRIDGE)
    card = [end("0000:01:00.0", bridge.address), end("0000:01:01.0", bridge.address)]
    assert groups_of([bridge, *card], *BOTH).count("|") == 0


def test_names_of_topologies_are_their_own() -> None:
    made = [*topologies.GOLDEN, *generate.generate(7, 50)]
    assert len({one.name for one in made}) == 60


# What must hold for every topology.

IDS = ("1b36:000c", "8086:10c9", "8086:1c10", "8086:a110", "1b4b:9123", "10b5:87b0", "1d17:0760", "1002:4384")
WORDS = ("downstream", "multifunction", *(f"id:{id}" for id in IDS), "downstrem")
BRIDGES = frozenset(Kind) - {
    Kind.ENDPOINT,
    Kind.LEGACY_ENDPOINT,
    Kind.ROOT_COMPLEX_ENDPOINT,
    Kind.EVENT_COLLECTOR,
}


@st.composite
def machines(draw: st.DrawFn) -> list[Function]:
    """Functions with any kind behind any other, bridges first."""
    made: list[Function] = []
    for number in range(draw(st.integers(1, 14))):
        ports = [ROOT, *(one.address for one in made if one.kind in BRIDGES)]
        port = draw(st.sampled_from(ports))
        address = f"0000:{ports.index(port):02x}:{draw(st.integers(0, 2)):02x}.{draw(st.integers(0, 3))}"
        acs = draw(st.none() | st.builds(Acs, st.integers(0, 0x7F), st.none() | st.integers(0, 0x7F)))
        if port != ROOT:
            address = address.replace("0000:", f"{1 + [one.address for one in made].index(port):04x}:")
        if any(one.address == address for one in made):
            continue
        made.append(
            Function(
                address,
                draw(st.sampled_from(IDS)),
                draw(st.sampled_from(sorted(Kind, key=lambda kind: kind.name))),
                port,
                acs,
                multifunction=draw(st.booleans()),
                # As firmware writes them: what another function's id stands for has an id of its own.
                alias=draw(st.sampled_from([None, 0, 8])) if int(address[-1]) else None,
                has_iommu=number == 0 or draw(st.integers(0, 9)) > 0,
            )
        )
    slots = [one.slot for one in made]
    # pci_scan_slot(): further functions are looked for, and found, only where there are said to be some.
    return [replace(one, multifunction=one.multifunction or slots.count(one.slot) > 1) for one in made]


SETTINGS = st.builds(
    Setting,
    st.sampled_from(SERIES),
    st.sampled_from(["", "0000000@pci:0:0", "0011101@pci:1b36:c"]),
    st.sampled_from(["", "pci:0:0", "pci:1b36:c"]),
    st.builds(Platform, st.booleans(), st.none() | st.booleans()),
)
SOME_WORDS = st.lists(st.sampled_from(WORDS), unique=True, max_size=4)


@given(machines(), SOME_WORDS, SETTINGS)
@settings(deadline=None)
def test_every_function_with_an_iommu_is_in_one_group(
    functions: list[Function], words: list[str], setting: Setting
) -> None:
    prediction = predict(functions, words, setting)
    members = sorted(address for group in prediction.groups for address in group)
    assert members == sorted(one.address for one in functions if one.has_iommu)
    assert prediction.judgements.keys() == {one.address for one in functions}
    assert prediction.overridden.items() <= {
        (address, judgement.word) for address, judgement in prediction.judgements.items()
    }


def give_bridges_an_iommu(functions: list[Function]) -> list[Function]:
    """The search goes on from the bridge or the alias it came to: one without an IOMMU forgets the rest."""
    ports = {one.port for one in functions}
    aliases = {(one.bus, one.alias) for one in functions}
    return [
        replace(one, has_iommu=one.has_iommu or one.address in ports or (one.bus, one.place.devfn) in aliases)
        for one in functions
    ]


@given(machines(), SOME_WORDS, st.sampled_from(WORDS), SETTINGS)
@settings(deadline=None)
def test_a_further_word_never_merges_groups(
    functions: list[Function], words: list[str], further: str, setting: Setting
) -> None:
    functions = give_bridges_an_iommu(functions)
    without = predict(functions, words, setting).groups
    for group in predict(functions, [*words, further], setting).groups:
        assert any(group <= larger for larger in without)


def test_behind_a_bridge_without_an_iommu_a_word_may_merge_groups() -> None:
    """pci_device_group() looks for peers of the bridge it climbed to, not of the function it began with."""
    bridge = replace(port("0000:00:01.0"), has_iommu=False)
    card = [
        Function(f"0000:01:00.{number}", "1:1", Kind.CONVENTIONAL, bridge.address, multifunction=True)
        for number in range(2)
    ]
    assert groups_of([bridge, *card]) == "0000:01:00.0|0000:01:00.1"
    assert groups_of([bridge, *card], "downstream") == "0000:01:00.0 0000:01:00.1"


def shuffle(functions: list[Function], dice: Random, *, buses_only: bool) -> list[Function]:
    """An order of discovery with bridges first; `buses_only` leaves each bus in its own order."""
    order: list[Function] = []
    left = sorted(functions, key=lambda one: one.address)
    while left:
        placed = {one.address for one in order}
        ready = [one for one in left if one.port in placed or one.port == ROOT]
        chosen = dice.choice(ready)
        order.append(next(one for one in ready if one.bus == chosen.bus) if buses_only else chosen)
        left.remove(order[-1])
    return order


@given(machines(), SOME_WORDS, SETTINGS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_discovery_does_not_matter(
    functions: list[Function], words: list[str], setting: Setting, dice: Random
) -> None:
    functions = [replace(one, alias=None) for one in give_bridges_an_iommu(functions)]
    order = shuffle(functions, dice, buses_only=False)
    assert predict_in_order(order, words, setting).groups == predict(functions, words, setting).groups


@given(machines(), SOME_WORDS, SETTINGS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_with_aliases_of_the_firmware_the_order_of_buses_does_not_matter(
    functions: list[Function], words: list[str], setting: Setting, dice: Random
) -> None:
    """setup_aliases() comes with a function's turn; pci_scan_child_bus() goes by their numbers."""
    functions = give_bridges_an_iommu(functions)
    order = shuffle(functions, dice, buses_only=True)
    assert predict_in_order(order, words, setting).groups == predict(functions, words, setting).groups


@given(
    st.lists(
        st.builds(
            Function,
            st.sampled_from(["00:01.0", "00:02.0", "01:00.0"]),
            st.just("1:1"),
            st.sampled_from(list(Kind)),
            st.sampled_from(["", "00:01.0", "00:02.0", "01:00.0", "09:09.9"]),
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_bridges_that_go_in_circles_end(functions: list[Function]) -> None:
    assert predict(functions, BOTH).groups or not functions
