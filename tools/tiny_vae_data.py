"""The pictures that the built-in VAE `tiny` learns from, and those it is judged on.

Four sorts of pictures, of which whole pictures are held out:

- photographs and other wallpapers: the pictures that these Debian packages install (bookworm)
  gnome-backgrounds, lomiri-wallpapers-16.04, lomiri-wallpapers-20.04, mate-backgrounds,
  plasma-workspace-wallpapers, ukui-wallpapers.
  `apt-get download PACKAGE` and `dpkg -x FILE.deb FOLDER` are enough.
  Held out: the photographs named in `HELD_OUT_PHOTOGRAPHS`, in every size they come in;
- paintings: any folder of pictures, all for training;
- CIFAR-10 in the hub's parquet layout, enlarged to 64 pixels. Held out: the last 1,000 rows;
- the built-in `abstract` pictures. Training draws indices from 1,000,000 up, so that the indices
  that `liquidgen cache abstract` uses are all held out.
"""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as parquet
import torch
from PIL import Image

from liquidgen.sources import abstract

# A photograph is held out when one of these is part of its path.
HELD_OUT_PHOTOGRAPHS = (
    "Bridge_by_Sander_Klootwijk",
    "BytheWater",
    "Dragonfly_by_Bolly",
    "Dune",
    "FallenLeaf",
    "Garden",
    "LadyBird",
    "OneStandsOut",
    "Path",
    "Picture_0B_by_freespace",
    "Wine_by_Jakkub_Mede",
    "greentock_by_Peter_Nerlich",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
)
CIFAR_HELD_OUT_ROWS = 1000
FIRST_TRAINING_INDEX = 1_000_000  # of the abstract pictures
SHORT_SIDE = 768  # pixels; larger pictures are reduced to it before they are cropped

# The share of each sort among the training pictures of one size. CIFAR-10 has none above 64 pixels.
SHARES = {
    64: {"photographs": 0.38, "paintings": 0.12, "cifar": 0.2, "abstract": 0.3},
    128: {"photographs": 0.55, "paintings": 0.2, "abstract": 0.25},
}


def picture_files(folder: Path) -> list[Path]:
    """All pictures under `folder` in a fixed order, without links and the packages' screenshots."""
    suffixes = (".jpg", ".jpeg", ".png", ".webp")
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes)
    return [p for p in files if not p.is_symlink() and "screenshot" not in p.name]


def is_held_out(path: Path) -> bool:
    return any(name in str(path) for name in HELD_OUT_PHOTOGRAPHS)


def open_picture(path: Path, short_side: int) -> Image.Image:
    """An RGB picture, reduced (never enlarged) so that its shorter side is `short_side` pixels."""
    with Image.open(path) as file:
        file.draft("RGB", (short_side, short_side))
        picture = file.convert("RGB")
    scale = short_side / min(picture.size)
    if scale >= 1:
        return picture
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def centre_crop(picture: Image.Image, size: int) -> Image.Image:
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    return picture.crop((left, top, left + size, top + size))


def random_crop(picture: Image.Image, size: int, dice: Random) -> Image.Image:
    """A square of a random place and scale, reduced to `size` pixels, mirrored half of the time."""
    side = math.exp(dice.uniform(math.log(size), math.log(min(picture.size))))
    left, top = dice.uniform(0, picture.width - side), dice.uniform(0, picture.height - side)
    box = (left, top, left + side, top + side)
    crop = picture.resize((size, size), Image.Resampling.BICUBIC, box)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if dice.random() < 0.5 else crop


def crops_of(files: list[Path], size: int, count: int, dice: Random) -> Iterator[Image.Image]:
    """`count` random crops, the same number from every file, or one more."""
    for place, path in enumerate(files):
        picture = open_picture(path, SHORT_SIDE)
        share = count * (place + 1) // len(files) - count * place // len(files)
        if min(picture.size) >= size:
            yield from (random_crop(picture, size, dice) for _ in range(share))


def cifar_pictures(path: Path, rows: list[int], size: int) -> Iterator[Image.Image]:
    """The given rows of a CIFAR-10 parquet file, enlarged to `size` pixels."""
    column = parquet.read_table(path, columns=["image"])["image"]
    for row in rows:
        picture = Image.open(io.BytesIO(column[row]["bytes"].as_py())).convert("RGB")
        yield picture.resize((size, size), Image.Resampling.BICUBIC)


def to_tensor(pictures: Iterator[Image.Image]) -> torch.Tensor:
    """Pictures of one size -> uint8 [N, 3, H, W]."""
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def training_pictures(
    photographs: Path, paintings: Path, cifar: Path, size: int, count: int, seed: int
) -> torch.Tensor:
    """About `count` training pictures in random order -> uint8 [N, 3, size, size]."""
    dice = Random(seed)
    counts = {sort: round(share * count) for sort, share in SHARES[size].items()}
    wallpapers = [path for path in picture_files(photographs) if not is_held_out(path)]
    first = FIRST_TRAINING_INDEX * (1 + seed) + 100_000 * (size // 64)
    parts = [
        to_tensor(crops_of(wallpapers, size, counts["photographs"], dice)),
        to_tensor(crops_of(picture_files(paintings), size, counts["paintings"], dice)),
        to_tensor(abstract.draw(first + place, size) for place in range(counts["abstract"])),
    ]
    if "cifar" in counts:
        rows = parquet.read_metadata(cifar).num_rows - CIFAR_HELD_OUT_ROWS
        parts.append(
            to_tensor(cifar_pictures(cifar, dice.sample(range(rows), counts["cifar"]), 64))
        )
    pictures = torch.cat(parts)
    return pictures[torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))]


def held_out_pictures(photographs: Path, cifar: Path, count: int) -> dict[str, torch.Tensor]:
    """Pictures that training never sees, uint8 [N, 3, H, W] each.

    `count` abstract pictures and CIFAR-10 pictures at 64 px; all held-out photographs, reduced to
    a shorter side of 256 px and cropped to the middle.
    """
    files = [path for path in picture_files(photographs) if is_held_out(path)]
    if not files:
        raise SystemExit(f"error: no held-out photograph under {photographs}")
    last = parquet.read_metadata(cifar).num_rows
    rows = list(range(last - CIFAR_HELD_OUT_ROWS, last - CIFAR_HELD_OUT_ROWS + count))
    return {
        "abstract at 64 px": to_tensor(abstract.draw(index, 64) for index in range(count)),
        "photographs at 256 px": to_tensor(centre_crop(open_picture(p, 256), 256) for p in files),
        "CIFAR-10 at 64 px": to_tensor(cifar_pictures(cifar, rows, 64)),
    }


def psnr(pictures: torch.Tensor, decoded: torch.Tensor) -> tuple[float, float]:
    """Peak signal-to-noise ratio of uint8 pictures [N, 3, H, W] in dB.

    Returns the ratio over the mean squared error of all pictures together, and the mean of the
    single pictures' ratios (never smaller).
    """
    errors = (pictures.double() - decoded.double()).square().mean(dim=(1, 2, 3)).clamp(min=1e-3)
    return float(10 * (255**2 / errors.mean()).log10()), float(
        10 * (255**2 / errors).log10().mean()
    )
