"""A Debian archive on loopback for an installer in an emulated machine. It keeps every file that it served.

    guest --> /debian/<path> --> folder, or mirrors --> folder
              /hostwright/<name> --> own files

Files of the pool and files named by their digest never change. Each depot that is online fetches the other indexes
once more. apt and debootstrap check what they receive. The depot checks digests as well, so that the folder never
keeps a damaged file: it takes them from the name of an index, or from an index that it served.
"""

import hashlib
import os
import re
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from email.utils import formatdate, mktime_tz, parsedate_tz
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from hostwright.base.errors import UserError
from hostwright.source import fetch
from hostwright.source.archive import OURS, Index, archive_path, is_fixed
from hostwright.source.ranges import describe, parse_range

OFFLINE_HINT = "run once without offline=yes"

_NAMED_BY_DIGEST = re.compile(r"dists/.*/by-hash/SHA256/([0-9a-f]{64})")


@dataclass(frozen=True)
class Counts:
    """The files and bytes that were served so far; `cached` files needed no mirror."""

    files: int = 0
    bytes: int = 0
    cached: int = 0


class DamagedError(OSError):
    """A complete file whose digest is wrong."""


class Depot:
    """The server; it runs as long as the `with` block."""

    def __init__(
        self,
        folder: Path,
        mirrors: Sequence[str],
        offline: bool = False,
        ours: Mapping[str, bytes] | None = None,
    ) -> None:
        """`folder` is shared by all depots; `ours` are the files below /hostwright/."""
        self.folder, self.mirrors, self.offline, self.ours = folder, tuple(mirrors), offline, dict(ours or {})
        self._lock = threading.Lock()
        self._counts = Counts()
        self._failures: list[str] = []
        self._current: set[str] = set()
        self._takers: dict[str, threading.Lock] = {}
        self._index = Index()
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> "Depot":
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="depot", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()

    @property
    def counts(self) -> Counts:
        """What was served so far."""
        with self._lock:
            return self._counts

    @property
    def failures(self) -> tuple[str, ...]:
        """The files that could not be served, each once, with the reason."""
        with self._lock:
            return tuple(self._failures)

    def cut(self) -> None:
        """Simulate a network failure: close every connection, and each new one."""
        self._server.cut()

    def mend(self) -> None:
        """Serve again after `cut`."""
        self._server.is_cut = False

    def find(self, path: str) -> Path | None:
        """The file in the folder, unless it must be fetched again."""
        place = self.folder / path
        with self._lock:
            is_current = self.offline or is_fixed(path) or path in self._current
        if not (is_current and place.is_file()):
            return None
        self._index.learn(path, place)
        return place

    @contextmanager
    def taking(self, path: str) -> Iterator[None]:
        """Lock a path, so that one thread fetches the file and the others then find it in the folder."""
        with self._lock:
            taker = self._takers.setdefault(path, threading.Lock())
        with taker:
            yield

    @contextmanager
    def take(self, path: str) -> Iterator[fetch.Stream]:
        """A file from the mirrors, as a stream; it is kept once it is complete.

        The last block is only delivered if the digest is right. Raises MissingError if the depot is offline.
        """
        if self.offline:
            raise fetch.MissingError(f"it is not in {self.folder}", OFFLINE_HINT)
        with fetch.stream(path, self.mirrors) as stream, _beside(self.folder / path) as new:
            yield replace(stream, blocks=self._keep(path, stream, new))

    def count(self, files: int = 0, size: int = 0, cached: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            old = self._counts
            self._counts = Counts(old.files + files, old.bytes + size, old.cached + cached)

    def fail(self, path: str, why: str) -> None:
        """Record a file that could not be served."""
        with self._lock:
            if (line := f"{path}: {why}") not in self._failures:
                self._failures.append(line)

    def _keep(self, path: str, stream: fetch.Stream, new: Path) -> Iterator[bytes]:
        digest, held = hashlib.sha256(), b""
        with new.open("wb") as sink:
            for block in stream.blocks:
                sink.write(block)
                digest.update(block)
                if held:
                    yield held
                held = block
        self._check(path, digest.hexdigest())
        self._place(path, new, stream.modified)
        if held:
            yield held

    def _check(self, path: str, digest: str) -> None:
        named = _NAMED_BY_DIGEST.fullmatch(path)
        wanted = named[1] if named else self._index.digest(path)
        if wanted and digest != wanted:
            raise DamagedError(f"its sha256 is {digest}, but should be {wanted}")

    def _place(self, path: str, new: Path, modified: str | None) -> None:
        if modified and (parsed := parsedate_tz(modified)):
            os.utime(new, (mktime_tz(parsed),) * 2)
        new.replace(self.folder / path)
        with self._lock:
            self._current.add(path)
        self._index.learn(path, self.folder / path)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A temporary file of its own for each writer, in the folder of `target`.

    It is removed at the end unless it was moved.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".", dir=target.parent)
    os.close(descriptor)
    new = Path(name)
    new.chmod(0o644)
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)


