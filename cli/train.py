"""`liquidgen train`."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import print_json, say

if TYPE_CHECKING:
    from liquidgen.backbones.liquidgen import LiquidGen
    from liquidgen.model_folder import ModelFacts
    from liquidgen.training.config import TrainConfig
    from liquidgen.training.loop import TrainResult

GRID_CLASSES = 8
GRID_PICTURES = 4  # of each class
GRID_CFG = 3.0
GRID_STEPS = 25

log = logging.getLogger("liquidgen.cli")


def train(
    data: Annotated[
        Path | None, typer.Option(help="Folder of a cache. Default: the newest in ./cache.")
    ] = None,
    size: Annotated[str, typer.Option(help="XS, S, B or L; see `liquidgen presets`.")] = "S",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/<cache>-liquidgen-<size>.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in all. [default: 100000]")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Instead of --steps: passes over all pictures.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures a step and process.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of AdamW.")] = 1e-4,
    lr_schedule: Annotated[str, typer.Option(help="constant or cosine.")] = "constant",
    warmup_steps: Annotated[int, typer.Option(help="Steps in which the rate rises.")] = 500,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.01,
    cfg_dropout: Annotated[
        float, typer.Option(help="Share of classes dropped, for guidance.")
    ] = 0.1,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights, warmed up.")] = 0.9999,
    seed: Annotated[int, typer.Option(help="Of the weights, the order and the noise.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints; 0: the end.")] = 1000,
    keep: Annotated[int, typer.Option(help="Checkpoints kept.")] = 2,
    sample_every: Annotated[int, typer.Option(help="Steps between sample grids; 0: none.")] = 1000,
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Train a network on a cache. Run it again to go on where it stopped."""
    from liquidgen.errors import LiquidgenError
    from liquidgen.training.config import make_config

    from .checks import check_range, check_size
    from .places import newest_cache

    check_size(size)
    if steps is not None and epochs is not None:
        raise LiquidgenError("--steps and --epochs exclude each other", "give one of them")
    cache = data or newest_cache(Path("cache"))
    if epochs is not None:
        check_range("--epochs", epochs, 1, 1_000_000)
        check_range("--batch-size", batch_size, 1, 1_000_000)
        steps = steps_of(cache, epochs, batch_size)
    config = make_config(
        data=cache,
        out=out or Path("runs") / f"{cache.resolve().name}-liquidgen-{size}",
        size=size,
        steps=100_000 if steps is None else steps,
        batch_size=batch_size,
        lr=lr,
        lr_schedule=lr_schedule,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        cfg_dropout=cfg_dropout,
        ema=ema,
        seed=seed,
        precision=precision,
        device=device,
        save_every=save_every,
        keep=keep,
        sample_every=sample_every,
    )
    result = run_training(config)
    say(f"{result.step} steps done; the model is in {result.run / 'model'}")
    if json:
        print_json(
            {
                "run": str(result.run),
                "step": result.step,
                "loss": result.loss,
                "seconds": round(result.seconds, 3),
                "parameters": result.parameters,
            }
        )


def steps_of(cache: Path, epochs: int, batch_size: int) -> int:
    """Steps in which all processes together see each picture `epochs` times or a little more."""
    from liquidgen.latents import read_manifest

    pictures_a_step = batch_size * int(os.environ.get("WORLD_SIZE", "1"))
    return -(-epochs * read_manifest(cache).count // pictures_a_step)


def run_training(config: "TrainConfig") -> "TrainResult":
    """Train with sample grids in `samples/`; leaves with 130 when it was stopped."""
    from liquidgen.errors import LiquidgenError
    from liquidgen.training.loop import Hooks, train

    def draw(backbone: "LiquidGen", facts: "ModelFacts") -> None:
        try:
            draw_grid(config.out, backbone, facts)
        except (LiquidgenError, OSError, RuntimeError) as error:  # no VAE here, no memory, no space
            log.warning("warning: no sample grid at step %d: %s", facts.steps, error)

    hooks = Hooks(draw_samples=draw)
    result = train(config, hooks)
    if result.stopped:
        log.info("stopped at step %d of %d", result.step, config.steps)
        raise SystemExit(130)
    return result


def draw_grid(run: Path, backbone: "LiquidGen", facts: "ModelFacts") -> None:
    """Write `samples/step-N.png`; the VAE is loaded for it and let go."""
    from liquidgen.generate import choose_labels, decode, denoise, load_matching_vae
    from liquidgen.grid import write_grid

    titles = facts.classes[:GRID_CLASSES]
    columns = len(titles) or GRID_PICTURES
    labels = choose_labels(facts, titles, columns * GRID_PICTURES)
    latents = list(denoise(backbone, facts, labels, 0, GRID_STEPS, GRID_CFG))
    vae = load_matching_vae(facts, None, backbone.device)
    pictures = [picture for batch in latents for picture in decode(vae, batch)]
    folder = run / "samples"
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{facts.steps:08d}.png"
    write_grid(path, pictures, columns, titles)
    log.info("samples: %s", path)
