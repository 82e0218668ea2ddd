"""Which packages a Debian guest has when no installer chooses them; pure.

    paragraphs of Packages + Install --seeds--> names --choose--> pins, with all that they need

debootstrap takes what has the priority required or important; then comes what the installer's parts install
(base-installer, localechooser, partman, grub-installer), and what the guest is to have. Nothing that a package only
recommends is taken.
"""

from collections.abc import Sequence

from hostwright.formats.control import Stanza
from hostwright.guest import preseed
from hostwright.machine.install import Install
from hostwright.source import closure
from hostwright.source.pins import Pin

BASE_PRIORITIES = ("required", "important")
KERNEL = ("linux-image-amd64", "initramfs-tools", "busybox", "zstd")
BOOT_LOADER = ("grub-efi-amd64", "shim-signed")
LOCALES = ("locales",)
FILE_SYSTEMS = {"ext4": ("e2fsprogs",), "xfs": ("xfsprogs",)}


def seeds(stanzas: Sequence[Stanza], install: Install) -> list[str]:
    """What is wanted by name, each once."""
    base = [one["Package"] for one in stanzas if one.get("Priority") in BASE_PRIORITIES]
    own = preseed.packages(install)
    return list(
        dict.fromkeys([*base, *KERNEL, *LOCALES, *BOOT_LOADER, *FILE_SYSTEMS[install.filesystem], *own])
    )


def choose(stanzas: Sequence[Stanza], install: Install) -> list[Pin]:
    """Everything to be installed, sorted by name; UserError naming a package that the archive does not have."""
    return closure.lock(stanzas, seeds(stanzas, install), frozenset(), "guest.install.packages")
