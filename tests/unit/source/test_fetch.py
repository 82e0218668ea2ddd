"""Downloads from a real HTTP server on loopback: checked, resumed, tried in several places."""

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.source import fetch

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /good, a wrong file at /bad; /short ends early once; /plain supports no ranges."""

    asked: ClassVar[list[tuple[str, str | None]]] = []
    short_answers = 0

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if self.path == "/gone":
            self.send_error(404)
        elif self.path == "/bad":
            self._answer(b"something else", None)
        elif self.path == "/short" and not Handler.short_answers:
            Handler.short_answers += 1
            self._answer(CONTENT, None, cut=1000)
        else:
            self._answer(CONTENT, wanted if self.path != "/plain" else None)

    def do_HEAD(self) -> None:
        self.send_response({"/gone": 404, "/closed": 503}.get(self.path, 200))
        self.end_headers()

    def _answer(self, content: bytes, wanted: str | None, cut: int = 0) -> None:
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) - cut])

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    Handler.asked, Handler.short_answers = [], 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def wanted(*places: str) -> Pin:
    return Pin("thing", SHA256, places)


def test_a_file_lands_under_its_digest(server: str) -> None:
    seen: list[int] = []
    assert fetch.fetch(wanted(f"{server}/good"), (), seen.append).read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    assert fetch.is_here(SHA256)


def test_a_file_that_is_here_is_not_asked_for_again(server: str) -> None:
    fetch.fetch_all([wanted(f"{server}/good")], (), lambda _: None)
    fetch.fetch_all([wanted(f"{server}/good")], (), lambda _: None)
    assert len(Handler.asked) == 1


def test_a_wrong_file_is_never_kept_and_the_next_place_is_tried(server: str) -> None:
    assert fetch.fetch(wanted(f"{server}/bad", f"{server}/good"), (), lambda _: None).read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_stopped(server: str) -> None:
    fetch.fetch(wanted(f"{server}/short"), (), lambda _: None)
    path, asked = Handler.asked[1]
    assert path == "/short" and asked is not None
    assert int(asked.removeprefix("bytes=").rstrip("-")) > len(CONTENT) // 2
    assert fetch.local(SHA256).read_bytes() == CONTENT


def test_a_part_of_an_ended_run_is_used(server: str) -> None:
    part = fetch.local(SHA256).with_name(f"{SHA256}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:5000])
    fetch.fetch(wanted(f"{server}/good"), (), lambda _: None)
    assert Handler.asked == [("/good", "bytes=5000-")]


def test_a_server_without_ranges_starts_anew(server: str) -> None:
    part = fetch.local(SHA256).with_name(f"{SHA256}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 5000)
    assert fetch.fetch(wanted(f"{server}/plain"), (), lambda _: None).read_bytes() == CONTENT


def test_failure_names_file_places_and_reasons(server: str) -> None:
    with pytest.raises(UserError) as error:
        fetch.fetch(wanted(f"{server}/gone", f"{server}/bad", "http://127.0.0.1:1/x"), (), lambda _: None)
    message = str(error.value)
    for part in (
        "cannot fetch thing",
        SHA256,
        "/gone: 404",
        "/bad: its sha256 is",
        "127.0.0.1:1",
        "HOSTWRIGHT_MIRROR",
    ):
        assert part in message
    assert not fetch.is_here(SHA256)


def test_what_an_archive_offers_is_asked_of_each(server: str) -> None:
    nobody = "http://127.0.0.1:1"
    assert fetch.is_offered("good", [nobody, server])
    assert not fetch.is_offered("gone", [server, server])
    with pytest.raises(UserError, match=r"cannot ask for closed:\n.*503"):
        fetch.is_offered("closed", [server])
    with pytest.raises(UserError, match="cannot ask for gone"):
        fetch.is_offered("gone", [server, nobody])


def test_each_thread_keeps_one_session() -> None:
    with ThreadPoolExecutor(1) as pool:
        others = [pool.submit(fetch._session).result() for _ in range(2)]
    assert fetch._session() is fetch._session()
    assert others[0] is others[1]
    assert others[0] is not fetch._session()
