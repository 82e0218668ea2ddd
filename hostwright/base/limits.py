"""Time limits: how long a wait may take, scaled by HOSTWRIGHT_TIME_FACTOR as a whole."""

import math
import os

from hostwright.base.errors import UserError

VARIABLE = "HOSTWRIGHT_TIME_FACTOR"


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
