"""Whatever a network does to a download: one clear error, nothing half-made is taken, and the next run goes on.

One table of faults, each a few raw bytes of a real server on loopback.
"""

import hashlib
import random
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hostwright.base import files
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.source import fetch, transfer

BLOCK = 1 << 16
CONTENT = random.Random(60).randbytes(4 * BLOCK + 1000)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PIN = Pin("pool/x", SHA256, size=SIZE, name="thing")
QUICK = transfer.Limits(connect_s=1, silence_s=0.25, head_s=0.4, total_s=1.0, window_s=0.2, window_bytes=5000)
# No fault may take longer.
PATIENCE_S = 10.0
# The bytes of a download that broke off in an earlier run.
BEGUN = 100_000
PAGE = b"<!DOCTYPE html><title>Log in to this network</title>"
TRIES = 2
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Peer:
    """One request: its connection, and the byte from which on the client wants the file."""

    sock: socket.socket
    start: int

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.sock.sendall(part)

    def reset(self) -> None:
        """Break the connection with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Act = Callable[[Peer], None]


def head(status: str = "200 OK", length: int | str | None = SIZE, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *([] if length is None else [f"Content-Length: {length}"]), *fields]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def body(content: bytes, *fields: str, status: str = "200 OK", length: int | str | None = -1) -> Act:
    size = len(content) if length == -1 else length
    return lambda peer: peer.send(head(status, size, *fields), content)


def cut(after: int) -> Act:
    return lambda peer: peer.send(head(), CONTENT[:after])


def reset(after: int) -> Act:
    def act(peer: Peer) -> None:
        peer.send(head(), CONTENT[:after])
        time.sleep(0.02)
        peer.reset()

    return act


def flipped(*places: int) -> bytes:
    content = bytearray(CONTENT)
    for place in places:
        content[place] ^= 1 << place % 8
    return bytes(content)


def status(text: str) -> Act:
    return body(PAGE, "Content-Type: text/plain", status=text)


def redirect(place: str, code: str = "302 Found") -> Act:
    return body(b"", f"Location: {place}", status=code)


def hang(*parts: bytes) -> Act:
    def act(peer: Peer) -> None:
        peer.send(*parts)
        time.sleep(QUICK.silence_s * 2)

    return act


def endless(first: bytes, block: bytes) -> Act:
    def act(peer: Peer) -> None:
        peer.send(first)
        while True:
            peer.send(block)

    return act


def drip(first: bytes, block: bytes, pause_s: float) -> Act:
    def act(peer: Peer) -> None:
        peer.send(first)
        for _ in range(200):
            peer.send(block)
            time.sleep(pause_s)

    return act


def part(start: int, content: bytes, total: int | str = SIZE, *fields: str) -> Act:
    """An answer to a request for the rest of the file."""
    field = f"Content-Range: bytes {start}-{start + len(content) - 1}/{total}"
    return body(content, field, *fields, status="206 Partial Content")


def serve(peer: Peer) -> None:
    if peer.start:
        part(peer.start, CONTENT[peer.start :])(peer)
    else:
        body(CONTENT)(peer)


# The name of a fault, what the server does, and what the message says of it.
CUTS = {
    "cut before the answer": (lambda _: None, "closed connection without response"),
    "cut in the status line": (lambda peer: peer.send(b"HTTP/1.1 2"), ""),
    "cut in a header": (lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Le"), "ended before the first byte"),
    **{f"cut after {after} bytes": (cut(after), f"it ended after {after} of {SIZE} bytes")
       for after in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, SIZE - 1)},
    "reset at once": (Peer.reset, "reset by peer"),
    "reset in the first block": (reset(1000), "reset by peer"),
    "reset in the third block": (reset(2 * BLOCK + 9), "reset by peer"),
    "cut in a chunk": (body(b"10000\r\nabc", CHUNKED, length=None), ""),
    "cut between chunks": (body(b"3\r\nabc\r\n", CHUNKED, length=None), ""),
}  # fmt: skip
WRONG_BYTES = {
    **{f"a bit flipped in block {place // BLOCK}": (body(flipped(place)), "its sha256 is ")
       for place in (0, BLOCK, 2 * BLOCK + 7, 3 * BLOCK - 1, SIZE - 1)},
    "a bit flipped in each block": (body(flipped(*range(5, SIZE, BLOCK))), "its sha256 is "),
    "two blocks swapped": (body(CONTENT[BLOCK : 2 * BLOCK] + CONTENT[:BLOCK] + CONTENT[2 * BLOCK :]), "its sha256 is "),
    "zeros": (body(bytes(SIZE)), "its sha256 is "),
    "wrong bytes, then cut": (lambda peer: peer.send(head(), bytes(BLOCK)), f"it ended after {BLOCK} of"),
}  # fmt: skip
STATUSES = {
    f"status {text}": (status(text), text)
    for text in (
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "407 Proxy Authentication Required",
        "408 Request Timeout",
        "410 Gone",
        "416 Range Not Satisfiable",
        "429 Too Many Requests",
        "451 Unavailable For Legal Reasons",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "511 Network Authentication Required",
    )
} | {
    "status 204 without a body": (body(b"", status="204 No Content"), f"instead of the {SIZE} that are pinned"),
    "status 304 that was not asked for": (body(b"", status="304 Not Modified"), f"instead of the {SIZE}"),
    "a status that is none": (body(CONTENT, status="abc OK"), ""),
    "no HTTP at all": (lambda peer: peer.send(b"220 mail.example ESMTP\r\n"), ""),
}  # fmt: skip
REDIRECTS = {
    "a redirect to itself": (redirect("/pool/x"), "more than 5 redirects"),
    "a permanent redirect to itself": (redirect("/pool/x", "308 Permanent Redirect"), "more than 5 redirects"),
    "a redirect to a file of this machine": (redirect("file:///etc/passwd"), "/etc/passwd: it must begin with http"),
    "a redirect to ftp": (redirect("ftp://127.0.0.1/x"), "it must begin with http"),
    "a redirect to data": (redirect("data:text/plain,x"), "it must begin with http"),
    "a redirect to no host": (redirect("http://:80/x"), "it names no host"),
    "a redirect to a label that is too long": (redirect(f"http://{'a' * 300}.x/"), "longer than 63 characters"),
    "a redirect to a port that is none": (redirect("http://127.0.0.1:99999/x"), "its port cannot be read"),
    "a redirect to a host that is not there": (redirect("http://127.0.0.1:1/x"), "Connection refused"),
    "a redirect to a name that is unknown": (redirect("http://gone.invalid/x"), "Name or service not known"),
}  # fmt: skip
SLOW = {
    "silence before the answer": (hang(), "timed out"),
    "silence in a header": (hang(b"HTTP/1.1 200 OK\r\nX-"), "timed out"),
    "silence after the head": (hang(head()), "timed out"),
    "silence in the body": (hang(head(), CONTENT[:BLOCK]), "timed out"),
    "a drip in the head": (drip(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.01), "timed out"),
    "a drip": (drip(head(), b"x", 0.01), "it is too slow: "),
    "a drip of chunks": (drip(head("200 OK", None, CHUNKED), b"1\r\nx\r\n", 0.01), "it is too slow: "),
}  # fmt: skip
ENDLESS = {
    "an endless body": (endless(head("200 OK", None), bytes(BLOCK)), f"more than the {SIZE} bytes that it may have"),
    "endless chunks": (endless(head("200 OK", None, CHUNKED), b"4000\r\n" + bytes(0x4000) + b"\r\n"),
                       f"more than the {SIZE} bytes that it may have"),
    "an endless header": (endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * BLOCK), ""),
    "endless headers": (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000), ""),
    "endless continuations": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "timed out"),
}  # fmt: skip
LENGTHS = {
    "a file that is too short": (body(CONTENT[:-1]), f"it has {SIZE - 1} bytes instead of the {SIZE} that are pinned"),
    "a file that is too long": (body(CONTENT + b"x"), f"it has {SIZE + 1} bytes instead of the {SIZE} that are pinned"),
    "a length beyond all disks": (body(CONTENT, length=10**17), "it has 100000000000000000 bytes instead of"),
    "no length, and too long": (body(CONTENT + b"x", length=None), f"more than the {SIZE} bytes that it may have"),
    "no length, and too short": (body(CONTENT[:-1], length=None), "its sha256 is "),
    "an empty file": (body(b""), "it has 0 bytes instead of"),
    "a length that is negative": (body(CONTENT[:-1], length="-5"), "its sha256 is "),
    "a chunk of no size": (body(b"zz\r\nabc\r\n", CHUNKED, length=None), ""),
    "gzip that was not requested": (body(CONTENT, "Content-Encoding: gzip"), "came with Content-Encoding gzip"),
}  # fmt: skip
PAGES = {
    "a page of a proxy": (body(PAGE, "Content-Type: text/html"), "a web page came instead of the file: a proxy"),
    "a page in capitals": (body(PAGE, "Content-Type: TEXT/HTML; charset=utf-8"), "a web page came instead of the file"),
    "a page of the pinned size": (body(PAGE.ljust(SIZE), "Content-Type: text/html"), "a web page came instead"),
    "a page that calls itself a file": (body(PAGE.ljust(SIZE)), "its sha256 is "),
}  # fmt: skip
# Of a file whose first BEGUN bytes are here.
RESUMED = {
    "a rest from an earlier byte": (part(7, CONTENT[7:]), f"it sent the file from byte 7 on, not from {BEGUN}"),
    "a rest from a later byte": (part(BEGUN + 1, CONTENT[BEGUN + 1 :]), f"from byte {BEGUN + 1} on, not from {BEGUN}"),
    "a rest that is flipped": (part(BEGUN, flipped(SIZE - 3)[BEGUN:]), "its sha256 is "),
    "a rest that is too long": (part(BEGUN, CONTENT[BEGUN:] + b"x"), f"it has {SIZE + 1} bytes instead of"),
    "a rest that is too short": (part(BEGUN, CONTENT[BEGUN:-1]), f"it has {SIZE - 1} bytes instead of"),
    "a rest in another unit": (body(CONTENT, "Content-Range: items 1-2/3", status="206 Partial Content"),
                               "a range that cannot be read"),
    "a rest without its place": (body(CONTENT[BEGUN:], status="206 Partial Content"), "a range that cannot be read"),
    "a rest that is cut": (body(CONTENT[BEGUN : BEGUN + 9], f"Content-Range: bytes {BEGUN}-",
                                status="206 Partial Content",
                                length=SIZE - BEGUN), f"it ended after 9 of {SIZE - BEGUN} bytes"),
    "no more bytes to give": (status("416 Range Not Satisfiable"), "its sha256 is "),
    "the whole instead of the rest, flipped": (body(flipped(0)), "its sha256 is "),
}  # fmt: skip
FAULTS: dict[str, tuple[Act, str]] = {
    **CUTS, **WRONG_BYTES, **STATUSES, **REDIRECTS, **SLOW, **ENDLESS, **LENGTHS, **PAGES, **RESUMED,
}  # fmt: skip


class Server(socketserver.ThreadingTCPServer):
    """A server that does one thing, over TLS if it has a context for it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, act: Act, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.act, self.context = act, context
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def place(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(socketserver.BaseRequestHandler):
    """One connection, and one request."""

    server: Server

    def handle(self) -> None:
        with suppress(OSError):
            sock = self.request
            if self.server.context:
                sock = self.server.context.wrap_socket(sock, server_side=True)
            asked = b""
            # What begins with 22 is the handshake of TLS (RFC 8446).
            while b"\r\n\r\n" not in asked and asked[:1] != b"\x16" and (more := sock.recv(1 << 14)):
                asked += more
            _, _, rest = asked.decode("latin-1").partition("Range: bytes=")
            self.server.act(Peer(sock, int(rest.partition("-")[0] or 0)))
            if self.server.context:
                sock.unwrap()


Servers = Callable[..., Server]


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fetch, "TRIES", TRIES)
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(transfer, "LIMITS", QUICK)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running: list[Server] = []

    def start(act: Act, context: ssl.SSLContext | None = None) -> Server:
        running.append(Server(act, context))
        return running[-1]

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


