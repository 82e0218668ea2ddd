"""Servers that are no good; with a real one see tests/boot/test_screen.py."""

import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hostwright.vm.pictures import Frame
from hostwright.vm.screen import Screen, VncError

# RFC 6143: protocol version, security type None, its result.
HELLO = b"RFB 003.008\n"
NO_PASSWORD, OK = b"\x01\x01", b"\0\0\0\0"
PIXELS = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
SET_ENCODINGS = 2
RED_PIXEL, BLUE_PIXEL = b"\0\0\xaa\0", b"\xaa\0\0\0"

Behaviour = Callable[[socket.socket], object]


@contextmanager
def serving(behave: Behaviour) -> Iterator[Screen]:
    """A server on loopback that treats each client as `behave` does, and then waits until the client goes."""

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=treat, args=(client,), daemon=True).start()

    def treat(client: socket.socket) -> None:
        with client, suppress(OSError):
            if behave(client) is None:
                while client.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield Screen(("127.0.0.1", listener.getsockname()[1]))
        listener.shutdown(socket.SHUT_RDWR)


def greet(client: socket.socket, width: int = 2, height: int = 2) -> None:
    """The server's side until the client may ask for pictures."""
    client.sendall(HELLO + NO_PASSWORD)
    client.recv(13, socket.MSG_WAITALL)
    client.sendall(OK)
    client.recv(1)
    client.sendall(struct.pack(">HH16sI", width, height, PIXELS, 4) + b"test")


def update(*areas: tuple[int, int, int, int, bytes]) -> bytes:
    """A FramebufferUpdate of raw rectangles (x, y, width, height, pixel)."""
    rows = [
        struct.pack(">HHHHi", x, y, wide, high, 0) + pixel * (wide * high)
        for x, y, wide, high, pixel in areas
    ]
    return struct.pack(">BxH", 0, len(areas)) + b"".join(rows)


def test_a_picture_is_put_together() -> None:
    def behave(client: socket.socket) -> None:
        greet(client)
        client.sendall(update((1, 0, 1, 2, RED_PIXEL), (0, 1, 1, 1, BLUE_PIXEL)))

    with serving(behave) as screen:
        assert screen.capture() == Frame(2, 2, b"\0\0\0\xaa\0\0\0\0\xaa\xaa\0\0")


def test_only_pictures_are_asked_for() -> None:
    """What QEMU answers to other encodings comes as an update that holds no picture, or a part of one."""
    offered: list[int] = []

    def behave(client: socket.socket) -> None:
        greet(client)
        kind, count = struct.unpack(">BxH", client.recv(4, socket.MSG_WAITALL))
        assert kind == SET_ENCODINGS
        offered.extend(struct.unpack(f">{count}i", client.recv(4 * count, socket.MSG_WAITALL)))
        client.sendall(update((0, 0, 2, 2, RED_PIXEL)))

    with serving(behave) as screen:
        assert screen.capture().rgb == b"\xaa\0\0" * 4
    assert offered == [0]


def test_bytes_may_come_one_by_one() -> None:
    def behave(client: socket.socket) -> None:
        greet(client)
        for byte in update((0, 0, 2, 2, RED_PIXEL)):
            client.sendall(bytes([byte]))

    with serving(behave) as screen:
        assert screen.capture() == Frame(2, 2, b"\xaa\0\0" * 4)


@pytest.mark.parametrize(
    "behave",
    [lambda client: None, lambda client: client.sendall(HELLO), greet],
    ids=["silent", "half-way", "no-picture"],
)
def test_a_stalled_server_does_not_hang_us(behave: Behaviour) -> None:
    with serving(behave) as screen:
        started = time.monotonic()
        with pytest.raises(
            VncError, match=r"the VNC server at 127\.0\.0\.1:\d+ gave no picture within 0\.3 s"
        ):
            screen.capture(limit_s=0.3)
        assert time.monotonic() - started < 2


def test_a_server_that_drips_does_not_hang_us() -> None:
    def behave(client: socket.socket) -> None:
        greet(client)
        for byte in update((0, 0, 2, 2, RED_PIXEL)):
            time.sleep(0.1)
            client.sendall(bytes([byte]))

    with serving(behave) as screen, pytest.raises(VncError, match="gave no picture within"):
        screen.capture(limit_s=0.5)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"SSH-2.0-OpenSSH_10.0\r\n", "invalid initial server response"),
        (b"", "closed"),
        (HELLO + b"\0" + struct.pack(">I", 4) + b"full", "Connection refused: b'full'"),
        (HELLO + b"\x01\x7f", "unknown security types"),
    ],
)
def test_a_server_that_refuses_is_told_apart(said: bytes, reason: str) -> None:
    def behave(client: socket.socket) -> str:
        client.sendall(said)
        client.recv(100 if said else 0)
        return "hang up"

    with serving(behave) as screen:
        with pytest.raises(VncError, match=r"no picture from the VNC server at 127\.0\.0\.1") as error:
            screen.capture()
        assert reason in str(error.value)


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(VncError, match=f"127.0.0.1:{port}: .*refused"):
        Screen(("127.0.0.1", port)).capture()
    with pytest.raises(VncError, match="No such file"):
        Screen(tmp_path / "vnc").capture()
    with pytest.raises(VncError, match="No such file"):
        Screen(tmp_path / ("x" * 100) / "vnc").capture()


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """A unix socket turns connections away while as many wait as its server allows."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "vnc"))
        listener.listen(0)
        first.connect(str(tmp_path / "vnc"))
        with pytest.raises(VncError, match="temporarily unavailable"):
            Screen(tmp_path / "vnc").capture(limit_s=0.2)
        threading.Timer(0.3, listener.accept).start()
        with pytest.raises(VncError, match="gave no picture within"):
            Screen(tmp_path / "vnc").capture(limit_s=1)


def test_signals_stay_with_the_program() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    with serving(greet) as screen, pytest.raises(VncError):
        screen.capture(limit_s=0.1)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_connection_does_not_hold_up_the_end_of_the_program() -> None:
    code = (
        "import threading, time; from hostwright.vm.screen import Screen;"
        "watch = lambda: Screen(('127.0.0.1', {})).capture(60);"
        "threading.Thread(target=watch, daemon=True).start(); time.sleep(0.5)"
    )
    with serving(greet) as screen:
        program = [sys.executable, "-c", code.format(screen.address[1])]  # type: ignore[index]
        ended = subprocess.run(program, timeout=20, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")
