"""One run of the installer: what it is given, and how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hostwright.guest.udeb import Template
from hostwright.guest.watch import STAGES, Limits, Stage
from hostwright.machine.model import Guest
from hostwright.vm import guest_argv
from hostwright.vm.board import Accelerator
from hostwright.vm.pictures import Shot


@dataclass(frozen=True)
class Outcome:
    """What a finished install leaves besides the disk: packages, the card's name and MAC, pictures, its time."""

    packages: tuple[tuple[str, ...], ...]
    network: Mapping[str, str]
    shots: tuple[Shot, ...]
    frames: tuple[Path, ...]
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What an install needs; `folder` holds the disk, the medium and the firmware under the names of `vm`."""

    guest: Guest
    folder: Path
    tools: Path
    accelerator: Accelerator
    vnc: guest_argv.Vnc
    templates: Mapping[str, Template]
    limits: Limits = field(default_factory=Limits)
    stages: tuple[Stage, ...] = STAGES


@dataclass(frozen=True)
class Voice:
    """How a person is told: `say` prints a line that stays, `note` changes the one that shows where things stand."""

    say: Callable[[str], None]
    note: Callable[[str], None]
