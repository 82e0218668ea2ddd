"""The lock is renewed only from an index of the suite that is current, whatever else carries Debian's signature."""

import functools
import hashlib
import http.server
import lzma
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.sandbox import buildroot, signature
from hostwright.sandbox.workshop import Workshop, open_at
from hostwright.source import index, pins
from hostwright.upkeep import lock

NOW = datetime.now(UTC)
OLD_PIN = f"gcc 1 pool/g/gcc_1.deb 10 {'a' * 64}\n"
PACKAGES = f"Package: gcc\nVersion: 2\nFilename: pool/g/gcc_2.deb\nSize: 11\nSHA256: {'b' * 64}\n"
FIRMWARE = "".join(
    f"Package: {name}\nVersion: 2\nFilename: pool/{name}_2.deb\nSize: 11\nSHA256: {'b' * 64}\n\n"
    for name in ("firmware-bnx2", "firmware-bnx2x", "firmware-of-others")
)
OLD_FIRMWARE = "".join(
    f"{name} 1 pool/{name}_1.deb 10 {'a' * 64}\n" for name in ("firmware-bnx2", "firmware-bnx2x")
)
INDEXES = {index.PACKAGES: PACKAGES, index.SOURCES: "Package: x\n", index.FIRMWARE: FIRMWARE}
FIELDS = {"Origin": "Debian", "Suite": "stable", "Codename": "trixie"}


def days(count: float) -> str:
    """A date, that many days from now."""
    return format_datetime(NOW + timedelta(days=count))


@dataclass
class Mirror:
    """An archive on loopback."""

    folder: Path
    shop: Workshop

    def serve(self, **fields: str) -> None:
        """Have an InRelease with these fields, each `_` in a name a `-`."""
        lines = ["SHA256:"]
        for path, text in INDEXES.items():
            data = lzma.compress(text.encode())
            place = self.folder / "dists/trixie" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}")
        head = [f"{name.replace('_', '-')}: {value}" for name, value in {**FIELDS, **fields}.items()]
        (self.folder / "dists/trixie/InRelease").write_text("\n".join([*head, *lines]) + "\n")

    def renew(self) -> lock.Renewal:
        return lock.renew(self.shop, {})


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

    (tmp_path / "archive").mkdir()
    for name, text in (("LOCK", OLD_PIN), ("SEEDS", "gcc\n"), ("FIRMWARE_LOCK", OLD_FIRMWARE)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(paths, name, tmp_path / name)
    # Every InRelease here counts as signed by Debian.
    monkeypatch.setattr(signature, "verify", lambda signed, shop: signed)
    handler = functools.partial(Handler, directory=str(tmp_path / "archive"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}"
        yield Mirror(tmp_path / "archive", replace(open_at(tmp_path / "log"), named=(address,)))
        running.shutdown()


def test_a_current_index_of_the_suite_is_taken_and_its_date_recorded(mirror: Mirror) -> None:
    mirror.serve(Date=days(-9))
    assert mirror.renew().changed == ("gcc: 1 -> 2",)
    assert pins.lock_date(paths.LOCK.read_text()) == days(-9)
    assert mirror.renew().changed == (), "the same index once more"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"Codename": "sid", "Suite": "unstable", "Date": days(-40), "Valid_Until": days(-33)},
            "it is of sid",
        ),
        ({"Codename": "sid", "Date": days(-1)}, r"it is of sid \(suite stable\), not of trixie"),
        ({"Suite": "unstable", "Date": days(-1)}, r"it is of trixie \(suite unstable\)"),
        ({"Codename": "trixie-security", "Date": days(-1)}, "it is of trixie-security"),
        ({"Codename": "", "Date": days(-1)}, "it is of no code name"),
        ({"Date": days(-40), "Valid_Until": days(-0.1)}, "it expired on "),
        ({"Date": days(2)}, "is in the future"),
        ({"Date": "yesterday"}, "Date of the archive's InRelease cannot be read: 'yesterday'"),
        ({}, "Date of the archive's InRelease cannot be read: ''"),
        ({"Date": days(-1), "Valid_Until": "never"}, "Valid-Until of the archive's InRelease cannot be read"),
    ],
)
def test_another_index_with_debians_signature_is_refused(
    mirror: Mirror, fields: dict[str, str], why: str
) -> None:
    mirror.serve(**fields)
    with pytest.raises(UserError, match=why) as caught:
        mirror.renew()
    assert caught.value.hint and len(caught.value.message.splitlines()) == 1
    assert paths.LOCK.read_text() == OLD_PIN


def test_the_lock_never_goes_back(mirror: Mirror) -> None:
    mirror.serve(Date=days(-2))
    mirror.renew()
    before = paths.LOCK.read_text()
    mirror.serve(Date=days(-3))
    with pytest.raises(UserError, match="is older than that of the lock"):
        mirror.renew()
    assert paths.LOCK.read_text() == before


def test_firmware_is_renewed_as_far_as_the_archive_holds_it(mirror: Mirror) -> None:
    mirror.serve(Date=days(-9))
    (mirror.folder / "pool").mkdir()
    (mirror.folder / "pool/firmware-bnx2_2.deb").write_bytes(b"x" * 11)
    found = lock.renew_firmware(mirror.shop)
    assert (found.pins, found.changed) == (2, ("firmware-bnx2: 1 -> 2",))
    text = paths.FIRMWARE_LOCK.read_text()
    assert [(pin.name, pin.version) for pin in pins.parse_lock(text)] == [
        ("firmware-bnx2", "2"),
        ("firmware-bnx2x", "1"),
    ]
    assert pins.lock_date(text) == days(-9)


def test_a_date_of_a_lock_that_cannot_be_read_is_an_error(mirror: Mirror) -> None:
    paths.LOCK.write_text(pins.render_lock([], "some day"))
    mirror.serve(Date=days(-1))
    with pytest.raises(UserError, match="the lock's date cannot be read: 'some day'"):
        mirror.renew()


def test_the_date_changes_no_key() -> None:
    dated = pins.parse_lock(pins.render_lock(pins.parse_lock(OLD_PIN), days(0)))
    assert buildroot.key(dated) == buildroot.key(pins.parse_lock(OLD_PIN))
