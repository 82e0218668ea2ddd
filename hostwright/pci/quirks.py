"""What Linux knows about single devices that their own registers do not say, as facts.

    find_isolation()  drivers/pci/quirks.c, pci_dev_acs_enabled[]: ports and functions that isolate without ACS
    find_aliases()    drivers/pci/quirks.c, pci_add_dma_alias(): devices that use another function's requester id
    has_wide_acs()    drivers/pci/quirks.c, pci_quirk_intel_spt_pch_acs_match()
    has_broken_validation()  drivers/pci/quirks.c, pci_disable_broken_acs_cap(), in 7.2.8 only

The other tables are the same in 6.1.176, 6.12.107 and 7.2.8.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hostwright.pci.function import ROOT, Function, Kind


@dataclass(frozen=True)
class Platform:
    """What quirks ask of the whole machine.

    `has_ivrs`: the firmware describes an AMD IOMMU. `has_rcba`: the Root Complex Base Address of an Intel chipset is
    enabled (bit 0 at 0xf0 of the LPC bridge), None where that is not known.
    """

    has_ivrs: bool = False
    has_rcba: bool | None = None


@dataclass(frozen=True)
class Quirk:
    """A quirk's answer to whether a function isolates, and the quirk's name in the kernel."""

    isolates: bool
    quirk: str


Rule = Callable[[Function, Platform], bool | None]


def find_isolation(function: Function, platform: Platform) -> Quirk | None:
    """pci_dev_specific_acs_enabled() for the flags of IOMMU grouping; None where no quirk speaks."""
    for ids, rule in _RULES:
        if function.vendor not in ids or not _has(ids[function.vendor], function.device):
            continue
        isolates = rule(function, platform)
        if isolates is not None:
            return Quirk(isolates, rule.__name__.removeprefix("_"))
    return None


def has_wide_acs(function: Function) -> bool:
    """Whether the ACS registers are two dwords instead of two words: Intel's 100 and 200 series root ports."""
    return function.vendor == 0x8086 and function.kind is Kind.ROOT_PORT and _has(_SPT, function.device)


def has_broken_validation(function: Function) -> bool:
    """Whether source validation takes the answers to configuration reads for errors: IDT's erratum 36."""
    return function.id in ("111d:80b5", "111d:8090")


def needs_rcba(function: Function) -> bool:
    """Whether the isolation of this port depends on the Root Complex Base Address: older Intel root ports."""
    return function.vendor == 0x8086 and function.kind is Kind.ROOT_PORT and _has(_PCH, function.device)


def has_unknown_aliases(function: Function) -> bool:
    """Whether the device's aliases are read from its memory: Switchtec non-transparent bridges."""
    return function.class_code >> 8 == 0x0680 and _has(_SWITCHTEC.get(function.vendor, ()), function.device)


def find_aliases(function: Function) -> frozenset[int]:
    """The device and function numbers on the same bus that the function's DMA may carry besides its own."""
    slot = function.devfn & ~7
    for number in (0, 1):
        if _has(_FUNCTION_ALIASES[number].get(function.vendor, ()), function.device):
            return frozenset({slot | number} - {function.devfn})
    if function.id == "9005:0285" and function.subsystem in ("9005:02bb", "9005:02bc"):
        return frozenset({1 << 3})
    return _FIXED_ALIASES.get((function.vendor, function.device), frozenset())


def ends_alias_walk(bridge: Function) -> bool:
    """PCI_DEV_FLAGS_BRIDGE_XLATE_ROOT: the IOMMU sits below this bridge."""
    return bridge.id in ("14e4:9000", "14e4:9084")


# The rules. A range is a pair of first and last, a single id stands for itself.

Ids = tuple[int | tuple[int, int], ...]
_ANY: Ids = ((0, 0xFFFF),)


def _has(ids: Ids, device: int) -> bool:
    return any(device == one if isinstance(one, int) else one[0] <= device <= one[1] for one in ids)


def _pci_quirk_amd_sb_acs(function: Function, platform: Platform) -> bool | None:
    """Answers for multifunction devices of the southbridge, where there is an AMD IOMMU."""
    return True if function.multifunction and function.port == ROOT and platform.has_ivrs else None


def _pci_quirk_mf_endpoint_acs(_function: Function, _platform: Platform) -> bool:
    return True