REAL_RESOLVER = socket.getaddrinfo


def resolve(host: str, *words: Any, **named: Any) -> Any:  # noqa: ANN401
    """The resolver of a machine, without a network behind it."""
    reasons = {
        "gone.invalid": socket.EAI_NONAME,
        "later.invalid": socket.EAI_AGAIN,
        "broken.invalid": socket.EAI_FAIL,
    }
    texts = {
        socket.EAI_NONAME: "Name or service not known",
        socket.EAI_AGAIN: "Temporary failure in name resolution",
        socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    }
    if host in reasons:
        raise socket.gaierror(reasons[host], texts[reasons[host]])
    return REAL_RESOLVER(host, *words, **named)


def refuse(mirror: str, why: str) -> None:
    """Fetch from a place that does harm: one line says why, in time, and nothing is taken."""
    before = time.monotonic()
    with pytest.raises(UserError) as caught:
        fetch.fetch(PIN, [mirror], lambda _: None)
    assert time.monotonic() - before < PATIENCE_S
    lines = caught.value.message.splitlines()
    assert lines[0] == f"cannot fetch thing (sha256 {SHA256}):"
    assert len(lines) == 2 and "/pool/x: " in lines[1] and why in lines[1]
    assert lines[1].isprintable() and not lines[1].endswith(": ")
    assert caught.value.hint
    assert not fetch.is_here(SHA256)


