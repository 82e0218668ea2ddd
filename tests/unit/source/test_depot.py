"""The archive on loopback, with another server as its mirror."""

import hashlib
import http.client
import http.server
import lzma
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright.source import archive, ranges, transfer
from hostwright.source.depot import Counts, Depot

DEB = bytes(range(256)) * 4096
DEB_PATH = "pool/main/h/hello/hello_2.10-5+b1_amd64.deb"
PACKAGES = lzma.compress(
    f"Package: hello\nFilename: {DEB_PATH}\nSize: {len(DEB)}\nSHA256: {hashlib.sha256(DEB).hexdigest()}\n".encode()
)
INDEX_PATH = f"dists/trixie/main/binary-amd64/by-hash/SHA256/{hashlib.sha256(PACKAGES).hexdigest()}"
RELEASE_PATH = "dists/trixie/InRelease"
MODIFIED = "Fri, 02 Jan 2026 03:04:05 GMT"


@dataclass
class Mirror:
    """An archive: its files, the requests that it received, and its faults."""

    files: dict[str, bytes] = field(
        default_factory=lambda: {DEB_PATH: DEB, INDEX_PATH: PACKAGES, RELEASE_PATH: b"release 1"}
    )
    asked: list[str] = field(default_factory=list)
    tells_length: bool = True
    breaks_off_at: int | None = None
    gap_s: float = 0.0
    status: int = 200
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        path = self.path.removeprefix("/debian/")
        self.mirror.asked.append(path)
        if path.endswith("/") or any(name.startswith(f"{path}/") for name in self.mirror.files):
            self._send_folder(path)
            return
        if self.mirror.status != 200 or path not in self.mirror.files:
            self.send_error(self.mirror.status if self.mirror.status != 200 else 404)
            return
        self.send_response(200)
        content = self.mirror.files[path]
        if self.mirror.tells_length:
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Last-Modified", MODIFIED)
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half][: self.mirror.breaks_off_at])
        time.sleep(self.mirror.gap_s)
        if self.mirror.breaks_off_at is None:
            self.wfile.write(content[half:])

    def _send_folder(self, path: str) -> None:
        self.send_response(200 if path.endswith("/") else 301)
        self.send_header("Location", f"/debian/{path}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    class Bound(Handler):
        mirror = Mirror()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bound) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        Bound.mirror.url = f"http://127.0.0.1:{running.server_port}/debian"
        yield Bound.mirror
        running.shutdown()


@pytest.fixture
def running(tmp_path: Path, mirror: Mirror) -> Iterator[Depot]:
    with Depot(tmp_path / "archive", [mirror.url], ours={"preseed.cfg": b"d-i"}) as one:
        yield one


@contextmanager
def offline(folder: Path) -> Iterator[Depot]:
    with Depot(folder, [], offline=True) as one:
        yield one


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes
    headers: dict[str, str]


def ask(one: Depot, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): v for name, v in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), dict(answer.getheaders()))
    finally:
        connection.close()