def _pci_quirk_rciep_acs(function: Function, _platform: Platform) -> bool | None:
    """VT-d 3.1, section 3.16: peers of an Intel root complex may be reached by translated addresses only."""
    return True if function.kind is Kind.ROOT_COMPLEX_ENDPOINT else None


def _pci_quirk_port_acs(_function: Function, _platform: Platform) -> bool:
    """Root ports whose makers say that they isolate: QCOM, HXT, NXP, X-Gene, Ampere, Broadcom, Loongson."""
    return True


def _pci_quirk_intel_pch_acs(function: Function, platform: Platform) -> bool | None:
    """Isolates once the kernel could write to the chipset, for which RCBA must be enabled."""
    return platform.has_rcba is not False if needs_rcba(function) else None


def _pci_quirk_intel_spt_pch_acs(function: Function, _platform: Platform) -> bool | None:
    """None: the answer comes from the registers, read as dwords."""
    return None


def _pci_quirk_cavium_acs(function: Function, _platform: Platform) -> bool | None:
    is_port = function.kind is Kind.ROOT_PORT
    return True if is_port and _has(((0xA000, 0xA7FF), 0xAF84, 0xB884), function.device) else None


def _pci_quirk_al_acs(function: Function, _platform: Platform) -> bool | None:
    return True if function.kind is Kind.ROOT_PORT else None


def _pci_quirk_zhaoxin_pcie_ports_acs(function: Function, _platform: Platform) -> bool | None:
    """Of ports that it does not know it says that they do not isolate, whatever their registers say."""
    if function.kind not in (Kind.ROOT_PORT, Kind.DOWNSTREAM):
        return None
    return _has(((0x0710, 0x071E), 0x0721, (0x0723, 0x0752)), function.device)


def _pci_quirk_wangxun_nic_acs(function: Function, _platform: Platform) -> bool:
    """Of NICs that it does not know it says that they do not isolate, whatever their registers say."""
    known: Ids = ((0x0100, 0x010F), 0x1001, 0x2001, 0x5010, 0x5025, 0x5040, 0x5110, 0x5125, 0x5140)
    return _has(known, function.device)


_PCH: Ids = (
    (0x3B42, 0x3B51),  # Ibexpeak
    (0x1C10, 0x1C1F),  # Cougarpoint
    (0x1E10, 0x1E1F),  # Pantherpoint
    (0x8C10, 0x8C1F),  # Lynxpoint-H
    (0x9C10, 0x9C1B),  # Lynxpoint-LP
    (0x9C90, 0x9C9B),  # Wildcat
    *range(0x1D10, 0x1D20, 2),  # Patsburg, X79
    (0x8D10, 0x8D1E),  # Wellsburg, X99
    *range(0x8C90, 0x8CA0, 2),  # Lynx Point, 9 series
)
_SPT: Ids = (
    *((0xA110, 0xA11F), (0xA167, 0xA16A)),  # Sunrise Point
    *((0xA290, 0xA29F), (0xA2E7, 0xA2EE)),  # Union Point
    (0x9D10, 0x9D1B),  # 7th and 8th generation, mobile
)
_INTEL_NICS: Ids = (
    *(0x10C6, 0x10DB, 0x10DD, 0x10E1, 0x10F1, (0x10F7, 0x10FC), 0x1507, 0x1514, 0x151C, 0x1529, 0x152A),
    *(0x154D, 0x154F, 0x1551, 0x1558),  # 82598, 82599
    *(0x1509, (0x150E, 0x1511), 0x1516, 0x1527),  # 82580
    *(0x10C9, (0x10E6, 0x10E8), 0x150A, 0x150D, 0x1518, 0x1526),  # 82576
    *(0x10A7, 0x10A9, 0x10D6),  # 82575
    (0x1521, 0x1524),  # I350
    *(0x105E, 0x105F, 0x1060, 0x10D9),  # 82571
    *(0x15B7, 0x15B8),  # I219
)
_LX2: Ids = tuple(
    0x8D80 + model + core for model in (0x00, 0x08, 0x10, 0x18) for core in (0, 1, 2, 3, 0x20, 0x21)
)

