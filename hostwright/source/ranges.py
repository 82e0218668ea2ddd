"""Ranges of a file over HTTP (RFC 9110, section 14)."""

import re
from http import HTTPStatus

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end of a Range header (RFC 9110); None to send the whole file.

    It must have one range. A range that begins after the end is empty.
    """
    found = _RANGE.fullmatch(header)
    if not found or found.group() == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    end = min(size, int(last) + 1) if last else size
    return (int(first), end) if int(first) < end else (size, size)


def describe(ranged: tuple[int, int] | None, size: int) -> tuple[HTTPStatus, dict[str, str]]:
    """Status and headers of the answer to a range request."""
    if ranged is None:
        return HTTPStatus.OK, {}
    start, end = ranged
    if start == end:
        return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"}
    return HTTPStatus.PARTIAL_CONTENT, {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