def go_on(servers: Servers) -> None:
    """The next run, with a server that is well, gets the file, and leaves nothing else."""
    found = fetch.fetch(PIN, [servers(serve).place], lambda _: None)
    assert files.digest(found) == SHA256
    assert {one.name for one in found.parent.iterdir()} <= {SHA256, f"{SHA256}.lock", f".{SHA256}.checked"}


def test_there_are_faults_enough() -> None:
    assert len(FAULTS) + len(TLS) + len(NAMES) >= 60


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_error_and_the_next_run_goes_on(
    servers: Servers, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, why = FAULTS[fault]
    if fault in RESUMED:
        begun = fetch.local(SHA256).with_name(f"{SHA256}.part")
        begun.parent.mkdir(parents=True)
        begun.write_bytes(CONTENT[:BEGUN])
        # A second try would find no part, and would resume nothing.
        monkeypatch.setattr(fetch, "TRIES", 1)
    refuse(servers(act).place, why)
    monkeypatch.setattr(fetch, "TRIES", TRIES)
    go_on(servers)


@pytest.mark.parametrize("fault", [*CUTS, *WRONG_BYTES, *PAGES])
def test_an_index_of_no_known_digest_is_not_taken_in_part(servers: Servers, fault: str) -> None:
    act, _ = FAULTS[fault]
    try:
        found = fetch.fetch_bytes("pool/x", [servers(act).place])
    except UserError as error:
        assert len(error.message.splitlines()) == 2
    else:
        # Whoever asked for it checks the signature or the digest.
        assert fault in WRONG_BYTES or ("calls itself" in fault and len(found) == SIZE)


# TLS.


def certificate(folder: Path, name: str, days: int) -> Path:
    """A certificate for a name or an address, signed by itself, with its key; expired for negative `days`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=99))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


# The name in the certificate, the days it is valid, whether it is trusted, and what the message says.
TLS = {
    "a certificate of nobody": ("127.0.0.1", 9, False, "self-signed certificate"),
    "a certificate that has expired": ("127.0.0.1", -9, True, "certificate has expired"),
    "a certificate of another host": ("other.example", 9, True, "127.0.0.1"),
    "no TLS behind https": ("", 0, False, ""),
    "nonsense instead of a handshake": ("", 1, False, ""),
    "a handshake that is cut": ("", 2, False, ""),
}


@pytest.mark.parametrize("fault", TLS)
def test_a_fault_of_tls(
    servers: Servers, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, days, is_trusted, why = TLS[fault]
    if name:
        file = certificate(tmp_path, name, days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        if is_trusted:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
        server = servers(serve, context)
    else:
        acts: list[Act] = [serve, lambda peer: peer.send(b"\x16\x03\x01\xff\xff nonsense"), lambda _: None]
        server = servers(acts[days])
    refuse(server.place.replace("http:", "https:"), why)
    go_on(servers)


def test_a_certificate_that_is_in_order_is_taken(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "127.0.0.1", 9)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    place = servers(serve, context).place.replace("http:", "https:")
    assert files.digest(fetch.fetch(PIN, [place], lambda _: None)) == SHA256


# Names and connections.

NAMES = {
    "http://gone.invalid": "Name or service not known",
    "http://later.invalid": "Temporary failure in name resolution",
    "http://broken.invalid": "Non-recoverable failure in name resolution",
    "http://127.0.0.1:1": "Connection refused",
}


@pytest.mark.parametrize("mirror", NAMES)
def test_a_host_that_cannot_be_reached(servers: Servers, mirror: str) -> None:
    refuse(mirror, NAMES[mirror])
    go_on(servers)
