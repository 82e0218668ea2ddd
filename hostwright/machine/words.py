"""Words of the kernel's command line and lines of /etc/modules, as host.toml gives them.

Refused are those that another key or the image sets, and those that switch a protection off: a copied line of a wiki
must not turn passthrough into a hole without anybody seeing it.
"""

import re

from hostwright.base.address import parse_kernel_path
from hostwright.base.texts import show
from hostwright.machine.grammar import BadValueError, text

# Values that switch a parameter of the kernel off, or on where that is the danger; none at all means any value
# (Documentation/admin-guide/kernel-parameters.txt, hw-vuln/).
_OFF = frozenset(("off", "0", "n", "no", "none", "never"))
_ON = frozenset(("", "on", "1", "y", "yes"))
_ANY: frozenset[str] = frozenset()
_SWITCHES = """
    mitigations pti spectre_v2 spectre_v2_user spec_store_bypass_disable l1tf mds tsx_async_abort
    mmio_stale_data retbleed srbds spec_rstack_overflow vmscape tsa gather_data_sampling
    reg_file_data_sampling indirect_target_selection rodata hardened_usercopy randomize_kstack_offset
    init_on_alloc lockdown module.sig_enforce kvm.nx_huge_pages kvm_intel.vmentry_l1d_flush iommu.strict
"""
_NEGATIVE = """
    nopti nospectre_v1 nospectre_v2 nokaslr nosmap nosmep norandmaps nointremap
"""
_UNPROTECTED = {
    **dict.fromkeys(_SWITCHES.split(), _OFF),
    **dict.fromkeys(_NEGATIVE.split(), _ANY),
    "intremap": frozenset(("off", "nosid")),
    "vfio_iommu_type1.allow_unsafe_interrupts": _ON,
    "vfio.enable_unsafe_noiommu_mode": _ON,
}
_INTERRUPTS = (
    "without interrupt remapping a device of a guest can forge interrupts; ./doit doctor says why it is off"
)
_WHY = {
    "nointremap": _INTERRUPTS,
    "intremap": _INTERRUPTS,
    "vfio_iommu_type1.allow_unsafe_interrupts": _INTERRUPTS,
    "vfio.enable_unsafe_noiommu_mode": "a device without an IOMMU reads and writes all memory of the host",
    "iommu.strict": "a device could use memory for a while after it was taken back",
}
_WHY_NOT = "what runs in a guest could reach the host through it"

_HEX = r"(?:0x)?[0-9a-fA-F]{1,8}"
_PCI_IDS = re.compile(rf"pci:{_HEX}:{_HEX}(?::{_HEX}:{_HEX})?")

# Words that are set elsewhere, as a whole or by their prefix up to = or ., and the hint that says where.
_DECIDED_ELSEWHERE = {
    "root=": "leave it out: the image sets it from its own root partition",
    "ro": "leave it out: the image sets it",
    "rw": "leave it out: the image mounts its root itself",
    "initrd=": "set kernel.microcode; there is no other initrd",
    "init=": "leave it out: the image starts its own init, and another one would be a root shell without a password",
    "rdinit=": "leave it out: the image's initramfs starts its own init",
    "iommu=": "leave it out: iommu=pt is set wherever devices are passed through",
    "intel_iommu=": "set iommu.vendor; its further settings go into iommu.extra",
    "amd_iommu=": "set iommu.vendor; its further settings go into iommu.extra",
    "pcie_acs_override=": "set iommu.acs_override",
    "vfio_pci.ids=": "name the device by address in a [[device]] table: an id would take every match",
    "hostwright.": "leave it out: the boot entries set it",
    "--": "leave it out: it would end the kernel's words",
}


def _kernel_word(raw: object) -> str:
    word = text(raw)
    # GRUB puts a backslash before quotes and backslashes on the way to the kernel (grub-core/lib/cmdline.c).
    if not re.fullmatch(r"[!-~]+", word) or re.search(r"[\\\"']", word):
        hint = "one word an entry: printable ASCII without spaces, quotes and backslashes"
        raise BadValueError("not a kernel command line word", hint)
    return word


