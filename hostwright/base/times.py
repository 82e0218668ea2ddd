"""Times and sizes: figures as people read them, and time limits, which HOSTWRIGHT_TIME_FACTOR scales as a whole."""

import math
import os

from hostwright.base.errors import UserError

VARIABLE = "HOSTWRIGHT_TIME_FACTOR"


def clock(seconds: float) -> str:
    """Seconds as a person says them: `8 s`, `4 min 05 s`, `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def bar(done: int, total: int) -> str:
    """Bytes fetched: a bar and a share where the total is known, MB alone where it is not."""
    if not total:
        return f"{done / 1e6:.1f} MB"
    filled = min(20, 20 * done // total)
    return f"[{'#' * filled}{'.' * (20 - filled)}] {done / 1e6:.1f} of {total / 1e6:.1f} MB"


def meter(share: float) -> str:
    """A share from 0 to 1 as a bar with its percentage."""
    filled = min(20, int(20 * share))
    return f"[{'#' * filled}{'.' * (20 - filled)}] {100 * share:.0f} %"


# 2026-01-01T00:00:00Z: SOURCE_DATE_EPOCH of every build and the latest time stamp in any artifact.
EPOCH = 1767225600


def name_size(size: int) -> str:
    """In the largest unit that leaves a whole number or three digits."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            number = f"{size / (1 << shift):.2f}".rstrip("0").rstrip(".")
            return f"{number} {unit}"
    return f"{size} bytes"


def factor() -> float:
    """The factor of all time limits, 1 by default; UserError if the environment gives no positive number."""
    named = os.environ.get(VARIABLE, "") or "1"
    try:
        value = float(named)
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{VARIABLE}={named}: not a positive number", f"write {VARIABLE}=2, or leave it out")
    return value


def limit(seconds: float) -> float:
    """A time limit in seconds, scaled.

    Constants call this while modules are loaded, where no error can be shown as one: a bad factor counts as 1 here,
    and each task refuses it before it begins.
    """
    try:
        return seconds * factor()
    except UserError:
        return seconds
