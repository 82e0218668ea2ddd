"""Text from elsewhere, read back by the medium that it went into."""

import re
import unicodedata
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright.base.escape import markup, qemu_value, visible, visible_line

# Every character, halves of pairs too, and those that mean something more often.
TEXT = st.text(
    st.one_of(st.characters(codec=None), st.sampled_from("\x1b\x9b\r\n\t<>&\"',;%\u202e\ufffe\ud800"))
)


class Content(HTMLParser):
    """The text of a page, its tags, and the attribute `a` of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shown, self.tags, self.values = "", list[str](), list[str | None]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.shown += data


@given(TEXT)
def test_a_terminal_obeys_nothing_in_it(text: str) -> None:
    shown = visible(text)
    kinds = {unicodedata.category(one) for one in shown if one not in "\n\t"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert shown.encode().decode() == shown
    assert visible(shown) == shown
    assert "\n" not in visible_line(text)


@given(TEXT)
def test_html_shows_it_and_nothing_else(text: str) -> None:
    page = Content(f'<p a="{markup(text)}">{markup(text)}</p>')
    assert (page.shown, page.tags, page.values) == (visible(text), ["p"], [visible(text)])


@given(TEXT)
def test_xml_takes_it_as_text(text: str) -> None:
    root = ElementTree.fromstring(f'<p a="{markup(text)}">{markup(text)}</p>')
    assert (root.text or "") == visible(text)
    # A parser reads blanks for newlines and tabs in an attribute (XML 1.0, 3.3.3).
    assert root.attrib["a"] == re.sub(r"[\n\t]", " ", visible(text))


@given(TEXT)
def test_a_qemu_option_ends_at_no_comma_of_it(text: str) -> None:
    option = f"file={qemu_value(text)},format=raw"
    parts = re.findall(r"(?:,,|[^,])+", option, re.S)
    assert [part.replace(",,", ",") for part in parts] == [f"file={text}", "format=raw"]


SEEN = {
    "\x1b[2Jgone": r"\x1b[2Jgone",
    "\x9b31m": r"\x9b31m",
    "done\r  failed": r"done\r  failed",
    "a\u202eb": r"a\u202eb",
    "größer\n\tTesla": "größer\n\tTesla",
}


@pytest.mark.parametrize("text", SEEN)
def test_what_is_taken_out_is_seen(text: str) -> None:
    assert visible(text) == SEEN[text]