def cmdline_word(raw: object) -> str:
    """A word of the kernel's command line. Words that the image or another key sets are rejected."""
    word = _kernel_word(raw)
    name, equals, _ = word.partition("=")
    # The kernel treats - and _ in a parameter's name as equal (kernel/params.c parameqn()).
    plain = name if name == "--" else name.replace("-", "_") + equals
    for decided, hint in _DECIDED_ELSEWHERE.items():
        if plain == decided or (decided.endswith(".") and plain.startswith(decided)):
            raise BadValueError("not to be set here", hint)
    _check_protection(name.replace("-", "_"), word.partition("=")[2])
    if name == "pci":
        _check_pci(word.partition("=")[2])
    return word


def _check_protection(name: str, value: str) -> None:
    """Raise BadValueError for a word that switches off what keeps guests, devices and the kernel apart."""
    off = _UNPROTECTED.get(name)
    if off is not None and (not off or off & set(value.lower().split(","))):
        raise BadValueError("switches a protection off", f"leave it out: {_WHY.get(name, _WHY_NOT)}")


def _check_pci(value: str) -> None:
    for part in value.split(","):
        key, equals, entries = part.partition("=")
        if key == "config_acs":
            config_acs(entries)
        elif key == "disable_acs_redir" and equals:
            pci_devices(entries)


def config_acs(value: str) -> str:
    """The value of pci=config_acs=: FLAGS@DEVICE, several joined by `;` (pci_acs_flags of drivers/pci/pci.c)."""
    for entry in value.split(";"):
        flags, at, device = entry.partition("@")
        if not at or not re.fullmatch(r"[01xX]{1,7}", flags):
            hint = "write FLAGS@DEVICE, FLAGS being up to seven of 0, 1 and x: config_acs=1x@0000:00:1c.0"
            raise BadValueError(f"{show(entry)} is not FLAGS@DEVICE", hint)
        pci_devices(device)
    return value


def pci_devices(value: str) -> str:
    """Devices as the kernel's command line names them (pci_dev_str_match()), joined by `;`."""
    for device in value.split(";"):
        if not _PCI_IDS.fullmatch(device) and parse_kernel_path(device) is None:
            hint = "write [DOMAIN:]BUS:DEVICE.FUNCTION, or pci:VENDOR:DEVICE, in hexadecimal: 0000:00:1c.0"
            raise BadValueError(f"{show(device)} names no PCI device", hint)
    return value


def extra_word(raw: object) -> str:
    """As `cmdline_word`, but accepts settings of intel_iommu= and amd_iommu= other than on and off."""
    word = _kernel_word(raw)
    name, _, values = word.partition("=")
    if name not in ("intel_iommu", "amd_iommu"):
        return cmdline_word(word)
    if {"on", "off"} & set(values.split(",")):
        raise BadValueError("not to be set here", "set iommu.vendor: it turns the IOMMU on")
    return word


# Words that begin a line of modprobe.d(5), not of a list of modules.
_MODPROBE_WORDS = ("options", "blacklist", "install", "remove", "alias", "softdep", "include")
_GONE = {"vfio_virqfd": "leave it out: it is a part of vfio since Linux 6.2"}


def module(raw: object) -> str:
    """A module and its options, as in "kvm_intel nested=1"; the options are checked as words of the command line."""
    entry = text(raw)
    if not re.fullmatch(r"[A-Za-z0-9_-]+(?: [!-~]+)*", entry):
        hint = 'write the name, then its options if any: "kvm_intel nested=1"'
        raise BadValueError("not a module name", hint)
    name, *options = entry.split(" ")
    if name in _MODPROBE_WORDS:
        hint = 'write the module itself: "kvm_intel nested=1"; nothing loads a module that is not named'
        raise BadValueError("a line of modprobe.d, not a module", hint)
    if gone := _GONE.get(module_name(entry)):
        raise BadValueError("this module is gone", gone)
    for option in options:
        if not re.match(r"[A-Za-z0-9_-]+(?:=|$)", option):
            raise BadValueError(f"{show(option)} is not an option", 'write NAME=VALUE: "kvm_intel nested=1"')
        if not is_vfio_ids(entry, option):
            cmdline_word(f"{module_name(entry)}.{option}")
    return entry


def is_vfio_ids(entry: str, option: str) -> bool:
    """Whether an option of a module takes devices by their ids; `rules` and the doctor judge it."""
    return module_name(entry) in ("vfio_pci", "pci_stub") and option.startswith("ids=")


def module_name(entry: str) -> str:
    """The module in an entry with options, with _ for -, as the kernel writes it."""
    return entry.partition(" ")[0].replace("-", "_")
