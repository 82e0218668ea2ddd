"""How long each task took here, or takes on a machine of 2 cores."""

import json
import tomllib
from pathlib import Path

from hostwright.base import files, paths

FROM_STORE_S = 2.0


def expected_times() -> dict[str, float]:
    """Seconds per task: as measured in this cache, else as shipped."""
    shipped = tomllib.loads((Path(__file__).parent / "durations.toml").read_text())
    return {**shipped, **_measured()}


def _measured() -> dict[str, float]:
    try:
        times: dict[str, float] = json.loads((paths.cache() / "times.json").read_text())
    except (OSError, ValueError):
        return {}
    return times


def remember(task: str, seconds: float) -> None:
    """Keep how long a task took, for later estimates; a result from the store took no time worth keeping."""
    if seconds < FROM_STORE_S:
        return
    with files.locked(paths.cache() / "times.lock"):
        files.write(
            paths.cache() / "times.json", json.dumps({**_measured(), task: round(seconds, 1)}, indent=1)
        )
