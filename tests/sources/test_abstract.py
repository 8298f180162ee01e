"""The built-in paintings: a function of the index alone, alike at every size, eight styles."""

import numpy as np
import pytest
from PIL import Image

from liquidgen.sources.abstract import STYLES, AbstractPaintings, draw


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.float32)  # [size, size, 3], 0 to 255


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square difference, 0 to 255."""
    return float(np.sqrt(((first - second) ** 2).mean()))


def drawn(style: str, count: int, size: int = 32) -> np.ndarray:
    """The first paintings of one style, [count, size, size, 3]."""
    first = STYLES.index(style)
    return np.stack([pixels(draw(first + 8 * place, size)) for place in range(count)])


def test_there_are_eight_styles_with_short_kebab_case_names():
    assert len(set(STYLES)) == 8
    assert all(name == name.lower() and name.replace("-", "").isalpha() for name in STYLES)


@pytest.mark.parametrize("index", [*range(8), 12345, 10**12])
def test_a_painting_depends_on_its_index_alone(index: int):
    before = draw(index, 48).tobytes()
    draw(index + 1, 48)
    assert draw(index, 48).tobytes() == before
    assert draw(index + 8, 48).tobytes() != before


@pytest.mark.parametrize("index", range(32))
def test_the_composition_is_the_same_at_every_size(index: int):
    small = pixels(draw(index, 64))
    large = pixels(draw(index, 256).resize((64, 64), Image.Resampling.BILINEAR))
    assert distance(small, large) < 12  # two different paintings: about 75


@pytest.mark.parametrize("size", [1, 2, 7, 33, 65, 100, 301])
def test_any_size_can_be_drawn(size: int):
    for index in range(16):
        picture = draw(index, size)
        assert picture.mode == "RGB"
        assert picture.size == (size, size)


@pytest.mark.parametrize("style", STYLES)
def test_paintings_of_one_style_vary(style: str):
    paintings = drawn(style, 24)
    apart = [distance(a, b) for place, a in enumerate(paintings) for b in paintings[:place]]
    assert np.mean(apart) > 35
    assert min(apart) > 3
    assert np.ptp(paintings.mean(axis=(1, 2)), axis=0).max() > 50  # some light, some dark


@pytest.mark.parametrize("style", STYLES)
def test_no_painting_is_nearly_plain(style: str):
    assert drawn(style, 100, size=16).std(axis=(1, 2)).max(axis=1).min() > 8


# Mean colour of each style's first painting at 32 pixels. When this fails the paintings have
# changed: raise DRAWING_VERSION, or a cache made before would pass for one made after.
FIRST_PAINTINGS = [
    [203, 157, 140],
    [174, 138, 122],
    [206, 153, 149],
    [109, 119, 87],
    [135, 116, 138],
    [209, 136, 119],
    [143, 121, 117],
    [150, 117, 128],
]


@pytest.mark.parametrize(("index", "colour"), enumerate(FIRST_PAINTINGS))
def test_the_paintings_are_those_of_the_stated_version(index: int, colour: list[int]):
    assert AbstractPaintings.revision == "1"
    assert pixels(draw(index, 32)).mean(axis=(0, 1)) == pytest.approx(colour, abs=1.5)


def test_the_source_yields_each_painting_with_its_style_as_label():
    source = AbstractPaintings(32, length=20)
    examples = list(source.examples(6, 10))
    assert [example.key for example in examples] == [f"abstract-{n:06d}" for n in range(6, 10)]
    assert [source.classes[example.label] for example in examples] == [*STYLES[6:], *STYLES[:2]]
    assert all(e.image == draw(n, 32) for n, e in enumerate(examples, start=6))


def test_the_source_ends_at_its_length():
    source = AbstractPaintings(32, length=20)
    assert len(source) == 20
    assert [example.key for example in source.examples(19, 40)] == ["abstract-000019"]
    assert list(source.examples(20, 40)) == []
    assert len(AbstractPaintings(32)) == 2000
