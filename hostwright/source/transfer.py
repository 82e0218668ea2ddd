"""HTTP, with limits: whatever a server does, a transfer ends, and takes no more bytes than were meant.

    opened(place) --> Answer --blocks(most)--> bytes as the server has them, never decoded
                                           \\-> TransferError; RefusedError where another try would not help

The only module that imports requests.
"""

import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from hostwright.base.texts import plain
from hostwright.base.times import limit
from hostwright.source.address import fault, mask

if TYPE_CHECKING:
    from http.client import HTTPResponse

    import requests

_MOST_REDIRECTS = 5
# Statuses of a server that may answer otherwise in a moment.
_PASSING = (408, 429)
# What a server may say of a file that is stored in this form.
_STORED = {"gzip": (".gz", ".tgz"), "x-gzip": (".gz", ".tgz")}
_LONGEST_REASON = 200
# Small, so that a slow mirror is seen to give something.
_BLOCK = 1 << 16
_threads = threading.local()


@dataclass(frozen=True)
class Limits:
    """Seconds to connect, of silence, until the head of the answer is whole, and in all; a window in seconds, and the
    bytes that must come in each.
    """

    connect_s: float = limit(10)
    silence_s: float = limit(60)
    head_s: float = limit(120)
    total_s: float = limit(7200)
    window_s: float = limit(60)
    window_bytes: int = 60 << 10


LIMITS = Limits()


class TransferError(OSError):
    """Why a transfer failed, in a few words that are safe to show."""


class RefusedError(TransferError):
    """A failure that another try at the same place would not mend."""


class Answer:
    """The head of an answer, and its body."""

    def __init__(self, answer: "requests.Response", limits: Limits) -> None:
        self._answer, self._limits = answer, limits
        # What is missing is counted here, where it can be named.
        answer.raw.enforce_content_length = False
        self.status = answer.status_code
        self.size = parse_size(answer.headers.get("Content-Length", ""))
        self.modified = answer.headers.get("Last-Modified")

    @property
    def start(self) -> int:
        """The first byte that it sends: not 0 in the answer to a Range header that is honoured."""
        if self.status != 206:
            return 0
        unit, _, rest = self._answer.headers.get("Content-Range", "").partition(" ")
        start = parse_size(rest.partition("-")[0])
        if unit != "bytes" or start is None:
            raise RefusedError("it answered with a range that cannot be read")
        return start

    def blocks(self, most: int) -> Iterator[bytes]:
        """The body, as it comes; TransferError if it has more than `most` bytes, is cut or comes too slowly."""
        if self.size is not None and self.size > most:
            raise RefusedError(f"it has {self.size} bytes, and may have {most}")
        pace, seen = _Pace(self._limits), 0
        while block := pace.read(self._read):
            seen += len(block)
            if seen > most:
                raise RefusedError(f"it has more than the {most} bytes that it may have")
            yield block
        if self.size is None and not seen:
            # A head that is cut reads like a whole one with fewer lines.
            raise TransferError("it ended before the first byte")
        if self.size is not None and seen < self.size:
            raise TransferError(f"it ended after {seen} of {self.size} bytes")

    def _read(self) -> bytes:
        with _explained():
            # read1() returns what is there: read() would wait for a whole block of a server that drips.
            block: bytes = self._answer.raw.read1(_BLOCK, decode_content=False)
            return block


