"""QEMU's monitor, spoken to over a unix socket: the only module that imports qemu.qmp.

    execute(), send_keys() --> event loop (its own thread) <--> QEMU
    wait_event(), events() <-- what QEMU reports by itself

All methods may be called from any thread. qmp-spec and qemu-qmp-ref(7) of QEMU.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from hostwright.base.errors import UserError
from hostwright.base.files import short_name
from hostwright.base.times import limit

if TYPE_CHECKING:
    from qemu.qmp import Message


CONNECT_LIMIT_S = limit(10.0)
COMMAND_LIMIT_S = limit(30.0)
CLOSE_LIMIT_S = limit(5.0)
_RETRY_S = 0.05

_T = TypeVar("_T")


class MonitorError(UserError):
    """QEMU is not there any more, or does not answer."""


@dataclass(frozen=True)
class Event:
    """What QEMU reports by itself: name, data, and the time on this machine's clock in seconds since 1970."""

    name: str
    data: Mapping[str, object]
    seconds: float


class Monitor:
    """A connection to the monitor of one running QEMU."""

    def __init__(self, socket: Path, limit_s: float = CONNECT_LIMIT_S) -> None:
        """Connect to `socket`, waiting until QEMU has made it; raises MonitorError when the time is over."""
        from qemu.qmp import QMPClient

        self._client = QMPClient()
        self._history: list[Event] = []
        self._waiting: list[Event] = []
        self._has_ended = False
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._disconnecting = asyncio.Lock()
        self._follower: Future[None] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        try:
            self._call(self._connect(socket, limit_s), limit_s + CLOSE_LIMIT_S, f"connecting to {socket}")
        except BaseException:
            self.close()
            raise
        self._follower = asyncio.run_coroutine_threadsafe(self._follow(), self._loop)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_alive(self) -> bool:
        """Whether QEMU still holds the connection."""
        with self._changed:
            return not self._has_ended

    def execute(self, command: str, /, **arguments: object) -> object:
        """Run a command and return its answer; a name with a dash is given as `**{"cpu-index": 0}`.

        Raises UserError with QEMU's own words where it refuses, MonitorError where it is gone.
        """
        return self._execute(command, arguments, COMMAND_LIMIT_S)

    def events(self) -> tuple[Event, ...]:
        """All events since the connection was made."""
        with self._changed:
            return tuple(self._history)

    def wait_event(self, name: str, limit_s: float) -> Event:
        """The oldest event of this name that was not handed out yet; waits for one if need be.

        Raises MonitorError when the time is over or QEMU ends first.
        """
        deadline = time.monotonic() + limit_s
        with self._changed:
            while True:
                if found := next((one for one in self._waiting if one.name == name), None):
                    self._waiting.remove(found)
                    return found
                if self._has_ended:
                    raise MonitorError(f"QEMU ended before it reported {name}")
                if not self._changed.wait(deadline - time.monotonic()):
                    raise MonitorError(f"QEMU reported no {name} within {limit_s:g} s")

    def wait_end(self, limit_s: float) -> None:
        """Wait until QEMU closes the connection, as it does when it ends; raises MonitorError if it does not."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_ended, limit_s):
                raise MonitorError(f"QEMU did not end within {limit_s:g} s")

    def send_keys(self, chords: Sequence[str]) -> None:
        """Press keys one chord after another: `ret`, `ctrl-alt-f4`; names are QKeyCode's."""
        for chord in chords:
            self.execute("send-key", keys=plan_chord(chord))

    def screendump(self, file: str, limit_s: float) -> None:
        """Write the first display to `file`, a path as QEMU sees it; raises like `execute`."""
        self._execute("screendump", {"filename": file}, limit_s)

    def powerdown(self) -> None:
        """Press the power button; the guest decides what follows."""
        self.execute("system_powerdown")

    def quit(self) -> None:
        """End QEMU at once; that it has ended already is fine."""
        with suppress(MonitorError):
            self.execute("quit")

    def close(self) -> None:
        """End the connection, not QEMU; a second call does nothing."""
        if self._loop.is_closed():
            return
        with suppress(MonitorError):
            self._call(self._disconnect(), CLOSE_LIMIT_S, "closing")
        with suppress(TimeoutError):
            if self._follower:
                self._follower.result(CLOSE_LIMIT_S)
        self._end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_LIMIT_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _execute(self, command: str, arguments: Mapping[str, object], limit_s: float) -> object:
        from qemu.qmp import ExecuteError, QMPError

        try:
            return self._call(self._client.execute(command, {**arguments} or None), limit_s, command)
        except ExecuteError as error:
            raise UserError(f"QEMU refused {command}: {error}") from None
        except QMPError:
            raise MonitorError(f"QEMU ended before it answered {command}") from None

    def _call(self, task: Coroutine[Any, Any, _T], limit_s: float, what: str) -> _T:
        """Run `task` in the loop's thread and wait for it here."""
        if self._loop.is_closed():
            task.close()
            raise MonitorError(f"the connection to QEMU was closed before {what}")
        future = asyncio.run_coroutine_threadsafe(task, self._loop)
        try:
            return future.result(limit_s)
        except TimeoutError:
            future.cancel()
            raise MonitorError(f"QEMU did not answer within {limit_s:g} s: {what}") from None

    async def _connect(self, socket: Path, limit_s: float) -> None:
        from qemu.qmp import ConnectError

        deadline = time.monotonic() + limit_s
        reason = "it accepts and says nothing"
        while (left := deadline - time.monotonic()) > 0:
            try:
                with short_name(socket) as name:
                    return await asyncio.wait_for(self._client.connect(name), left)
            except (ConnectError, FileNotFoundError) as error:
                cause = getattr(error, "exc", error)
                reason = getattr(cause, "strerror", None) or type(cause).__name__
                await asyncio.sleep(_RETRY_S)
            except AssertionError:
                # The library takes it for granted that QEMU lives for a moment longer.
                raise MonitorError(f"QEMU ended as soon as it was connected to at {socket}") from None
            except TimeoutError:
                break
        raise MonitorError(f"no QEMU monitor at {socket} within {limit_s:g} s: {reason}")

    async def _follow(self) -> None:
        """Collect events until the connection ends.

        The listener is woken by the last event before this is woken by the end, so that none is lost.
        """
        from qemu.qmp import Runstate

        listener = asyncio.create_task(self._listen())
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        listener.cancel()
        await self._disconnect()
        self._end()

    async def _listen(self) -> None:
        while True:
            self._add(await self._client.events.get())

    async def _disconnect(self) -> None:
        from qemu.qmp import QMPError, Runstate

        async with self._disconnecting:
            if self._client.runstate is Runstate.IDLE:
                return
            # What ended the connection is raised here: usually EOFError.
            with suppress(QMPError, EOFError, OSError):
                await self._client.disconnect()

    def _add(self, message: "Message") -> None:
        event = _read_event(message)
        with self._changed:
            self._history.append(event)
            self._waiting.append(event)
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


def plan_chord(chord: str) -> list[dict[str, str]]:
    """The `keys` of send-key for keys pressed together: `ctrl-alt-f4`."""
    return [{"type": "qcode", "data": key} for key in chord.split("-")]


def _read_event(message: "Message") -> Event:
    data, stamp = message.get("data", {}), message["timestamp"]
    assert isinstance(data, Mapping) and isinstance(stamp, Mapping)
    return Event(str(message["event"]), data, stamp["seconds"] + stamp["microseconds"] / 1e6)
