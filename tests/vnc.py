"""A real VNC client, as a program of its own: what a person who watches sees."""

import subprocess
import sys
from pathlib import Path

from hostwright.vm import pictures

LIMIT_S = 20


class ClientError(Exception):
    """What the client said when it ended without a picture."""


def capture(server: Path | str, out: Path, password: str | None = None) -> pictures.Frame:
    """The screen at a unix socket, or at HOST::PORT; `out` is a folder for the picture."""
    picture = out / "vnc.png"
    # From the socket's own folder: a long path does not fit a unix socket's address.
    folder, name = (server.parent, server.name) if isinstance(server, Path) else (out, server)
    client = (sys.executable, "-m", "vncdotool.command", "--timeout", str(LIMIT_S), "--server", name)
    secret = () if password is None else ("--password", password)
    try:
        ended = subprocess.run(
            [*client, *secret, "capture", str(picture)],
            cwd=folder,
            timeout=2 * LIMIT_S,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0 or not picture.exists():
            raise ClientError(ended.stdout + ended.stderr)
        return pictures.read(picture)
    finally:
        picture.unlink(missing_ok=True)
