"""What a Linux image for x86 says of itself: the real-mode header (Documentation/arch/x86/boot.rst of the kernel)."""

_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
# The field kernel_version: where its text begins, counted from 0x200; 0 where the image has none.
_VERSION_AT, _VERSION_BASE = 0x20E, 0x200
# The field reaches no further.
HEAD = 0x200 + 0x10000


def find_release(image: bytes) -> str | None:
    """What `uname -r` says under an image, of which the first HEAD bytes are enough; None if it is none."""
    offset = int.from_bytes(image[_VERSION_AT : _VERSION_AT + 2], "little")
    if image[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC or not offset:
        return None
    words = image[_VERSION_BASE + offset : HEAD].partition(b"\0")[0].split()
    return words[0].decode("ascii", "replace") if words else None
