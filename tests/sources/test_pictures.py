"""The same file always gives the same pixels, and a bad file costs only itself."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from liquidgen.sources.example import Example, Unreadable
from liquidgen.sources.pictures import PictureFile, decode, fit, read_pictures


def stored(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colour(data: bytes, at: tuple[int, int] = (0, 0)) -> object:
    image = decode(data)
    assert image.mode == "RGB"
    return image.getpixel(at)


def read(data: bytes) -> Example | Unreadable:
    return next(read_pictures([PictureFile("key", 3, lambda: data)], 16))


def test_sixteen_bit_grey_keeps_its_brightness():
    values = np.array([[0, 0x8080, 0xFFFF]], dtype=np.uint16)
    data = stored(Image.fromarray(values), "PNG")
    assert [colour(data, (x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_grey_is_scaled_by_the_range_that_holds_it(top: float):
    values = np.array([[0, top / 2, top]], dtype=np.float32)
    data = stored(Image.fromarray(values), "TIFF")
    assert [colour(data, (x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]


def test_float_grey_beyond_all_ranges_is_stretched():
    data = stored(Image.fromarray(np.array([[-2.0, 0.0, 2.0]], dtype=np.float32)), "TIFF")
    assert [colour(data, (x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]


def test_cmyk_becomes_rgb():
    assert colour(stored(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF")) == (255, 0, 0)


def test_half_transparent_red_lies_on_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert colour(stored(image, "PNG")) == (255, 127, 127)


def test_transparent_palette_entry_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((1, 0), 1)
    data = stored(image, "PNG", transparency=0)
    assert [colour(data, (x, 0)) for x in range(2)] == [(255,) * 3, (10, 200, 30)]


def test_transparent_grey_is_white():
    assert colour(stored(Image.new("LA", (2, 2), (0, 0)), "PNG")) == (255,) * 3


def test_one_bit_and_grey_become_rgb():
    assert colour(stored(Image.new("1", (2, 2), 1), "PNG")) == (255,) * 3
    assert colour(stored(Image.new("L", (2, 2), 77), "PNG")) == (77,) * 3


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (20, 10), "red")
    image.paste("blue", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned = decode(stored(image, "PNG", exif=exif))
    assert turned.size == (10, 20)
    assert turned.getpixel((5, 2)) == (0, 0, 255)
    assert turned.getpixel((5, 17)) == (255, 0, 0)


def test_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (4, 4), name) for name in ("red", "blue")]
    data = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert colour(data) == (255, 0, 0)


def bomb() -> bytes:
    """A PNG of 20,000 x 10,000 pixels in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        tail = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + tail

    header = struct.pack(">IIBBBBB", 20_000, 10_000, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(2501 * 10_000))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def huge_text() -> bytes:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for number in range(80):
        texts.add_text(f"text{number}", "a" * (1 << 20), zip=True)
    return stored(Image.new("RGB", (4, 4)), "PNG", pnginfo=texts)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a text named .jpg", "not a picture"),
        (stored(Image.effect_noise((64, 64), 50), "JPEG")[:900], "truncated"),
        (stored(Image.effect_noise((64, 64), 50), "PNG")[:900], "truncated"),
        (bomb(), "pixels"),
        (huge_text(), "text"),
        (stored(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"), "not finite"),
    ],
    ids=["empty", "text", "cut JPEG", "cut PNG", "bomb", "huge text chunk", "not a number"],
)
def test_bad_picture_is_reported_with_its_reason(data: bytes, reason: str):
    entry = read(data)
    assert isinstance(entry, Unreadable)
    assert entry.key == "key"
    assert reason in entry.reason.lower()
    assert "\n" not in entry.reason


@pytest.mark.parametrize("size", [(1, 1), (10_000, 3), (3, 10_000), (17, 16), (33, 40)])
def test_any_shape_becomes_a_square(size: tuple[int, int]):
    assert fit(Image.new("RGB", size, "red"), 32).size == (32, 32)
    assert fit(Image.new("RGB", size, "red"), 32).getpixel((16, 16)) == (255, 0, 0)


def test_the_middle_is_kept_and_the_whole_short_side():
    image = Image.new("RGB", (30, 10), "red")
    image.paste("blue", (10, 0, 20, 10))
    assert set(fit(image, 10).get_flattened_data()) == {(0, 0, 255)}


def test_shrinking_is_antialiased():
    checkers = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    small = np.asarray(fit(checkers.convert("RGB"), 8))
    assert abs(small.astype(int) - 128).max() <= 2


def test_pictures_come_in_order_whatever_the_threads_do():
    pictures = [stored(Image.new("L", (16, 16), value), "PNG") for value in range(200)]
    files = [PictureFile(str(n), n, lambda n=n: pictures[n]) for n in range(200)]
    entries = list(read_pictures(files, 16))
    assert [entry.key for entry in entries] == [str(n) for n in range(200)]
    assert all(
        isinstance(entry, Example) and entry.image.getpixel((0, 0)) == (n,) * 3
        for n, entry in enumerate(entries)
    )
