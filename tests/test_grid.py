"""Grids of pictures: every one in its place, whatever the titles say."""

import pytest
from PIL import Image

from liquidgen.grid import GAP, make_grid

RED, BLUE = (255, 0, 0), (0, 0, 255)


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (16, 16), RED if k % 2 else BLUE) for k in range(count)]


def test_pictures_fill_the_rows_in_order():
    grid = make_grid(pictures(3), columns=2)
    assert grid.size == (2 * (16 + GAP) + GAP, 2 * (16 + GAP) + GAP)
    centres = [(GAP + 8 + (16 + GAP) * (k % 2), GAP + 8 + (16 + GAP) * (k // 2)) for k in range(3)]
    assert [grid.getpixel(centre) for centre in centres] == [BLUE, RED, BLUE]


def test_a_grid_of_no_stated_width_is_about_square():
    assert make_grid(pictures(9)).size == make_grid(pictures(9), columns=3).size


@pytest.mark.parametrize("title", ["", "two\nlines", "🎨", "a very long name " * 20, "日本"])
def test_a_title_stays_above_its_column(title: str):
    plain = make_grid(pictures(2), columns=2, titles=("", ""))
    titled = make_grid(pictures(2), columns=2, titles=(title, ""))
    assert titled.size == plain.size
    right = (16 + 2 * GAP, 0, *plain.size)
    assert titled.crop(right).tobytes() == plain.crop(right).tobytes()
