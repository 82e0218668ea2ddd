"""The real-mode header of a Linux image for x86 (Documentation/arch/x86/boot.rst of the kernel)."""

_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
# The field kernel_version: the offset of its text from 0x200; 0 if the image has none.
_VERSION_AT, _VERSION_BASE = 0x20E, 0x200
# The longest text that is read.
HEAD = 0x200 + 0x10000


def find_release(image: bytes) -> str | None:
    """The release that `uname -r` shows under this image, from its first HEAD bytes; None if it is no image."""
    offset = int.from_bytes(image[_VERSION_AT : _VERSION_AT + 2], "little")
    if image[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC or not offset:
        return None
    words = image[_VERSION_BASE + offset : HEAD].partition(b"\0")[0].split()
    return words[0].decode("ascii", "replace") if words else None
