"""Pictures laid out in a grid."""

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from liquidgen.files import write_atomically

GAP = 4  # pixels between pictures
BACKGROUND = (255, 255, 255)
INK = (60, 60, 60)


def make_grid(
    pictures: Sequence[Image.Image], columns: int | None = None, titles: Sequence[str] = ()
) -> Image.Image:
    """Lay out pictures of one size row by row.

    Args:
        pictures: at least one.
        columns: pictures in a row; None for a grid about as wide as high.
        titles: one for each column, written above it on one line, as far as it fits.
    """
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width, height = pictures[0].size
    head = _title_height(width) if titles else 0
    grid = Image.new(
        "RGB",
        (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP + head),
        BACKGROUND,
    )
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        grid.paste(picture, (GAP + column * (width + GAP), head + GAP + row * (height + GAP)))
    _write_titles(grid, titles[:columns], width)
    return grid


def write_grid(
    path: Path,
    pictures: Sequence[Image.Image],
    columns: int | None = None,
    titles: Sequence[str] = (),
) -> None:
    """Write `make_grid` of the pictures as a PNG file, atomically."""
    grid = make_grid(pictures, columns, titles)
    write_atomically(path, lambda file: grid.save(file, format="PNG"))


def _title_height(width: int) -> int:
    return max(14, width // 6)


def _write_titles(grid: Image.Image, titles: Sequence[str], width: int) -> None:
    draw = ImageDraw.Draw(grid)
    for column, title in enumerate(titles):
        title = " ".join(title.split())
        font = _fitting_font(draw, title, width)
        while draw.textlength(title, font) > width:
            title = title[:-1]
        middle = GAP + column * (width + GAP) + width // 2
        draw.text((middle, GAP), title, fill=INK, font=font, anchor="ma")


def _fitting_font(
    draw: ImageDraw.ImageDraw, title: str, width: int
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    size = max(10, _title_height(width) - 4)
    while size > 6 and draw.textlength(title, ImageFont.load_default(size)) > width:
        size -= 1
    return ImageFont.load_default(size)