def kept(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


# What is given out.


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_is_passed_on_and_kept(running: Depot, mirror: Mirror, tells_length: bool) -> None:
    mirror.tells_length = tells_length
    assert ask(running, f"/debian/{DEB_PATH}").content == DEB
    assert (running.folder / DEB_PATH).read_bytes() == DEB
    assert ask(running, f"/debian/{DEB_PATH}").content == DEB
    assert mirror.asked == [DEB_PATH]
    assert running.counts == Counts(files=2, bytes=2 * len(DEB), cached=1)
    assert running.failures == ()


def test_what_was_kept_is_given_without_a_network(running: Depot, mirror: Mirror) -> None:
    for path in mirror.files:
        ask(running, f"/debian/{path}")
    with offline(running.folder) as alone:
        for path, content in mirror.files.items():
            assert ask(alone, f"/debian/{path}").content == content
        assert alone.counts.cached == len(mirror.files)


def test_an_old_client_gets_no_chunks(running: Depot, mirror: Mirror) -> None:
    mirror.tells_length = False
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as plain:
        plain.sendall(f"GET /debian/{DEB_PATH} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
    assert answer.endswith(b"\r\n\r\n" + DEB)


def test_one_connection_serves_many_files(running: Depot, mirror: Mirror) -> None:
    mirror.tells_length = False
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    for path, content in [*mirror.files.items(), *mirror.files.items()]:
        connection.request("GET", f"/debian/{path}")
        assert connection.getresponse().read() == content
    connection.close()


def test_it_comes_while_it_comes(running: Depot, mirror: Mirror) -> None:
    """A client receives the first half before the mirror has sent the second."""
    mirror.gap_s = 1.0
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    started = time.monotonic()
    connection.request("GET", f"/debian/{DEB_PATH}")
    answer = connection.getresponse()
    assert answer.read(1000) == DEB[:1000]
    assert time.monotonic() - started < 0.8
    assert answer.read() == DEB[1000:]
    connection.close()


def test_two_at_once_get_one_download(running: Depot, mirror: Mirror) -> None:
    mirror.gap_s = 0.3
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: ask(running, f"/debian/{DEB_PATH}"), range(4)))
    assert all(answer.content == DEB for answer in answers)
    assert mirror.asked == [DEB_PATH]
    assert kept(running.folder) == [DEB_PATH]


@pytest.mark.parametrize("path", [DEB_PATH, INDEX_PATH])
def test_a_kept_file_that_was_damaged_is_fetched_again(running: Depot, mirror: Mirror, path: str) -> None:
    for one in (INDEX_PATH, path):
        ask(running, f"/debian/{one}")
    kept_file = running.folder / path
    content = bytearray(kept_file.read_bytes())
    content[len(content) // 2] ^= 1
    kept_file.write_bytes(content)
    with Depot(running.folder, [mirror.url]) as later:
        for one in (INDEX_PATH, path):
            assert ask(later, f"/debian/{one}").content == mirror.files[one]
    assert kept_file.read_bytes() == mirror.files[path]
    assert kept_file.with_name(f"{kept_file.name}.damaged").read_bytes() == content


def test_an_index_is_taken_anew_by_each_depot(running: Depot, mirror: Mirror) -> None:
    assert ask(running, f"/debian/{RELEASE_PATH}").content == b"release 1"
    mirror.files[RELEASE_PATH] = b"release 2"
    assert ask(running, f"/debian/{RELEASE_PATH}").content == b"release 1"
    with Depot(running.folder, [mirror.url]) as later:
        assert ask(later, f"/debian/{RELEASE_PATH}").content == b"release 2"
        ask(later, f"/debian/{INDEX_PATH}")
    with Depot(running.folder, [mirror.url]) as last:
        ask(last, f"/debian/{INDEX_PATH}")
    assert mirror.asked == [RELEASE_PATH, RELEASE_PATH, INDEX_PATH]


def test_our_own_files(running: Depot) -> None:
    assert ask(running, "/hostwright/preseed.cfg").content == b"d-i"
    assert ask(running, "/hostwright/other").status == 404
    assert running.failures == ("/hostwright/other: Hostwright has no such file",)


# HTTP's finer points.


@pytest.mark.parametrize("first", ["HEAD", "GET"])
def test_head_tells_the_size(running: Depot, first: str) -> None:
    ask(running, f"/debian/{DEB_PATH}", first)
    answer = ask(running, f"/debian/{DEB_PATH}", "HEAD")
    assert (answer.content, answer.headers["Content-Length"]) == (b"", str(len(DEB)))


def test_a_part_is_sent(running: Depot) -> None:
    ask(running, f"/debian/{DEB_PATH}")
    answer = ask(running, f"/debian/{DEB_PATH}", Range="bytes=1000-1009")
    assert (answer.status, answer.content) == (206, DEB[1000:1010])
    assert answer.headers["Content-Range"] == f"bytes 1000-1009/{len(DEB)}"
    assert ask(running, f"/debian/{DEB_PATH}", Range=f"bytes={len(DEB)}-").status == 416
    assert ask(running, f"/debian/{DEB_PATH}", Range="bytes=5-", If_Range="yesterday").status == 200


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30))
def test_ranges(first: int, last: int, size: int) -> None:
    content = bytes(range(size))

    def part(header: str) -> bytes | None:
        found = ranges.parse_range(header, size)
        return content[found[0] : found[1]] if found else None

    assert part(f"bytes={first}-") == content[first:]
    assert part(f"bytes={first}-{last}") == content[first : last + 1]
    assert part(f"bytes=-{last}") == content[max(0, size - last) :]
    assert part("bytes=-") is None and part("bytes=0-1,3-4") is None and part("") is None


