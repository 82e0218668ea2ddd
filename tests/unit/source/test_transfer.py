"""Servers that do harm, on loopback: one clear error each, no partial file taken, and nothing that goes on for ever."""

import gzip
import hashlib
import http.server
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import files
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.source import address, fetch, mirrors, transfer

CONTENT = random.Random(13).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PIN = Pin("pool/x", SHA256, size=len(CONTENT), name="thing")
QUICK = transfer.Limits(connect_s=2, silence_s=0.5, total_s=1.5, window_s=0.4, window_bytes=1000)
# No fault may take longer; what ends by itself takes a fraction of it.
PATIENCE_S = 8.0


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the name of the fault in the first folder of the path."""

    sent = 0
    asked = 0

    def do_GET(self) -> None:
        Handler.asked += 1
        with suppress(OSError):
            self._faults()[self.path.split("/")[1]]()

    do_HEAD = do_GET  # noqa: N815

    def _faults(self) -> dict[str, Callable[[], None]]:
        page = b"<!DOCTYPE html><title>Log in</title>"
        zipped = gzip.compress(CONTENT)
        return {
            "good": lambda: self._answer(CONTENT),
            "endless": self._endless,
            "endless-redirect": lambda: self._endless(302, Location="/endless-redirect/pool/x"),
            "drip": self._drip,
            "silent": lambda: time.sleep(2),
            "gzip": lambda: self._answer(zipped, Content_Encoding="gzip"),
            "short": lambda: self._answer(CONTENT[:-1]),
            "long": lambda: self._answer(CONTENT + b"x"),
            "cut": lambda: self._answer(CONTENT[:-1000], len(CONTENT)),
            "huge": lambda: self._answer(CONTENT, 10**17),
            "not-a-size": lambda: self._answer(CONTENT, "9" * 5000),
            "flipped": lambda: self._answer(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])),
            "page": lambda: self._answer(page, Content_Type="text/html; charset=utf-8"),
            "redirect": lambda: self._answer(b"", status=302, Location="/redirect/pool/x"),
            "redirect-file": lambda: self._answer(b"", status=302, Location="file:///etc/passwd"),
            "redirect-label": lambda: self._answer(b"", status=302, Location=f"http://{'a' * 300}.x/"),
            "403": lambda: self.send_error(403),
            "404": lambda: self.send_error(404),
            "500": lambda: self.send_error(500),
            "503": lambda: self.send_error(503, "closed\x1b[31m"),
            "range": lambda: self._answer(CONTENT[7:], status=206, Content_Range="bytes 7-9/9"),
            "no-range": lambda: self._answer(CONTENT, status=206, Content_Range="items 1"),
            "closed": self.connection.close,
            "nonsense": lambda: void(self.wfile.write(b"\x00\xff what\r\n\r\n")),
        }

    def _answer(
        self, content: bytes, length: int | str | None = None, status: int = 200, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _endless(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        while True:
            Handler.sent += self.wfile.write(bytes(1 << 16))

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        for byte in CONTENT:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        return


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def void(_: object) -> None:
    return


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fetch, "TRIES", 2)
    monkeypatch.setattr(transfer, "LIMITS", QUICK)
    Handler.sent = Handler.asked = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads, running.block_on_close = True, False
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


FAULTS = {
    "endless": "it has more than the 300000 bytes that it may have",
    "endless-redirect": "more than 5 redirects",
    "drip": "it is too slow: ",
    "silent": "timed out",
    "gzip": "it came with Content-Encoding gzip, which was not requested",
    "short": "it has 299999 bytes instead of the 300000 that are pinned",
    "long": "it has 300001 bytes instead of the 300000 that are pinned",
    "cut": "it ended after 299000 of 300000 bytes",
    "huge": "it has 100000000000000000 bytes instead of",
    "flipped": "its sha256 is ",
    "page": "a web page came instead of the file: a proxy may be in between",
    "redirect": "more than 5 redirects",
    "redirect-file": "file:///etc/passwd: it must begin with http",
    "redirect-label": "a part of its host is longer than 63 characters",
    "403": "403 Forbidden",
    "404": "404 Not Found",
    "500": "500 Internal Server Error",
    "503": "503 closed\\x1b[31m",
    "range": "it sent the file from byte 7 on, not from 0",
    "no-range": "it answered with a range that cannot be read",
    "closed": "",
    "nonsense": "",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_network_is_one_clear_error_and_nothing_is_taken(server: str, fault: str) -> None:
    before = time.monotonic()
    with pytest.raises(UserError) as caught:
        fetch.fetch(PIN, [f"{server}/{fault}"], lambda _: None)
    assert time.monotonic() - before < PATIENCE_S
    lines = caught.value.message.splitlines()
    assert lines[0] == f"cannot fetch thing (sha256 {SHA256}):"
    assert len(lines) == 2 and f"/{fault}/pool/x: " in lines[1] and FAULTS[fault] in lines[1]
    assert lines[1].isprintable() and not lines[1].endswith(": ")
    assert not fetch.is_here(SHA256)


def test_an_endless_body_is_stopped_when_it_has_the_pinned_size(server: str) -> None:
    with pytest.raises(UserError):
        fetch.fetch(PIN, [f"{server}/endless"], lambda _: None)
    # What a socket's buffers hold has left the server as well.
    assert Handler.sent < 20 << 20
    assert [one.name for one in fetch.local(SHA256).parent.iterdir()] == [f"{SHA256}.lock"]


def test_a_place_that_refuses_is_asked_once_and_one_that_fails_again(server: str) -> None:
    for fault, times in (("403", 1), ("gzip", 1), ("long", 1), ("500", 2), ("closed", 2)):
        Handler.asked = 0
        with pytest.raises(UserError):
            fetch.fetch(PIN, [f"{server}/{fault}"], lambda _: None)
        assert (fault, Handler.asked) == (fault, times)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_place_makes_up_for_any_fault(server: str, fault: str) -> None:
    found = fetch.fetch(PIN, [f"{server}/{fault}", f"{server}/good"], lambda _: None)
    assert files.digest(found) == SHA256


def test_what_was_cut_is_never_taken_for_the_whole(server: str) -> None:
    pin = replace(PIN, size=0)
    with pytest.raises(UserError):
        fetch.fetch(pin, [f"{server}/cut"], lambda _: None)
    assert not fetch.is_here(SHA256)


@pytest.mark.parametrize(
    "fault", ["endless", "drip", "gzip", "cut", "page", "redirect", "404", "503", "huge"]
)
def test_an_index_is_bounded_as_well(server: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_INDEX_BYTES", 400_000)
    with pytest.raises(UserError) as caught:
        fetch.fetch_bytes("pool/x", [f"{server}/{fault}"])
    assert len(caught.value.message.splitlines()) == 2
    assert digest(fetch.fetch_bytes("pool/x", [f"{server}/{fault}", f"{server}/good"])) == SHA256


@pytest.mark.parametrize("fault", ["endless", "drip", "cut"])
def test_a_stream_breaks_off(server: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_BYTES", 400_000)
    before = time.monotonic()
    with (
        fetch.stream("pool/x", [f"{server}/{fault}"]) as found,
        pytest.raises(OSError, match=r"more than|too slow|ended after"),
    ):
        for _ in found.blocks:
            pass
    assert time.monotonic() - before < PATIENCE_S


def test_the_time_in_all_is_limited(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LIMITS", replace(QUICK, window_bytes=0, total_s=0.5))
    with pytest.raises(UserError, match=r"it took more than 0\.5 s"):
        fetch.fetch(PIN, [f"{server}/drip"], lambda _: None)


def test_the_time_that_the_receiver_takes_is_not_the_servers(server: str) -> None:
    with fetch.stream("pool/x", [f"{server}/good"]) as found:
        content = b""
        for block in found.blocks:
            content += block
            time.sleep(0.15)
    assert digest(content) == SHA256


@pytest.mark.parametrize("size", ["huge", "not-a-size"])
def test_a_size_that_is_none_is_not_believed(server: str, size: str) -> None:
    if size == "huge":
        with pytest.raises(UserError, match="may have"):
            fetch.fetch_bytes("pool/x", [f"{server}/{size}"])
    else:
        with transfer.opened(f"{server}/{size}/pool/x") as answer:
            assert answer.size is None


@pytest.mark.parametrize(
    "word", ["alice:secret@", "alice:se/cret@", "alice:sec@ret@", "secret@", "alice:%20secret@"]
)
def test_no_message_has_the_password_of_a_url(server: str, word: str) -> None:
    place = server.replace("://", f"://{word}") + "/404"
    for act in (
        lambda: fetch.fetch(PIN, [place], lambda _: None),
        lambda: fetch.fetch_bytes("pool/x", [place]),
        lambda: fetch.stream("pool/x", [place]).__enter__(),
    ):
        with pytest.raises(UserError) as caught:
            act()
        assert "***@127.0.0.1" in str(caught.value)
        assert "cret" not in str(caught.value) and "alice" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://one/debian", ""),
        ("https://[::1]:8080/debian", ""),
        (f"http://{'a' * 300}.example/debian", "longer than 63"),
        (f"http://{'a.' * 140}example/debian", "longer than 63"),
        ("http://a..b/debian", "is empty"),
        ("http:///debian", "names no host"),
        ("one/debian", "must begin with"),
        ("ftp://one/debian", "must begin with"),
        ("http://one:99999/debian", "cannot be read"),
        ("http://[::1/debian", "cannot be read"),
        ("http://one/\x1b[31m", "names no host"),
    ],
)
def test_addresses_that_name_no_archive(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why in address.fault(url) and bool(why) == bool(address.fault(url))
    monkeypatch.setenv("HOSTWRIGHT_MIRROR", url)
    if why:
        with pytest.raises(UserError, match=r"HOSTWRIGHT_MIRROR: .*not the address of an archive"):
            mirrors.find_mirrors()
    else:
        assert mirrors.find_mirrors() == [url]
