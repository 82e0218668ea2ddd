"""Every path on disk that the engine uses, named once."""

import os
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
RECIPES = TREE / "recipes"
KCONFIG = TREE / "kconfig"
PATCHES = TREE / "patches"
ROOTFS = TREE / "rootfs"
PROJECT = TREE / "pyproject.toml"
HOSTS = TREE / "hosts"
LOCK = TREE / "buildroot" / "lock"
FIRMWARE_LOCK = TREE / "firmware" / "lock"
SEEDS = TREE / "buildroot" / "seeds"
GUEST = TREE / "guest"
AUDIT = TREE / "audit"
GOLDEN = TREE / "tests" / "golden"
RESOLVED_CONFIG = GOLDEN / "kernel.config"

DIST = TREE / "dist"
LOGS = DIST / "log"
STATE = DIST / ".state.json"
CODE = DIST / ".code.json"
PACKAGES = DIST / "packages"
KERNEL = DIST / "kernel"
OVMF = DIST / "ovmf"
PROOF = DIST / "proof"
GUEST_PROOF = DIST / "proof-guest"
GUESTS = DIST / "guest"
UPDATE_PROOF = DIST / "proof-update"
WAY_PROOF = DIST / "proof-way"
AUDITED = DIST / "audit"
ROOTFS_TAR = DIST / "rootfs.tar"
DATA_TAR = DIST / "data.tar"
HOST_IMAGE = DIST / "host.img"
UPDATE = DIST / "host.update"
SIGNED_UPDATE = DIST / "host.update.signed"
# For one host: what it does not have yet.
PARTIAL_UPDATE = DIST / "host.update.partial"
SIGNED_PARTIAL_UPDATE = DIST / "host.update.partial.signed"
MANIFEST = DIST / "MANIFEST"
GROUPS = DIST / "groups"
GROUPS_PROOF = DIST / "proof-groups"
DOCTOR = DIST / "doctor"
BUILDROOT_STAMP = DIST / "buildroot.json"


def _results() -> dict[str, Path]:
    return {
        name: place
        for name, place in globals().items()
        if isinstance(place, Path) and place.is_relative_to(DIST)
    }


def results() -> frozenset[str]:
    """The names of all that a run leaves in dist/."""
    return frozenset(place.relative_to(DIST).parts[0] for place in _results().values() if place != DIST)


def use_machine(name: str) -> None:
    """Have the results of this run go to dist/NAME; called before any other module takes over a place."""
    old, new = DIST, DIST / name
    for key, place in _results().items():
        globals()[key] = new / place.relative_to(old)


def cache() -> Path:
    """The cache shared by all clones: `$XDG_CACHE_HOME/hostwright`, by default `~/.cache/hostwright`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hostwright"


def downloads() -> Path:
    """Fetched files, named by their sha256."""
    return cache() / "downloads"


def store() -> Path:
    """Built packages, one folder per key."""
    return cache() / "store"


def work() -> Path:
    """Build folders; their content only saves time and may be deleted."""
    return cache() / "work"


def package_stamp(name: str) -> Path:
    """The manifest of a built package, as this tree last used it."""
    return PACKAGES / f"{name}.json"


def log_file(task: str) -> Path:
    """The file of a task's output; `package:bash` becomes `package-bash.log`."""
    return LOGS / f"{task.replace(':', '-')}.log"
