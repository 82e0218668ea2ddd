"""Pictures of a QEMU that gives none, or a bad one; with a real one see tests/boot/test_screen.py."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hostwright.vm.monitor import Monitor
from hostwright.vm.pictures import Frame
from hostwright.vm.screen import FILE, Screen, ScreenError

Answer = dict[str, object]
PPM = b"P6\n2 1\n255\n\x01\x02\x03\xaa\0\0"


@contextmanager
def drawing(folder: Path, *draw: Callable[[str], Answer | None]) -> Iterator[Screen]:
    """QEMU's monitor: each screendump of `inside/FILE` is answered by the next of `draw`, or not at all."""

    def answer(client: socket.socket) -> None:
        version = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
        tell(client, {"QMP": {"version": version, "capabilities": []}})
        pending = list(draw)
        # The client waits for each answer before it sends the next command.
        while said := client.recv(65536):
            asked = json.loads(said)
            found: Answer | None = {"return": {}}
            if asked["execute"] == "screendump":
                found = pending.pop(0)(asked["arguments"]["filename"].replace("/inside", str(folder)))
            if found:
                tell(client, {**found, "id": asked["id"]} if "id" in asked else found)

    def serve() -> None:
        client, _ = listener.accept()
        with client, suppress(ConnectionError):
            answer(client)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "qmp"))
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        with Monitor(folder / "qmp") as monitor:
            yield Screen(monitor, folder, "/inside")


def tell(client: socket.socket, message: object) -> None:
    client.sendall(json.dumps(message).encode() + b"\r\n")


def written(content: bytes) -> Callable[[str], Answer]:
    """A screendump that writes `content`."""

    def draw(file: str) -> Answer:
        Path(file).write_bytes(content)
        return {"return": {}}

    return draw


def test_a_picture_is_read_and_removed(tmp_path: Path) -> None:
    with drawing(tmp_path, written(PPM)) as screen:
        assert screen.capture() == Frame(2, 1, b"\x01\x02\x03\xaa\0\0")
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("content", [b"", PPM[:-1], b"P6\n99999 99999\n255\n", b"no picture"])
def test_half_a_picture_is_none(tmp_path: Path, content: bytes) -> None:
    with drawing(tmp_path, written(content), written(PPM)) as screen:
        with pytest.raises(ScreenError, match="no picture of the screen: "):
            screen.capture()
        assert not (tmp_path / FILE).exists()
        assert screen.capture().width == 2


def test_a_refusal_is_told_in_qemus_words(tmp_path: Path) -> None:
    refusal: Answer = {"error": {"class": "GenericError", "desc": "There is no console"}}
    with (
        drawing(tmp_path, lambda _: refusal) as screen,
        pytest.raises(ScreenError, match="QEMU refused screendump: There is no console"),
    ):
        screen.capture()


def test_a_silent_qemu_does_not_hang_us(tmp_path: Path) -> None:
    with drawing(tmp_path, lambda _: None, written(PPM)) as screen:
        with pytest.raises(ScreenError, match=r"QEMU did not answer within 0\.2 s: screendump"):
            screen.capture(limit_s=0.2)
        assert screen.capture().width == 2


def test_an_answer_without_a_file_is_no_picture(tmp_path: Path) -> None:
    with (
        drawing(tmp_path, lambda _: {"return": {}}) as screen,
        pytest.raises(ScreenError, match="No such file"),
    ):
        screen.capture()
