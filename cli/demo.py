"""`liquidgen demo`."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from liquidgen.errors import LiquidgenError

from .output import print_json, say

SEED = 0
SAMPLES_A_STYLE = 8
CFG = 4.0


@dataclass(frozen=True)
class Scale:
    """How much of everything: `pictures` to learn from, training steps, Euler steps."""

    pictures: int
    steps: int
    sampling_steps: int


WHOLE = Scale(pictures=2560, steps=1700, sampling_steps=40)
QUICK = Scale(pictures=256, steps=60, sampling_steps=10)


def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="Under a minute, to see that all works; poor pictures.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("demo"),
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Cache, train and sample on built-in pictures, without a network."""
    begun = time.monotonic()
    scale = QUICK if quick else WHOLE
    folder = out / ("quick" if quick else "whole")
    say("1 of 3: built-in paintings become latents")
    cache = make_cache(folder / "cache", scale)
    say("2 of 3: a network learns on the latents")
    run = folder / "run"
    try:
        train_on(cache, run, scale)
    except LiquidgenError as error:  # an older demonstration's, or damaged
        raise LiquidgenError(error.message, f"remove {folder} and run it again") from error
    say("3 of 3: the network makes new paintings")
    grid = sample_grid(run, folder / "samples", scale)
    seconds = time.monotonic() - begun
    say(f"done in {seconds:.0f} s. {SAMPLES_A_STYLE} new paintings of each style: {grid}")
    if json:
        print_json({"grid": str(grid), "run": str(run), "seconds": round(seconds, 1)})


def make_cache(folder: Path, scale: Scale) -> Path:
    """Encode the built-in pictures with the built-in VAE."""
    from liquidgen.encode import encode_source
    from liquidgen.sources import default_image_size, open_source
    from liquidgen.vae import load_vae

    size = default_image_size("abstract")
    pictures = open_source("abstract", image_size=size, max_images=scale.pictures)
    encode_source(pictures, load_vae("tiny"), folder, image_size=size)
    return folder


def train_on(cache: Path, run: Path, scale: Scale) -> None:
    """Train the smallest size, from scratch."""
    from liquidgen.training.config import make_config

    from .train import run_training

    run_training(
        make_config(
            data=cache,
            out=run,
            size="XS",
            steps=scale.steps,
            batch_size=64,
            lr=3e-3,
            lr_schedule="cosine",
            warmup_steps=50,
            seed=SEED,
            device="cpu",
            save_every=300,
            sample_every=0,
        )
    )


def sample_grid(run: Path, out: Path, scale: Scale) -> Path:
    """New pictures of every style; returns the grid's path."""
    from liquidgen.sources.abstract import STYLES

    from .sample import write_samples

    summary = write_samples(
        run / "model",
        out,
        num=SAMPLES_A_STYLE * len(STYLES),
        classes=STYLES,
        cfg=CFG,
        steps=scale.sampling_steps,
        seed=SEED,
        device="cpu",
    )
    return Path(summary["grid"])
