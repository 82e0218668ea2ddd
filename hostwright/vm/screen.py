"""A machine's screen, read over VNC: the only module that imports vncdotool and Twisted, and so a slow one to import.

    Screen.capture() --> event loop (one thread for all) <--> VNC server --> Frame

Each picture is a connection of its own, shared with whoever watches: it needs no care when the screen changes its
size, when a person's viewer pushes others out or when the server starts again. RFC 6143.
"""

import errno
import os
import socket
import threading
import time
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.logger import globalLogBeginner
from vncdotool.client import VNCDoToolClient, VNCDoToolFactory

from hostwright.base.errors import UserError
from hostwright.base.files import short_name
from hostwright.base.limits import limit
from hostwright.vm.pictures import Frame

CAPTURE_LIMIT_S = limit(10.0)
_RETRY_S = 0.02


class VncError(UserError):
    """The VNC server is not there, does not let us in, or does not answer."""


@dataclass(frozen=True)
class Screen:
    """Where a screen is to be seen: (host, port), or the path of a unix socket."""

    address: tuple[str, int] | Path
    password: str | None = None

    def __str__(self) -> str:
        return str(self.address) if isinstance(self.address, Path) else "{}:{}".format(*self.address)

    def capture(self, limit_s: float = CAPTURE_LIMIT_S) -> Frame:
        """What the screen shows now; raises VncError, also when there is no whole picture after `limit_s`."""
        deadline = time.monotonic() + limit_s
        factory = _Factory(self.password)
        try:
            _event_loop().callFromThread(factory.adopt, self._connect(deadline))
            return factory.answer.result(deadline - time.monotonic())
        except TimeoutError:
            what = f"the VNC server at {self} gave no picture within {limit_s:g} s"
            raise VncError(what, "it hangs, or this machine is overloaded") from None
        except (VncError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VncError(f"no picture from the VNC server at {self}: {reason}") from None
        finally:
            _event_loop().callFromThread(factory.hang_up)

    def _connect(self, deadline: float) -> socket.socket:
        """A connected socket: Twisted would look names up in threads that hold up the end of the program."""
        left = deadline - time.monotonic()
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout=left)
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(left)
        with short_name(self.address) as name:
            # While others wait to be let in, a unix socket refuses further ones at once.
            while (code := one.connect_ex(name)) == errno.EAGAIN and time.monotonic() < deadline:
                time.sleep(_RETRY_S)
        if code:
            one.close()
            raise OSError(code, os.strerror(code))
        return one


@cache
def _event_loop() -> Any:  # noqa: ANN401
    """Twisted's, started in a thread that neither catches signals nor holds up the end of the program."""
    # VNC's passwords are what they are.
    warnings.filterwarnings("ignore", message="TripleDES", module=r"vncdotool\.")
    # Twisted keeps every message in memory until a log begins.
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    loop: Any = reactor
    run = partial(loop.run, installSignalHandlers=False)
    threading.Thread(target=run, name="vnc", daemon=True).start()
    return loop


class _Client(VNCDoToolClient):  # type: ignore[misc]
    def vncConnectionMade(self) -> None:  # noqa: N802
        super().vncConnectionMade()
        # Black and whole, so that an update of a part of it lies where it belongs.
        self.updateDesktopSize(self.width, self.height)
        self.refreshScreen().addCallback(self.factory.keep)


class _Factory(VNCDoToolFactory):  # type: ignore[misc]
    """Gets one picture, or the reason why there is none, into `answer`; all in the event loop's thread."""

    protocol = _Client
    noisy = False
    # These would be answered by updates that hold no picture.
    qemu_extended_key = pseudodesktop = last_rect = False

    def __init__(self, password: str | None) -> None:
        super().__init__()
        self.password = password
        self.answer = Future[Frame]()
        self.transport: Any = None

    def adopt(self, connected: socket.socket) -> None:
        with connected:
            loop = _event_loop()
            self.transport = loop.adoptStreamConnection(connected.fileno(), connected.family, self)

    def keep(self, client: _Client) -> None:
        if not self.answer.done():
            screen = client.screen
            self.answer.set_result(Frame(screen.width, screen.height, screen.tobytes()))

    def clientConnectionMade(self, protocol: _Client) -> None:  # noqa: N802
        """The base class hands the client out here; nobody takes it."""

    def clientConnectionFailed(self, connector: object, reason: object) -> None:  # noqa: N802
        if not self.answer.done():
            why = getattr(reason, "value", reason)
            self.answer.set_exception(VncError(str(why).rstrip(".") or type(why).__name__))

    clientConnectionLost = clientConnectionFailed  # noqa: N815

    def hang_up(self) -> None:
        if self.transport:
            self.transport.abortConnection()
