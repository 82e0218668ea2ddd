"""The packages of a Debian guest that is made without the installer; pure.

    paragraphs of Packages + Install --seeds--> names --choose--> pins, with all that they need

debootstrap installs the priorities required and important. The installer's parts add packages (base-installer,
localechooser, partman, grub-installer), and so does host.toml. Recommended packages are left out.
"""

from collections.abc import Sequence

from hostwright.base.pin import Pin
from hostwright.formats.control import Stanza
from hostwright.guest import preseed
from hostwright.machine.install import Install
from hostwright.source import closure

BASE_PRIORITIES = ("required", "important")
KERNEL = ("linux-image-amd64", "initramfs-tools", "busybox", "zstd")
BOOT_LOADER = ("grub-efi-amd64", "shim-signed")
LOCALES = ("locales",)
FILE_SYSTEMS = {"ext4": ("e2fsprogs",), "xfs": ("xfsprogs",)}


def seeds(stanzas: Sequence[Stanza], install: Install) -> list[str]:
    """The names of the requested packages, each once."""
    base = [one["Package"] for one in stanzas if one.get("Priority") in BASE_PRIORITIES]
    own = preseed.packages(install)
    return list(
        dict.fromkeys([*base, *KERNEL, *LOCALES, *BOOT_LOADER, *FILE_SYSTEMS[install.filesystem], *own])
    )


def choose(stanzas: Sequence[Stanza], install: Install) -> list[Pin]:
    """Every package to install, sorted by name; raises UserError for one that the archive does not have.

    The same for one that a package of host.toml depends on.
    """
    preseed.check_packages(install, stanzas)
    return closure.lock(stanzas, seeds(stanzas, install), frozenset(), "guest.install.packages")
