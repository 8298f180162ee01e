"""A small real cache: built-in paintings as pixels."""

from pathlib import Path

import pytest

from liquidgen.encode import encode_source
from liquidgen.sources import open_source
from liquidgen.vae import load_vae


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 latents [3, 16, 16] in 8 classes."""
    folder = tmp_path_factory.mktemp("caches") / "paintings"
    pictures = open_source("abstract", image_size=16, max_images=48)
    encode_source(pictures, load_vae("pixels"), folder, image_size=16, shard_images=20)
    return folder
