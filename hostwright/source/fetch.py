"""Downloads, each checked against its sha256 before anything opens it.

    pool path + mirrors --> places --> <sha256>.part (resumed by Range) --> digest --> downloads/<sha256>

A file that is already here is checked again before it is used: one that changed is set aside and fetched anew.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import intact, paths
from hostwright.base.errors import UserError
from hostwright.base.files import digest, locked
from hostwright.base.pin import Pin
from hostwright.source import transfer
from hostwright.source.address import mask
from hostwright.source.mirrors import find_mirrors

TRIES = 3
CONNECTIONS = 4
# The most bytes of a file whose size no one has signed or pinned, and of an index.
MOST_BYTES, MOST_INDEX_BYTES = 4 << 30, 256 << 20

Progress = Callable[[int], None]


def local(sha256: str) -> Path:
    """Where a file lies once it is fetched and checked."""
    return paths.downloads() / sha256


def is_here(sha256: str) -> bool:
    """Whether the cache has a file of this name; `is_intact` reads it."""
    return local(sha256).exists()


def is_damaged(sha256: str) -> bool:
    """Whether the cache has a file of this name with another content; the file is read again."""
    return is_here(sha256) and not intact.is_intact(local(sha256), sha256, again=True)


def is_intact(sha256: str) -> bool:
    """Whether the cache has the file with this digest; a damaged one is set aside."""
    place = local(sha256)
    if intact.is_intact(place, sha256):
        return True
    if place.exists():
        intact.set_aside(place)
    return False


def have(pin: Pin) -> Path:
    """The file of a pin, checked before it is used; one that is damaged or gone is fetched again."""
    return local(pin.sha256) if is_intact(pin.sha256) else fetch(pin, find_mirrors(), lambda _: None)


def fetch_all(pins: Sequence[Pin], mirrors: Sequence[str], progress: Progress) -> None:
    """Fetch what is not in the cache, several at a time; `progress` gets the bytes as they come."""
    missing = [one for one in pins if not is_intact(one.sha256)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(lambda one: fetch(one, mirrors, progress), missing):
            pass


def fetch(pin: Pin, mirrors: Sequence[str], progress: Progress) -> Path:
    """Fetch one file; raises UserError naming the file, each place tried and why it failed."""
    target = local(pin.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f"{pin.sha256}.lock")):
        if is_intact(pin.sha256):
            return target
        reasons = []
        for place in pin.places(mirrors):
            reason = _try_place(place, pin, target, progress)
            if not reason:
                return target
            reasons.append(_line(place, reason))
    raise UserError(
        f"cannot fetch {pin.label} (sha256 {pin.sha256}):\n" + "\n".join(reasons),
        "check the network, name an archive in HOSTWRIGHT_MIRROR, or renew the pins with ./doit lock",
    )


def fetch_bytes(path: str, mirrors: Sequence[str]) -> bytes:
    """A file whose digest is not known beforehand (an index); the caller checks its signature or digest."""
    reasons = []
    for place in _places(path, mirrors):
        try:
            with transfer.opened(place) as answer:
                return b"".join(answer.blocks(MOST_INDEX_BYTES))
        except transfer.TransferError as error:
            reasons.append(_line(place, error))
    raise UserError(
        f"cannot fetch {path}:\n" + "\n".join(reasons),
        "check the network or name an archive in HOSTWRIGHT_MIRROR",
    )


def is_offered(path: str, mirrors: Sequence[str]) -> bool:
    """Whether an archive has a file of the pool now: its index may list one that it does not hold.

    Raises UserError when an archive gives no answer to that.
    """
    reasons = []
    for place in _places(path, mirrors):
        try:
            transfer.probe(place)
            return True
        except transfer.TransferError as error:
            reasons.append(_line(place, error))
    if all(" 404 " in reason for reason in reasons):
        return False
    raise UserError(
        f"cannot ask for {path}:\n" + "\n".join(reasons),
        "check the network or name an archive in HOSTWRIGHT_MIRROR",
    )


class MissingError(UserError):
    """No archive has the file; every one of them said so."""


@dataclass(frozen=True)
class Stream:
    """A file on its way: its size in bytes and its Last-Modified time if the server sent them, and its content."""

    size: int | None
    modified: str | None
    blocks: Iterator[bytes]


@contextmanager
def stream(path: str, mirrors: Sequence[str], limits: transfer.Limits | None = None) -> Iterator[Stream]:
    """A file of the archive from the first mirror that has it, as it comes.

    Raises UserError naming each mirror and why it failed, MissingError where all answer that there is no such file.
    What breaks off later raises OSError from `blocks`.
    """
    with ExitStack() as stack:
        reasons = {}
        for place in _places(path, mirrors):
            try:
                answer = stack.enter_context(transfer.opened(place, limits=limits))
            except transfer.TransferError as error:
                reasons[place] = str(error)
                continue
            yield Stream(answer.size, answer.modified, answer.blocks(MOST_BYTES))
            return
    lines = (_line(place, why) for place, why in reasons.items())
    message = "\n".join([f"cannot fetch {path}:", *lines])
    if reasons and all(why.startswith("404") for why in reasons.values()):
        raise MissingError(message, "no archive has it")
    raise UserError(message, "check the network or name an archive in HOSTWRIGHT_MIRROR")


def _places(path: str, mirrors: Sequence[str]) -> list[str]:
    return [f"{mirror}/{path}" for mirror in mirrors]


def _line(place: str, reason: object) -> str:
    return f"    {mask(place)}: {reason}"


def _try_place(place: str, pin: Pin, target: Path, progress: Progress) -> str:
    """Why the file could not be had from this place; '' when it is there."""
    part = target.with_name(f"{pin.sha256}.part")
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(attempt)
        try:
            _download(place, pin, part, progress)
        except transfer.RefusedError as error:
            part.unlink(missing_ok=True)
            return str(error)
        except transfer.TransferError as error:
            reason = str(error)
            continue
        if (found := digest(part)) == pin.sha256:
            part.rename(target)
            return ""
        part.unlink()
        reason = f"its sha256 is {found}"
    return reason


def _download(place: str, pin: Pin, part: Path, progress: Progress) -> None:
    """Append to `part` what it lacks; a server without ranges starts it anew."""
    have = part.stat().st_size if part.exists() else 0
    most = pin.size or MOST_BYTES
    if have > most:
        part.unlink()
        have = 0
    with transfer.opened(place, have) as answer:
        if answer.status == 416:
            return
        if answer.start not in (0, have):
            raise transfer.RefusedError(f"it sent the file from byte {answer.start} on, not from {have}")
        if pin.size and answer.size is not None and answer.start + answer.size != pin.size:
            raise transfer.RefusedError(
                f"it has {answer.start + answer.size} bytes instead of the {pin.size} that are pinned"
            )
        with part.open("ab" if answer.start else "wb") as sink:
            for block in answer.blocks(most - answer.start):
                sink.write(block)
                progress(len(block))
