"""Pictures of a machine's screen: kept, compared, laid side by side. The only module that imports Pillow.

Frame --> write_png() --> contact_sheet()   all stages at a glance
                     \\-> animate()         the whole run in a short time
Frame --> difference(), is_blank(), red_share()
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hostwright.base.files import replaced

if TYPE_CHECKING:
    from PIL.Image import Image


SHEET_BYTES = 2 << 20
SHEET_COLUMNS = 3
# The first width that keeps a sheet below SHEET_BYTES is taken.
SHEET_WIDTHS = (640, 480, 320, 160)
# Screens of text have few colours: a palette is a third of the size and looks the same.
SHEET_COLOURS = 64
ANIMATION_SIZE = (800, 600)
# A cursor's cell, or two: less than this is nothing to be seen.
CURSOR_PIXELS = 256
# The installer's error screens show more of it, its buttons and progress bars less.
RED_SCREEN = 0.1

_GAP = 12
_FONT_SIZE = 16
_CAPTION_HEIGHT = 26
_PAPER, _INK, _EDGE = (250, 250, 250), (20, 20, 20), (160, 160, 160)


@dataclass(frozen=True)
class Frame:
    """A screen: its size in pixels, and its pixels row by row, three bytes each."""

    width: int
    height: int
    rgb: bytes

    def __post_init__(self) -> None:
        if len(self.rgb) != 3 * self.width * self.height:
            raise ValueError(f"{len(self.rgb)} bytes are not {self.width}x{self.height} pixels")


@dataclass(frozen=True)
class Shot:
    """A kept picture and what it shows."""

    title: str
    path: Path


# One frame.


def write_png(frame: Frame, path: Path) -> None:
    """Write `frame` to `path`, which is whole or not there."""
    with replaced(path) as new:
        _image(frame).save(new, format="PNG", compress_level=6)


def read(path: Path) -> Frame:
    """The frame in a picture file; raises OSError for anything else, and for a size that no screen has."""
    image = _open(path)
    return Frame(image.width, image.height, image.tobytes())


def difference(one: Frame, other: Frame) -> float:
    """The share of pixels that differ, 0 to 1; 1 for frames of different sizes."""
    from PIL import ImageChops

    if (one.width, one.height) != (other.width, other.height):
        return 1.0
    red, green, blue = ImageChops.difference(_image(one), _image(other)).split()
    changes = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return 1 - changes.histogram()[0] / _pixels(one)


def is_blank(frame: Frame) -> bool:
    """Whether there is nothing to see but one colour and a cursor."""
    colours = _image(frame).getcolors(_pixels(frame)) or []
    return _pixels(frame) - max((count for count, _ in colours), default=0) <= CURSOR_PIXELS


def red_share(frame: Frame) -> float:
    """The share of pixels in a terminal's dark red, 0 to 1.

    cdebconf's newt frontend turns the whole background red for a question of type error (newt_handler_error), and
    shows a focused button in red at any time: compare with RED_SCREEN.
    """
    from PIL import ImageChops

    red, green, blue = _image(frame).split()
    strong = red.point([255 if value >= 128 else 0 for value in range(256)])
    others = ImageChops.lighter(green, blue).point([255 if value < 64 else 0 for value in range(256)])
    return ImageChops.darker(strong, others).histogram()[255] / _pixels(frame)


# Many frames.


def contact_sheet(shots: Sequence[Shot], out: Path) -> None:
    """All shots in one PNG of at most SHEET_BYTES, in rows, each above its title; ValueError without any."""
    if not shots:
        raise ValueError("no picture to lay out")
    for width in SHEET_WIDTHS:
        with replaced(out) as new:
            _sheet(shots, width).quantize(SHEET_COLOURS).save(new, format="PNG", optimize=True)
        if out.stat().st_size <= SHEET_BYTES:
            return


def animate(frames: Sequence[Path], out: Path, frame_ms: int) -> None:
    """The pictures one after another, `frame_ms` each, as the suffix of `out` says: .png (APNG), .webp or .gif.

    All are scaled into one size. ValueError without any picture.
    """
    if not frames:
        raise ValueError("no picture to animate")
    first, *others = [_fit(_open(path)) for path in frames]
    with replaced(out) as new:
        first.save(
            new,
            format="PNG" if out.suffix == ".png" else out.suffix[1:].upper(),
            save_all=True,
            append_images=others,
            duration=frame_ms,
            loop=0,
            **({"lossless": True} if out.suffix == ".webp" else {}),
        )


def shorten(text: str, fits: float, width_of: Callable[[str], float]) -> str:
    """`text`, cut where it would be wider than `fits` and marked as cut."""
    if width_of(text) <= fits:
        return text
    kept = next((end for end in range(len(text) - 1, 0, -1) if width_of(text[:end] + "...") <= fits), 0)
    return text[:kept] + "..."


def _sheet(shots: Sequence[Shot], width: int) -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    tiles = [_tile(shot.path, width) for shot in shots]
    columns = min(SHEET_COLUMNS, len(shots))
    step_x, step_y = width + _GAP, max(tile.height for tile in tiles) + _CAPTION_HEIGHT + _GAP
    rows = math.ceil(len(shots) / columns)
    sheet = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for number, (shot, tile) in enumerate(zip(shots, tiles, strict=True)):
        x, y = _GAP + number % columns * step_x, _GAP + number // columns * step_y
        sheet.paste(tile, (x, y))
        pen.rectangle((x - 1, y - 1, x + width, y + tile.height), outline=_EDGE)
        title = shorten(f"{number + 1}. {shot.title}", width, partial(pen.textlength, font=font))
        pen.text((x, y + tile.height + 4), title, fill=_INK, font=font)
    return sheet


def _tile(path: Path, width: int) -> "Image":
    from PIL import Image

    image = _open(path)
    return image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.BOX)


def _fit(image: "Image") -> "Image":
    """`image` in the middle of an animation's frame, smaller if it must be."""
    from PIL import Image

    image.thumbnail(ANIMATION_SIZE, Image.Resampling.BOX)
    frame = Image.new("RGB", ANIMATION_SIZE)
    frame.paste(image, ((frame.width - image.width) // 2, (frame.height - image.height) // 2))
    return frame


def _image(frame: Frame) -> "Image":
    from PIL import Image

    return Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)


def _open(path: Path) -> "Image":
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Image.DecompressionBombError as error:
        raise OSError(str(error)) from None


def _pixels(frame: Frame) -> int:
    return frame.width * frame.height
