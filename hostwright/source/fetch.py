"""Downloads, each checked against its sha256 before anything opens it.

    pool path + mirrors --> places --> <sha256>.part (resumed by Range) --> digest --> downloads/<sha256>

The only module that imports requests.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.files import digest, locked
from hostwright.base.limits import limit
from hostwright.base.pin import Pin

if TYPE_CHECKING:
    import requests

TRIES = 3
CONNECTIONS = 4
TIMEOUT_S = (limit(10), limit(60))
_BLOCK = 1 << 18
_threads = threading.local()
# Small, so that a slow mirror is seen to give something.
_STREAM_BLOCK = 1 << 16

Progress = Callable[[int], None]


def local(sha256: str) -> Path:
    """Where a file lies once it is fetched and checked."""
    return paths.downloads() / sha256


def is_here(sha256: str) -> bool:
    """Whether the checked file is in the cache."""
    return local(sha256).exists()


def fetch_all(pins: Sequence[Pin], mirrors: Sequence[str], progress: Progress) -> None:
    """Fetch what is not in the cache, several at a time; `progress` gets the bytes as they come."""
    missing = [one for one in pins if not is_here(one.sha256)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(lambda one: fetch(one, mirrors, progress), missing):
            pass


def fetch(pin: Pin, mirrors: Sequence[str], progress: Progress) -> Path:
    """Fetch one file; raises UserError naming the file, each place tried and why it failed."""
    target = local(pin.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f"{pin.sha256}.lock")):
        if target.exists():
            return target
        reasons = []
        for place in pin.places(mirrors):
            reason = _try_place(place, pin.sha256, target, progress)
            if not reason:
                return target
            reasons.append(f"    {place}: {reason}")
    raise UserError(
        f"cannot fetch {pin.label} (sha256 {pin.sha256}):\n" + "\n".join(reasons),
        "check the network, name an archive in HOSTWRIGHT_MIRROR, or renew the pins with ./doit lock",
    )


def fetch_bytes(path: str, mirrors: Sequence[str]) -> bytes:
    """A file whose digest is not known beforehand (an index); the caller checks its signature or digest."""
    reasons = []
    for place in _places(path, mirrors):
        try:
            answer = _session().get(place, timeout=TIMEOUT_S)
            answer.raise_for_status()
            return answer.content
        except OSError as error:
            reasons.append(f"    {place}: {_reason(error)}")
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
            _session().head(place, timeout=TIMEOUT_S, allow_redirects=True).raise_for_status()
            return True
        except OSError as error:
            reasons.append(f"    {place}: {_reason(error)}")
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
def stream(path: str, mirrors: Sequence[str], timeout_s: tuple[float, float] = TIMEOUT_S) -> Iterator[Stream]:
    """A file of the archive from the first mirror that has it, as it comes.

    Raises UserError naming each mirror and why it failed, MissingError where all answer that there is no such file.
    What breaks off later raises OSError from `blocks`.
    """
    with ExitStack() as stack:
        reasons = {}
        for place in _places(path, mirrors):
            try:
                answer = stack.enter_context(_open(place, timeout_s))
            except OSError as error:
                reasons[place] = _reason(error)
                continue
            size = answer.headers.get("Content-Length", "")
            modified = answer.headers.get("Last-Modified")
            yield Stream(int(size) if size.isdigit() else None, modified, answer.iter_content(_STREAM_BLOCK))
            return
    message = "\n".join([f"cannot fetch {path}:", *(f"    {place}: {why}" for place, why in reasons.items())])
    if reasons and all(why.startswith("404") for why in reasons.values()):
        raise MissingError(message, "no archive has it")
    raise UserError(message, "check the network or name an archive in HOSTWRIGHT_MIRROR")


def _places(path: str, mirrors: Sequence[str]) -> list[str]:
    return [f"{mirror}/{path}" for mirror in mirrors]


def _open(place: str, timeout_s: tuple[float, float]) -> "requests.Response":
    answer = _session().get(place, headers={"Accept-Encoding": "identity"}, stream=True, timeout=timeout_s)
    if answer.url.endswith("/"):
        # The name of a folder leads to a list of its files.
        answer.status_code, answer.reason = 404, "a folder"
    if not answer.ok:
        answer.close()
        answer.raise_for_status()
    return answer


def _session() -> "requests.Session":
    """The session of this thread: its connections are used again, and a session is not safe between threads."""
    import requests

    if not hasattr(_threads, "session"):
        _threads.session = requests.Session()
    session: requests.Session = _threads.session
    return session


def _try_place(place: str, sha256: str, target: Path, progress: Progress) -> str:
    """Why the file could not be had from this place; '' when it is there."""
    part = target.with_name(f"{sha256}.part")
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(attempt)
        try:
            _download(place, part, progress)
        except OSError as error:
            reason = _reason(error)
            if "404" in reason:
                return reason
            continue
        if (found := digest(part)) == sha256:
            part.rename(target)
            return ""
        part.unlink()
        reason = f"its sha256 is {found}"
    return reason


def _download(place: str, part: Path, progress: Progress) -> None:
    """Append to `part` what it lacks; a server without ranges starts it anew."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with _session().get(place, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if have and answer.status_code == 416:
            return
        answer.raise_for_status()
        with part.open("ab" if answer.status_code == 206 else "wb") as sink:
            for block in answer.iter_content(_BLOCK):
                sink.write(block)
                progress(len(block))


def _reason(error: OSError) -> str:
    """An exception of requests in a few words: the status line, or the innermost cause."""
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"{answer.status_code} {answer.reason}"
    return str(error).rsplit(": ", 1)[-1].strip("')>\"") or type(error).__name__
