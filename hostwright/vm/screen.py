"""A machine's screen, as QEMU itself draws it: no viewer is involved.

    Screen.capture() --> screendump over the monitor --> a file in a folder that QEMU also sees --> Frame

qemu-qmp-ref(7), screendump.
"""

from dataclasses import dataclass
from pathlib import Path

from hostwright.base.errors import UserError
from hostwright.base.times import limit
from hostwright.vm import pictures
from hostwright.vm.monitor import Monitor

CAPTURE_LIMIT_S = limit(10.0)
# A PPM: every QEMU can write it, also one that was built without libpng.
FILE = "screen.ppm"


class ScreenError(UserError):
    """QEMU is gone, gives no picture, or does not answer."""


@dataclass(frozen=True)
class Screen:
    """The first display of a machine; `folder` is called `inside` by its QEMU."""

    monitor: Monitor
    folder: Path
    inside: str

    def capture(self, limit_s: float = CAPTURE_LIMIT_S) -> pictures.Frame:
        """The screen as it is now; raises ScreenError, also without a whole picture after `limit_s`."""
        picture = self.folder / FILE
        try:
            self.monitor.screendump(f"{self.inside}/{FILE}", limit_s)
            return pictures.read(picture)
        except (UserError, OSError) as error:
            raise ScreenError(f"no picture of the screen: {error}") from None
        finally:
            picture.unlink(missing_ok=True)
