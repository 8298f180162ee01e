"""Picture files for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A picture of random blocks, another one for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def write_pictures(folder: Path, count: int, classes: tuple[str, ...]) -> Path:
    """Write `count` pictures into the folder of each class, or into the folder itself."""
    places = [folder / name for name in classes or (".",)]
    for seed in range(count * len(places)):
        place = places[seed // count]
        place.mkdir(parents=True, exist_ok=True)
        picture(seed).save(place / f"{seed % count:03d}.png")
    return folder
