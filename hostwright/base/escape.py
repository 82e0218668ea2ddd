"""Text from elsewhere on its way into another medium: a function for each, used where the text goes in.

    captures, servers' answers, logs, names of files -> visible  -> terminal, plain text
                                                     -> markup   -> HTML, XML, SVG
                                                     -> qemu_value -> a value of a QEMU option

GRUB's shell has `image.templates.grub_word`; a shell has `shlex.quote`.
"""

import html
import re

# What a terminal or an XML parser reads as more than a character: controls of ASCII and ISO 8859 but newline and tab,
# marks that reverse the direction of what follows, separators of lines, halves of characters, and what is none.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """`text` with each control character written as Python would, such as `\\x1b`; newlines and tabs stay."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_line(text: str) -> str:
    """As `visible`, in one line."""
    return visible(" ".join(text.splitlines()))


def markup(text: str) -> str:
    """`text` as content, or a quoted attribute, of HTML, XML or SVG."""
    return html.escape(visible(text))


def qemu_value(text: str) -> str:
    """`text` as a value of a QEMU option that is parted by commas (QEMU's manual, "-drive": a comma is doubled)."""
    return text.replace(",", ",,")