# In the kernel's order: the first quirk that has an answer gives it.
_RULES: tuple[tuple[dict[int, Ids], Rule], ...] = (
    ({0x1002: (0x4385, 0x439C, 0x4383, 0x439D, 0x4384, 0x4399)}, _pci_quirk_amd_sb_acs),
    ({0x1022: (0x780F, 0x7809)}, _pci_quirk_amd_sb_acs),
    ({0x1924: (0x0903, 0x0923, 0x0A03), 0x8086: _INTEL_NICS}, _pci_quirk_mf_endpoint_acs),
    ({0x8086: _ANY}, _pci_quirk_rciep_acs),
    ({0x17CB: (0x0400, 0x0401, 0x0115, 0x0111, 0x0120), 0x1DBF: (0x0401,)}, _pci_quirk_port_acs),
    ({0x8086: _ANY}, _pci_quirk_intel_pch_acs),
    ({0x8086: _ANY}, _pci_quirk_intel_spt_pch_acs),
    ({0x19A2: (0x0710,), 0x10DF: (0x0720,)}, _pci_quirk_mf_endpoint_acs),
    ({0x177D: _ANY}, _pci_quirk_cavium_acs),
    ({0x177D: (0xA026, 0xA059, 0xA060)}, _pci_quirk_mf_endpoint_acs),
    ({0x10E8: (0xE004,), 0x1DEF: ((0xE005, 0xE00C),)}, _pci_quirk_port_acs),
    ({0x14E4: (0x16D7, (0x1750, 0x1752), (0x1760, 0x1763))}, _pci_quirk_mf_endpoint_acs),
    ({0x14E4: (0xD714,)}, _pci_quirk_port_acs),
    ({0x0014: (*range(0x3C09, 0x3C30, 0x10), *range(0x7A09, 0x7A70, 0x10))}, _pci_quirk_port_acs),
    ({0x1C36: (0x0031,)}, _pci_quirk_al_acs),
    ({0x1D17: (0x3038, 0x3104, 0x9083)}, _pci_quirk_mf_endpoint_acs),
    ({0x1957: _LX2}, _pci_quirk_port_acs),
    ({0x1D17: _ANY}, _pci_quirk_zhaoxin_pcie_ports_acs),
    ({0x8088: _ANY}, _pci_quirk_wangxun_nic_acs),
)

# quirk_dma_func0_alias() and quirk_dma_func1_alias().
_MARVELL: Ids = (
    *(0x9120, 0x9123, 0x9125, 0x9128, 0x9130, 0x9170, 0x9172, 0x917A, 0x9182, 0x9183),
    *(0x91A0, 0x9215, 0x9220, 0x9230, 0x9235),
)
_FUNCTION_ALIASES: tuple[dict[int, Ids], ...] = (
    {0x1180: (0xE832, 0xE476), 0x6766: (0x3D40, 0x3D41)},
    {0x1B4B: _MARVELL, 0x1103: (0x0642, 0x0645), 0x197B: (0x2392,), 0x1C28: (0x0122,)},
)

# quirk_mic_x200_dma_alias(), quirk_pex_vca_alias(), quirk_plx_ntb_dma_alias().
_X200 = frozenset({0x10 << 3, 0x11 << 3, 0x12 << 3 | 3})
_VCA = frozenset(slot << 3 | number for slot in range(32) for number in range(5))
_FIXED_ALIASES: dict[tuple[int, int], frozenset[int]] = {
    **dict.fromkeys(((0x8086, 0x2260), (0x8086, 0x2264)), _X200),
    **dict.fromkeys(((0x8086, device) for device in (0x2954, 0x2955, 0x2956, 0x2958, 0x2959, 0x295A)), _VCA),
    **dict.fromkeys(((0x10B5, 0x87B0), (0x10B5, 0x87B1)), frozenset(range(256))),
}

# quirk_switchtec_ntb_dma_alias().
_GEN4: tuple[int, ...] = tuple(
    family + ports for family in (0x4000, 0x4100, 0x4200) for ports in (0, 0x84, 0x68, 0x52, 0x36, 0x28)
)
_SWITCHTEC: dict[int, Ids] = {
    0x11F8: (
        *((family, family + 5) for family in (0x8531, 0x8541, 0x8551, 0x8561, 0x8571)),
        *_GEN4,
        *(family + ports for family in (0x4300, 0x4400, 0x4500) for ports in (0x52, 0x36, 0x28)),
        *(
            family + ports
            for family in range(0x5000, 0x5600, 0x100)
            for ports in (0, 0x84, 0x68, 0x52, 0x36, 0x28)
        ),
    ),
    0x1055: ((0x1001, 0x1006),),
}
