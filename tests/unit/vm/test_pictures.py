"""Pictures of a screen, made here pixel by pixel."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hostwright.vm import pictures
from hostwright.vm.pictures import Frame, Shot

WIDTH, HEIGHT = 80, 50
BLUE, RED, GRAY, BLACK = b"\0\0\xaa", b"\xaa\0\0", b"\xaa\xaa\xaa", b"\0\0\0"


def screen(*areas: tuple[bytes, int, int, int, int], width: int = WIDTH, height: int = HEIGHT) -> Frame:
    """Rectangles (colour, x, y, width, height) on black."""
    rows = [[BLACK] * width for _ in range(height)]
    for colour, left, top, wide, high in areas:
        for row in rows[top : top + high]:
            row[left : left + wide] = [colour] * wide
    return Frame(width, height, b"".join(b"".join(row) for row in rows))


def dialog(background: bytes, button: bytes = RED) -> Frame:
    """The installer's screen: a gray window, and a button that has the focus."""
    return screen((background, 0, 0, 80, 50), (GRAY, 4, 4, 72, 40), (button, 30, 38, 12, 2))


def frames(size: int = 4) -> st.SearchStrategy[Frame]:
    return st.binary(min_size=3 * size * size, max_size=3 * size * size).map(
        lambda rgb: Frame(size, size, rgb)
    )


def colours(path: Path, frame: int) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        image.seek(frame)
        found = image.convert("RGB").getcolors(1 << 20)
        assert found
        return {colour for _, colour in found if isinstance(colour, tuple)}


def test_a_frame_has_the_pixels_of_its_size() -> None:
    with pytest.raises(ValueError, match="11 bytes are not 2x2 pixels"):
        Frame(2, 2, b"x" * 11)


@settings(max_examples=20)
@given(frames())
def test_a_written_frame_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, frame: Frame) -> None:
    place = tmp_path_factory.mktemp("shot") / "shot.png"
    pictures.write_png(frame, place)
    assert pictures.read(place) == frame
    assert [file.name for file in place.parent.iterdir()] == ["shot.png"]


@given(frames(), frames())
def test_difference_is_the_share_of_other_pixels(one: Frame, other: Frame) -> None:
    changed = sum(one.rgb[at : at + 3] != other.rgb[at : at + 3] for at in range(0, len(one.rgb), 3))
    assert pictures.difference(one, other) == pytest.approx(changed / 16)
    assert pictures.difference(one, one) == 0


def test_frames_of_other_sizes_differ_wholly() -> None:
    assert pictures.difference(screen(), screen(width=40, height=100)) == 1


@pytest.mark.parametrize("colour", [BLACK, BLUE, GRAY])
def test_a_cursor_alone_is_blank(colour: bytes) -> None:
    assert pictures.is_blank(screen((colour, 0, 0, 80, 50), (GRAY, 0, 0, 9, 16)))


def test_a_dialog_is_not_blank() -> None:
    assert not pictures.is_blank(dialog(BLUE))


def test_red_is_the_background_and_not_the_button() -> None:
    assert pictures.red_share(dialog(RED)) > 0.25 > pictures.RED_SCREEN
    assert pictures.RED_SCREEN > pictures.red_share(dialog(BLUE)) > 0


@pytest.mark.parametrize(
    "rgb", [b"\xaa\x55\0", b"\xaa\0\xaa", b"\xaa\xaa\xaa", b"\x40\0\0", b"\xff\x55\x55", b"\0\xaa\0"]
)
def test_other_colours_are_not_red(rgb: bytes) -> None:
    assert pictures.red_share(screen((rgb, 0, 0, 80, 50))) == 0


@given(frames())
def test_red_share_counts_pixels(frame: Frame) -> None:
    red = sum(
        frame.rgb[at] >= 128 and max(frame.rgb[at + 1 : at + 3]) < 64 for at in range(0, len(frame.rgb), 3)
    )
    assert pictures.red_share(frame) == pytest.approx(red / 16)


def shots(folder: Path, all_frames: list[Frame]) -> list[Shot]:
    made = []
    for number, frame in enumerate(all_frames):
        path = folder / f"{number}.png"
        pictures.write_png(frame, path)
        made.append(Shot(f"stage {number}, which has a rather long name", path))
    return made


def test_a_sheet_shows_every_shot_in_rows(tmp_path: Path) -> None:
    backgrounds = [b"\0\xaa\0", b"\xaa\0\xaa", b"\xaa\x55\0", b"\0\xaa\xaa"]
    made = shots(tmp_path, [screen((colour, 0, 0, 80, 50)) for colour in backgrounds])
    pictures.contact_sheet(made, tmp_path / "sheet.png")
    sheet = pictures.read(tmp_path / "sheet.png")
    tile = pictures.SHEET_WIDTHS[0]
    assert sheet.width > 3 * tile and sheet.height > 2 * tile * HEIGHT // WIDTH
    for colour in backgrounds:
        assert sheet.rgb.count(colour) > tile * tile * HEIGHT // WIDTH * 0.9


def test_a_sheet_of_noise_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SHEET_BYTES", 100_000)
    noise = Frame(320, 200, bytes((at * at * 31 >> 7) & 255 for at in range(3 * 320 * 200)))
    pictures.contact_sheet(shots(tmp_path, [noise] * 4), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size <= 100_000


def test_an_empty_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no picture"):
        pictures.contact_sheet([], tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="no picture"):
        pictures.animate([], tmp_path / "sheet.webp", 500)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_an_animation_keeps_order_colours_and_time(tmp_path: Path, suffix: str) -> None:
    blue, red = dialog(BLUE), dialog(RED)
    other_size = screen((GRAY, 0, 0, 160, 100), width=160, height=100)
    made = [shot.path for shot in shots(tmp_path, [blue, blue, red, other_size])]
    out = tmp_path / f"install{suffix}"
    pictures.animate(made, out, 500)
    with Image.open(out) as image:
        assert (getattr(image, "n_frames", 1), image.size) == (3, pictures.ANIMATION_SIZE)
    assert tuple(BLUE) in colours(out, 0) and tuple(BLUE) not in colours(out, 1)
    assert colours(out, 1) == {tuple(RED), tuple(GRAY), tuple(BLACK)}
    assert colours(out, 2) == {tuple(GRAY), tuple(BLACK)}
    assert durations(out)[:2] == [1000, 500]


def durations(path: Path) -> list[int]:
    with Image.open(path) as image:
        times = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            times.append(round(image.info.get("duration", 0)))
        return times


@given(st.text(min_size=1), st.integers(0, 40))
def test_a_long_title_is_cut_and_marked(text: str, fits: int) -> None:
    cut = pictures.shorten(text, fits, len)
    if len(text) <= fits:
        assert cut == text
    else:
        assert cut.endswith("...") and len(cut) <= max(fits, 3)
        assert text.startswith(cut[:-3])
