"""What `kernel.firmware` of host.toml may name: firmware and microcode that Debian has packages of.

    host.toml -> names -> FIRMWARE -> packages of firmware/lock -> files below /usr/lib/firmware, early microcode

Nearly all of it may be copied, and not changed: it is no free software. So nothing is taken that nobody has named.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hostwright.machine.grammar import BadValueError, nearest, text


@dataclass(frozen=True)
class Firmware:
    """A part of a package: `files` are patterns below /usr/lib/firmware.

    `early` is the name under which the kernel looks for all of it at its very start. `is_needed`: every device of the
    driver needs one of the files.
    """

    package: str
    files: tuple[str, ...]
    early: str = ""
    is_needed: bool = False


# A driver has its own name here (MODULE_FIRMWARE in its source). Names of the early files: kernel
# Documentation/arch/x86/microcode.rst.
FIRMWARE: Mapping[str, Firmware] = {
    "intel-microcode": Firmware("intel-microcode", ("intel-ucode/*",), "GenuineIntel.bin"),
    "amd64-microcode": Firmware("amd64-microcode", ("amd-ucode/*",), "AuthenticAMD.bin"),
    "bnx2": Firmware("firmware-bnx2", ("bnx2/*",), is_needed=True),
    "bnx2x": Firmware("firmware-bnx2x", ("bnx2x/*",), is_needed=True),
    "ice": Firmware("firmware-intel-misc", ("intel/ice/ddp/*",), is_needed=True),
    "qed": Firmware("firmware-qlogic", ("qed/*",), is_needed=True),
    "r8169": Firmware("firmware-realtek", ("rtl_nic/*",)),
    "tg3": Firmware("firmware-misc-nonfree", ("tigon/*",)),
}


def firmware_name(raw: object) -> str:
    """A name of FIRMWARE."""
    name = text(raw)
    if name not in FIRMWARE:
        raise BadValueError("no such firmware", nearest(name, tuple(FIRMWARE)))
    return name


def early_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that are microcode."""
    return tuple(name for name in names if FIRMWARE[name].early)