class _Server(socketserver.ThreadingTCPServer):
    """The HTTP server; http.server's own class asks the resolver for its name."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, depot: Depot) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.depot = depot
        self.is_cut = False
        self._open: set[socket.socket] = set()
        self._opening = threading.Lock()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401
        """Note the connection; refuse it if the network is cut."""
        with self._opening:
            if not self.is_cut:
                self._open.add(request)
            return not self.is_cut

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """Forget the connection and close it."""
        with self._opening:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        with self._opening:
            self.is_cut = True
            for request in self._open:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection; the method names are those of http.server."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "hostwright", ""

    def handle(self) -> None:
        """Serve the connection until it ends or breaks."""
        # The client closed the connection, or the network was cut.
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Serve one of the project's own files or a path of the archive; 404 for any other path."""
        depot, name = self.server.depot, unquote(urlsplit(self.path).path)
        self._has_begun = False
        if name.startswith(OURS):
            self._send_ours(name.removeprefix(OURS))
        elif path := archive_path(self.path):
            try:
                self._send(path)
            except ConnectionError:
                raise
            except (UserError, OSError) as error:
                self._refuse(path, error)
        else:
            depot.fail(name, "not a path of an archive")
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the depot records failures."""

    def _send(self, path: str) -> None:
        depot = self.server.depot
        with depot.taking(path):
            if (file := depot.find(path)) is None:
                with depot.take(path) as stream:
                    if self.command == "GET":
                        self._pass_on(stream)
                        return
                    for _ in stream.blocks:
                        pass
                file = depot.folder / path
        self._send_file(file)

    def _refuse(self, path: str, error: UserError | OSError) -> None:
        """Record the failure. The client gets a status, or a connection that breaks off."""
        message = error.message if isinstance(error, UserError) else str(error)
        lines = [line.strip() for line in message.splitlines()]
        hint = OFFLINE_HINT if self.server.depot.offline else ""
        self.server.depot.fail(path, "; ".join(filter(None, [*(lines[1:] or lines), hint])))
        if self._has_begun:
            self.close_connection = True
        else:
            is_missing = isinstance(error, fetch.MissingError)
            self.send_error(HTTPStatus.NOT_FOUND if is_missing else HTTPStatus.BAD_GATEWAY)

    def _send_ours(self, name: str) -> None:
        content = self.server.depot.ours.get(name)
        if content is None:
            self.server.depot.fail(OURS + name, "Hostwright has no such file")
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._begin(HTTPStatus.OK, {"Content-Length": str(len(content))})
        if self.command == "GET":
            self.wfile.write(content)

    def _pass_on(self, stream: fetch.Stream) -> None:
        """Send blocks as they arrive: a client gives up on a server that is silent for half a minute."""
        is_chunked = stream.size is None and self.request_version != "HTTP/1.0"
        how = {"Transfer-Encoding": "chunked"} if is_chunked else {"Connection": "close"}
        length = how if stream.size is None else {"Content-Length": str(stream.size)}
        self._begin(
            HTTPStatus.OK, {**length, **({"Last-Modified": stream.modified} if stream.modified else {})}
        )
        self.server.depot.count(files=1)
        for block in stream.blocks:
            self.server.depot.count(size=len(block))
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if is_chunked else block)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send_file(self, file: Path) -> None:
        with file.open("rb") as source:
            facts = os.fstat(source.fileno())
            modified = formatdate(int(facts.st_mtime), usegmt=True)
            if self._has_it(int(facts.st_mtime)):
                self._begin(HTTPStatus.NOT_MODIFIED, {"Last-Modified": modified})
                return
            ranged = self._wanted_range(facts.st_size, modified)
            start, end = ranged or (0, facts.st_size)
            status, fields = describe(ranged, facts.st_size)
            length = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
            self.server.depot.count(files=1, size=end - start, cached=1)
            self._begin(status, {"Last-Modified": modified, **length, **fields})
            if self.command == "GET" and end > start:
                self.connection.sendfile(source, start, end - start)

    def _begin(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self._has_begun = True

    def _has_it(self, modified: int) -> bool:
        asked = parsedate_tz(self.headers.get("If-Modified-Since"))
        return asked is not None and modified <= mktime_tz(asked)

    def _wanted_range(self, size: int, modified: str) -> tuple[int, int] | None:
        # With If-Range the client wants the rest of the version that it has, and of no newer one.
        if self.headers.get("If-Range", modified) != modified:
            return None
        return parse_range(self.headers.get("Range", ""), size)
