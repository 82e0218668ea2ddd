"""Compares two guests by their manifests: one made by the installer, one made without it; pure.

packages of both --find_differences--> differences, each with its reason if known --render--> text
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Why only the installer installs a package. In brackets: the part that does.
INSTALLER_ONLY = {
    "eject": "to open the drive of an installation disc (cdrom-detect, hw-detect)",
    "installation-report": "to report to Debian how an installation went (save-logs)",
    "laptop-detect": "to choose tasks for laptops (pkgsel)",
    "os-prober": "to find other systems for the boot menu; a guest's disk has none (grub-installer)",
    "popularity-contest": "to count packages for Debian, if one agrees (pkgsel)",
    "tasksel": "to choose tasks (pkgsel)",
    "tasksel-data": "to choose tasks (pkgsel)",
    "discover": "to find packages for hardware that was detected (hw-detect)",
    "keyboard-configuration": "for the keyboard that the installer found (console-setup)",
    "console-setup": "for the keyboard that the installer found (console-setup)",
    "console-setup-linux": "for the keyboard that the installer found (console-setup)",
    "kbd": "for the keyboard that the installer found (console-setup)",
}
UNEXPLAINED = "not explained"
OTHER_TIME = "the archive had another version when the other guest was made"

Manifest = Mapping[str, object]


@dataclass(frozen=True)
class Difference:
    """A package that differs between the two guests; the version is '' where it is missing."""

    package: str
    installed: str
    fast: str
    reason: str = ""


def find_differences(installed: Manifest, fast: Manifest) -> list[Difference]:
    """The packages that only one manifest lists, or with different versions, sorted by name."""
    one, other = _versions(installed), _versions(fast)
    return [
        Difference(name, one.get(name, ""), other.get(name, ""), _reason(name, name in one, name in other))
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


def _versions(manifest: Manifest) -> dict[str, str]:
    packages = manifest["packages"]
    assert isinstance(packages, Sequence)
    return {f"{name}:{architecture}": version for name, version, architecture in packages}


def _reason(package: str, is_installed: bool, is_fast: bool) -> str:
    if is_installed and is_fast:
        return OTHER_TIME
    return INSTALLER_ONLY.get(package.partition(":")[0], "") if is_installed else ""


def render(differences: Sequence[Difference], count: int) -> str:
    """The report as text, unexplained differences first; `count` is the number of packages that are equal."""
    unexplained = [one for one in differences if not one.reason]
    head = (
        f"{count} packages are the same in the installed guest and in the one made without the installer; "
        f"{len(differences)} differ, {len(unexplained)} of them without a known reason.\n"
    )
    return head + "".join(_line(one) for one in sorted(differences, key=lambda one: bool(one.reason)))


def _line(one: Difference) -> str:
    versions = f"{one.installed or '-'} installed, {one.fast or '-'} without the installer"
    return f"{one.package}: {versions}: {one.reason or UNEXPLAINED}\n"


def compare(installed: Manifest, fast: Manifest) -> str:
    """Find the differences of two manifests and render them."""
    differences = find_differences(installed, fast)
    same = _versions(installed).items() & _versions(fast).items()
    return render(differences, len(same))
