"""What tests share: a small real autoencoder, folders of real picture files, data beside the project."""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from making import write_pictures

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
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

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


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """`write_pictures` into a folder of the test, named "pets" unless told otherwise."""

    def make(count: int, classes: tuple[str, ...] = ("cats", "dogs"), name: str = "pets") -> Path:
        return write_pictures(tmp_path / name, count, classes)

    return make


@pytest.fixture
def run_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str, str]]:
    """Run a command line in this process, in the test's folder: exit code, stdout, stderr."""
    from liquidgen.cli.app import main  # pyright: ignore[reportMissingImports]

    def run(line: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["liquidgen", *shlex.split(line)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as finished:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        return int(finished.value.code or 0), out, err

    return run
