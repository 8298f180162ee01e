"""Bytes of any picture file -> an upright square RGB picture. The one place where decoding happens.

Rules, so that the same file always gives the same pixels:

- The first frame counts; the EXIF orientation is applied; colour profiles are ignored.
- Transparency is composited on white.
- Integer pictures of more than 8 bits are scaled from 0..65535. Float pictures, and integers beyond
  that range, are scaled from the smallest of 0..1, 0..255, 0..65535 that holds them, else from
  their own minimum..maximum.
- The centre square is taken and resized to the wanted side with an antialiasing Lanczos filter,
  which equals resizing the short side and cropping the middle.
- Pictures of more than 89,478,485 pixels (Pillow's own limit) are refused before they are decoded.
"""

import io
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image, ImageOps

from liquidgen.sources.example import Example, Unreadable

MOST_PIXELS = 89_478_485
THREADS = min(8, os.cpu_count() or 1)
AHEAD = 64  # pictures decoded before they are asked for

# The size is checked below, and refused with a reason, so the warning would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class PictureFile:
    """A picture yet to be read.

    Attributes:
        key: as in `Example`.
        label: as in `Example`.
        read: returns the bytes of the file; may raise OSError.
    """

    key: str
    label: int
    read: Callable[[], bytes]


def read_pictures(files: Iterable[PictureFile], size: int) -> Iterator[Example | Unreadable]:
    """Read, decode and fit pictures in threads, a few ahead of the consumer, keeping the order.

    Args:
        files: what to read; consumed by the calling thread alone.
        size: side of the pictures to make, in pixels.
    """
    remaining = iter(files)
    with ThreadPoolExecutor(THREADS, "decode") as pool:
        ahead: deque[Future[Example | Unreadable]] = deque()
        try:
            ahead.extend(pool.submit(_read, file, size) for file in islice(remaining, AHEAD))
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(_read, file, size) for file in islice(remaining, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read(file: PictureFile, size: int) -> Example | Unreadable:
    try:
        image = fit(decode(file.read()), size)
    except Exception as error:  # noqa: BLE001 - decoders fed hostile bytes raise anything
        return Unreadable(file.key, _reason(error))
    return Example(file.key, image, file.label)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def decode(data: bytes) -> Image.Image:
    """Decode a picture file to upright 8-bit RGB at its own size.

    Raises:
        ValueError: the file is empty, too large, or of a kind without an RGB meaning.
        OSError: the file is truncated or no picture; Pillow may raise others on damaged files.
    """
    if not data:
        raise ValueError("the file is empty")
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels; the limit is {MOST_PIXELS:,}")
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture of any mode to 8-bit RGB by the rules at the top of this module."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        visible = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, visible).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Grey values [H, W] of any number type -> uint8."""
    exact = values.astype(np.float64)
    if not np.isfinite(exact).all():
        raise ValueError("it holds values that are not finite")
    low, high = exact.min(), exact.max()
    ranges = (1, 255, 65535) if values.dtype.kind == "f" else (65535,)
    whole = [top for top in ranges if low >= 0 and high <= top]
    if whole:
        low, high = 0.0, float(whole[0])
    return np.rint((exact - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def fit(image: Image.Image, size: int) -> Image.Image:
    """Resize the centre square of a picture to `size` x `size` pixels."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box)
