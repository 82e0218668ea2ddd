"""The input of one installer run, and its outcome."""

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
    """The results of a finished install besides the disk: packages, the card's name and MAC, pictures, its time."""

    packages: tuple[tuple[str, ...], ...]
    network: Mapping[str, str]
    shots: tuple[Shot, ...]
    frames: tuple[Path, ...]
    seconds: float


@dataclass(frozen=True)
class Run:
    """The input of an install; `folder` holds the disk, the medium and the firmware under the names of `vm`."""

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
    """The output for a person: `say` prints a line that stays, `note` changes the progress line."""

    say: Callable[[str], None]
    note: Callable[[str], None]