class _Pace:
    """The time spent waiting for the server; what the receiver needs between two blocks does not count."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._spent = self._window_s = 0.0
        self._window_bytes = 0

    def read(self, read: Callable[[], bytes]) -> bytes:
        """The next block; TransferError if time is up or the server is too slow."""
        before = time.monotonic()
        block = read()
        spent = time.monotonic() - before
        self._spent += spent
        self._window_s += spent
        self._window_bytes += len(block)
        if self._spent > self._limits.total_s:
            raise RefusedError(f"it took more than {self._limits.total_s:g} s")
        if self._window_s > self._limits.window_s:
            if self._window_bytes < self._limits.window_bytes:
                raise RefusedError(f"it is too slow: {self._window_bytes} bytes in {self._window_s:.0f} s")
            self._window_s, self._window_bytes = 0.0, 0
        return block


@contextmanager
def opened(place: str, start: int = 0, limits: Limits | None = None) -> Iterator[Answer]:
    """The answer to a request for a file from byte `start` on; raises TransferError if there is none to use.

    An answer that begins elsewhere says so, and one with status 416 has no more bytes to give.
    """
    limits = limits or LIMITS
    wanted = {"Range": f"bytes={start}-"} if start else {}
    with closing(_request("GET", place, limits, wanted)) as answer:
        if not (start and answer.status_code == 416):
            _check(answer)
        yield Answer(answer, limits)


def probe(place: str) -> None:
    """Ask whether a file is there; raises TransferError if not."""
    with closing(_request("HEAD", place, LIMITS, {})) as answer:
        _check_status(answer)


def parse_size(text: str) -> int | None:
    """A number of bytes in a header; None if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def session() -> "requests.Session":
    """The session of this thread: its connections are used again, and a session is not safe between threads."""
    import requests
    import urllib3.connection

    if not hasattr(_threads, "session"):
        urllib3.connection.HTTPConnection.response_class = _timed_head()
        _threads.session = requests.Session()
        # It reads the whole body of an answer that redirects, whatever its size, even if it is to follow none.
        _threads.session.resolve_redirects = lambda *_, **__: iter(())
    found: requests.Session = _threads.session
    return found


@functools.cache
def _timed_head() -> "type[HTTPResponse]":
    """The class that reads the head of an answer: http.client's own would read a drip, or 100 Continue, for ever."""
    from http.client import HTTPResponse

    class Head(HTTPResponse):
        def __init__(self, sock: socket.socket, *words: Any, **named: Any) -> None:  # noqa: ANN401
            super().__init__(sock, *words, **named)
            self._sock = sock

        def begin(self) -> None:
            is_over = threading.Event()

            def end() -> None:
                is_over.set()
                with suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)

            timer = threading.Timer(getattr(_threads, "head_s", LIMITS.head_s), end)
            timer.daemon = True
            timer.start()
            try:
                super().begin()
            finally:
                timer.cancel()
                # A head that is cut reads like a whole one, or as one that cannot be read.
                if is_over.is_set():
                    raise TimeoutError("timed out")

    return Head


def _request(method: str, place: str, limits: Limits, wanted: dict[str, str]) -> "requests.Response":
    """The answer of the last place that redirects lead to."""
    headers = {"Accept-Encoding": "identity", **wanted}
    timeout = (limits.connect_s, limits.silence_s)
    _threads.head_s = limits.head_s
    for _ in range(_MOST_REDIRECTS + 1):
        if why := fault(place):
            raise RefusedError(f"{printable(place)}: {why}")
        with _explained():
            answer = session().request(
                method, place, headers=headers, stream=True, timeout=timeout, allow_redirects=False
            )
        if not answer.is_redirect:
            return answer
        answer.close()
        place = urljoin(place, answer.headers["Location"])
    raise RefusedError(f"more than {_MOST_REDIRECTS} redirects")


def _check(answer: "requests.Response") -> None:
    _check_status(answer)
    path, headers = urlsplit(answer.url).path, answer.headers
    if path.endswith("/"):
        # The name of a folder leads to a list of its files.
        raise RefusedError("404 a folder")
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity" and not path.endswith(_STORED.get(encoding, ())):
        raise RefusedError(f"it came with Content-Encoding {printable(encoding)}, which was not requested")
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise RefusedError("a web page came instead of the file: a proxy may be in between")


def _check_status(answer: "requests.Response") -> None:
    if not answer.ok:
        kind = TransferError if answer.status_code >= 500 or answer.status_code in _PASSING else RefusedError
        raise kind(printable(f"{answer.status_code} {answer.reason}"))


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of requests, and of what it stands on, as TransferErrors."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    try:
        yield
    except (OSError, ValueError, HTTPError, HTTPException) as error:
        raise TransferError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """The innermost cause of an exception, in a few words."""
    inner = [one for one in (getattr(error, "reason", None), *error.args) if isinstance(one, Exception)]
    if inner:
        return _reason(inner[0])
    text = str(error).rsplit(": ", 1)[-1].strip("')>\"") or type(error).__name__
    return "timed out" if "timed out" in text else printable(text)


def printable(text: str) -> str:
    """What a server or a URL says, safe to show: no secrets, no control characters, not too long."""
    return plain(mask(text), _LONGEST_REASON)
