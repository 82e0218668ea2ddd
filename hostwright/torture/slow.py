"""An archive on loopback that serves files of the cache slowly, so that a fetch can be struck.

GET /<path in an archive> --> the file, block by block, with ranges
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from hostwright.base.pin import Pin
from hostwright.source import fetch
from hostwright.source.ranges import describe, parse_range

_BLOCK = 1 << 15


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, files: dict[str, Path], seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.seconds = files, seconds


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Send a file or the rest of it; a client that was killed ends the answer."""
        file = self.server.files.get(self.path.lstrip("/"))
        if file is None or not file.exists():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = file.stat().st_size
        ranged = parse_range(self.headers.get("Range", ""), size)
        start, end = ranged or (0, size)
        status, fields = describe(ranged, size)
        self.send_response(status)
        for name, value in {"Content-Length": str(end - start), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError), file.open("rb") as source:
            self._send(source, start, end, self.server.seconds * _BLOCK / max(size, 1))

    def _send(self, source: BinaryIO, start: int, end: int, pause_s: float) -> None:
        source.seek(start)
        for place in range(start, end, _BLOCK):
            self.wfile.write(source.read(min(_BLOCK, end - place)))
            time.sleep(pause_s)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def places(pins: Iterable[Pin]) -> dict[str, Path]:
    """The file in the cache of each pin, by its path in an archive."""
    return {pin.path: fetch.local(pin.sha256) for pin in pins}


@contextmanager
def archive(found: dict[str, Path], seconds: float = 0.0) -> Iterator[str]:
    """The address of an archive that has the files of `found`; each takes about so many seconds."""
    with _Server(found, seconds) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
