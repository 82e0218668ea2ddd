"""What the templates of rootfs/ may name."""

import tomllib

from hostwright.base import paths
from hostwright.doctor import findings, shared
from hostwright.machine.cmdline import kernel_words, serial_lines
from hostwright.machine.model import Machine


def host_values(machine: Machine, kernel_release: str) -> dict[str, object]:
    """What the templates of rootfs/ may name; `kernel_release` is what `uname -r` will say.

    No id of a disk is among them: the same root file system goes into either slot, of any disk.
    """
    return {
        "machine": machine,
        "kernel_release": kernel_release,
        "kernel_words": kernel_words,
        "serial_lines": serial_lines(machine),
        "version": version(),
        "findings": tuple(findings.load().values()),
        "shell_rules": tuple(shared.list_shell_rules()),
    }


def version() -> str:
    """The version of Hostwright, as pyproject.toml has it."""
    project: str = tomllib.loads(paths.PROJECT.read_text())["project"]["version"]
    return project
