"""Addresses of archives: whether one can be used at all, and how it is shown."""

import re
from urllib.parse import urlsplit

# RFC 1035, section 2.3.4.
LONGEST_HOST, LONGEST_LABEL = 253, 63

_SECRET = re.compile(r"://\S*@")


def mask(text: str) -> str:
    """A text without the user names and passwords of the URLs in it."""
    return _SECRET.sub("://***@", text)


def fault(address: str) -> str:
    """Why an address names no archive; '' if it does."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        # The reason may quote a password that has a slash in it.
        return "its host or its port cannot be read"
    labels = [len(label) for label in host.rstrip(".").split(".")]
    if parts.scheme not in ("http", "https"):
        return "it must begin with http:// or https://"
    if not address.isprintable() or not host:
        return "it names no host"
    if len(host) > LONGEST_HOST or max(labels) > LONGEST_LABEL:
        return f"a part of its host is longer than {LONGEST_LABEL} characters"
    return "a part of its host is empty" if not min(labels) else ""