def test_the_mirrors_time_is_kept(running: Depot) -> None:
    assert ask(running, f"/debian/{DEB_PATH}").headers["Last-Modified"] == MODIFIED
    again = ask(running, f"/debian/{DEB_PATH}", If_Modified_Since=MODIFIED)
    assert (again.status, again.content) == (304, b"")
    older = ask(running, f"/debian/{DEB_PATH}", If_Modified_Since="Thu, 01 Jan 2026 00:00:00 GMT")
    assert (older.status, older.headers["Last-Modified"]) == (200, MODIFIED)


# What is refused.


@pytest.mark.parametrize(
    "path",
    [
        "/debian/pool/../../secret",
        "/debian/pool/%2e%2e/secret",
        "/debian//etc/passwd",
        "/debian/pool/.hidden",
        "/debian/pool",
        "/debian/pool/a/",
        "/debian/project/trace",
        "/etc/passwd",
        "/",
        "/debian/pool/a%00b",
    ],
)
def test_nothing_else_is_served(running: Depot, mirror: Mirror, path: str) -> None:
    (running.folder / "pool").mkdir(parents=True)
    (running.folder.parent / "secret").write_text("secret")
    (running.folder / "pool" / ".hidden").write_text("half")
    assert ask(running, path).status == 404
    assert mirror.asked == []
    assert len(running.failures) == 1


@given(st.text(max_size=30))
def test_a_path_stays_inside(text: str) -> None:
    if (path := archive.archive_path(f"/debian/pool/{text}")) is not None:
        assert Path("/x", path).resolve().is_relative_to("/x/pool/")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_is_taken_in(running: Depot, method: str) -> None:
    assert ask(running, f"/debian/{DEB_PATH}", method).status == 501


def test_a_missing_file_is_noted(running: Depot, mirror: Mirror) -> None:
    assert ask(running, "/debian/pool/none_1_all.deb").status == 404
    assert ask(running, "/debian/pool/none_1_all.deb").status == 404
    expected = f"pool/none_1_all.deb: {mirror.url}/pool/none_1_all.deb: 404 Not Found"
    assert running.failures == (expected,)


def test_a_folder_is_no_file(running: Depot) -> None:
    ask(running, f"/debian/{INDEX_PATH}")
    assert ask(running, "/debian/dists/trixie").status == 404
    assert (running.folder / "dists/trixie").is_dir()


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    with offline(tmp_path / "archive") as alone:
        assert ask(alone, f"/debian/{DEB_PATH}").status == 404
        assert alone.failures == (
            f"{DEB_PATH}: it is not in {tmp_path / 'archive'}; run once without offline=yes",
        )


def test_a_broken_mirror_is_told_apart_from_a_missing_file(running: Depot, mirror: Mirror) -> None:
    mirror.status = 503
    assert ask(running, f"/debian/{DEB_PATH}").status == 502
    assert "503" in running.failures[0]


def test_the_next_mirror_is_tried(tmp_path: Path, mirror: Mirror) -> None:
    with Depot(tmp_path, ["http://127.0.0.1:1/debian", mirror.url]) as one:
        assert ask(one, f"/debian/{DEB_PATH}").content == DEB
        assert one.failures == ()


# What is damaged.


