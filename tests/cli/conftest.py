"""One small cache and one small run, made by the commands and shared by their tests."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from running import Done, liquidgen

PICTURES = 64
STEPS = 24
TRAIN = (
    *("train", "--size", "XS", "--device", "cpu"),
    *("--batch-size", "8", "--lr", "2e-3", "--warmup-steps", "4"),
)
CACHE = "abstract-32-tiny"
RUN = f"{CACHE}-liquidgen-XS"


@dataclass(frozen=True)
class Workplace:
    """A folder where a user cached and trained; to be left as it is.

    Attributes:
        folder: holds `cache` and `runs`.
        cached: how `liquidgen cache` ended.
        trained: how `liquidgen train` ended.
    """

    folder: Path
    cached: Done
    trained: Done

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / CACHE

    @property
    def run(self) -> Path:
        return self.folder / "runs" / RUN

    @property
    def train(self) -> tuple[str, ...]:
        """The command that trained, to be completed with `--steps` and `--out`."""
        return (*TRAIN, "--data", str(self.cache))


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Pictures of 32 px, so latents of 4x4, and a network that has hardly learned."""
    folder = tmp_path_factory.mktemp("workplace")
    cached = liquidgen(
        folder, "cache", "abstract", "--vae", "tiny", "--image-size", 32, "--max-images", PICTURES,
        "--json",
    )  # fmt: skip
    assert cached.code == 0, cached.stderr
    trained = liquidgen(
        folder, *TRAIN, "--steps", STEPS, "--save-every", 10, "--sample-every", 20, "--json"
    )
    assert trained.code == 0, trained.stderr
    return Workplace(folder, cached, trained)
