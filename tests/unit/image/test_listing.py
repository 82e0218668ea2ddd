"""The list of files in a slot: what is written is read again."""

from hypothesis import given
from hypothesis import strategies as st

from hostwright.image.listing import Listing, parse, render

NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), min_size=1
).filter(lambda name: " -> " not in name and name == name.strip())
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.dictionaries(NAMES, st.tuples(st.integers(0, 0o7777), DIGESTS)), st.dictionaries(NAMES, NAMES))
def test_what_is_written_is_read_again(files: dict[str, tuple[int, str]], links: dict[str, str]) -> None:
    links = {path: target for path, target in links.items() if path not in files}
    assert parse(render(Listing(files, links))) == Listing(files, links)


def test_a_line_of_another_form_is_left_out() -> None:
    text = f"# f 644 a\n{'0' * 64}  b\n# f 999 c\n{'0' * 64}  c\nx\n# l d -> e\n"
    assert parse(text) == Listing({}, {"d": "e"})
