"""What tests share: a small real autoencoder, folders of real picture files, data beside the project."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from liquidgen.vae import Vae, load_vae

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_a_home_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_CACHE"] = str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the project, which the project does not ship."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the real data and weights in {folder}")
    return folder


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of a real, small, untrained autoencoder: 4 channels, 8x."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vaes") / "small"
    widths, blocks = (8, 8, 8, 8), (1, 1, 1, 1)
    AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=blocks,
        num_decoder_blocks=blocks,
        latent_channels=4,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_vae(vae_folder: Path) -> Vae:
    return load_vae(str(vae_folder))


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A picture of random blocks, another one for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of picture files, `count` in each class, or without classes."""

    def make(count: int, classes: tuple[str, ...] = ("cats", "dogs"), name: str = "pets") -> Path:
        folder = tmp_path / name
        seed = 0
        for class_name in classes or (".",):
            (folder / class_name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture(seed).save(folder / class_name / f"{number:03d}.png")
                seed += 1
        return folder

    return make