# Of a file without digest and length nobody but apt, by its signature, can tell.
@pytest.mark.parametrize(
    ("path", "tells_length"),
    [(DEB_PATH, True), (DEB_PATH, False), (INDEX_PATH, True), (INDEX_PATH, False), (RELEASE_PATH, True)],
)
def test_half_a_file_is_never_kept(running: Depot, mirror: Mirror, path: str, tells_length: bool) -> None:
    ask(running, f"/debian/{INDEX_PATH}") if path == DEB_PATH else None
    before = kept(running.folder)
    mirror.breaks_off_at, mirror.tells_length = len(mirror.files[path]) // 3, tells_length
    with pytest.raises(http.client.IncompleteRead):
        ask(running, f"/debian/{path}")
    assert kept(running.folder) == before
    assert running.failures[0].startswith(path)
    mirror.breaks_off_at = None
    assert ask(running, f"/debian/{path}").content == mirror.files[path]


@pytest.mark.parametrize("path", [DEB_PATH, INDEX_PATH])
def test_a_wrong_file_is_never_kept_nor_ended(running: Depot, mirror: Mirror, path: str) -> None:
    ask(running, f"/debian/{INDEX_PATH}") if path == DEB_PATH else None
    mirror.files[path] = b"X" + mirror.files[path][1:]
    with pytest.raises(http.client.IncompleteRead):
        ask(running, f"/debian/{path}")
    assert not (running.folder / path).exists()
    assert "its sha256 is" in running.failures[0]


def test_an_index_of_an_earlier_run_checks_as_well(running: Depot, mirror: Mirror) -> None:
    ask(running, f"/debian/{INDEX_PATH}")
    mirror.files[DEB_PATH] = b"something else"
    with Depot(running.folder, [mirror.url]) as later:
        ask(later, f"/debian/{INDEX_PATH}")
        with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected)):
            ask(later, f"/debian/{DEB_PATH}")


@given(st.lists(st.tuples(st.from_regex(r"pool/[a-z]{1,5}", fullmatch=True), st.booleans())))
def test_digests_are_found_in_any_order(packages: list[tuple[str, bool]]) -> None:
    wanted, lines = {}, []
    for path, is_first in packages:
        wanted[path] = hashlib.sha256(path.encode()).hexdigest()
        fields = [f"Filename: {path}\n", "Size: 1\n", f"SHA256: {wanted[path]}\n"]
        lines += ["Package: x\n", *(fields if is_first else fields[::-1]), "\n"]
    lines += ["Package: no-file\n", f"SHA256: {'0' * 64}\n", "\n", "Filename: pool/no-digest\n"]
    assert dict(archive.parse_digests(iter(lines))) == wanted


# A cut network.


def test_a_cut_network_closes_everything(running: Depot, mirror: Mirror) -> None:
    mirror.gap_s = 2
    with ThreadPoolExecutor(1) as client:
        broken = client.submit(ask, running, f"/debian/{DEB_PATH}")
        while not mirror.asked:
            time.sleep(0.01)
        time.sleep(0.1)
        running.cut()
        started = time.monotonic()
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            broken.result(5)
        assert time.monotonic() - started < 1
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(running, f"/debian/{RELEASE_PATH}")
    running.mend()
    assert ask(running, f"/debian/{RELEASE_PATH}").content == b"release 1"


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    with Depot(tmp_path, [], offline=True, ours={"x": b"y"}) as one:
        assert ask(one, "/hostwright/x").content == b"y"
    with pytest.raises(ConnectionError):
        ask(one, "/hostwright/x")


# Whether to start at all.


def test_a_mirror_that_answers(mirror: Mirror) -> None:
    assert archive.reachable(["http://127.0.0.1:1/debian", mirror.url], "trixie") is None


def test_no_mirror_answers(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = archive.reachable([mirror.url], "potato")
    assert missing and "potato" in missing.message and "404 Not Found" in missing.message
    away = archive.reachable(["http://127.0.0.1:1/debian"], "trixie")
    assert away and "127.0.0.1:1" in away.message and "HOSTWRIGHT_MIRROR" in away.hint
    monkeypatch.setattr(archive, "REACH", transfer.Limits(0.3, 0.3))
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as silent:
        started = time.monotonic()
        assert archive.reachable([f"http://127.0.0.1:{silent.server_address[1]}/debian"], "trixie")
        assert time.monotonic() - started < 3
