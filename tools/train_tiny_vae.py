"""Train the built-in VAE `tiny` from random weights and export it to `liquidgen/tiny_vae/`.

    torchrun --nproc-per-node 2 -m tools.train_tiny_vae --photographs FOLDER --paintings FOLDER \\
        --cifar TRAIN.parquet --teacher madebyollin/taef1 --minutes 50 --work /tmp/tiny

`tiny` is a diffusers AutoencoderTiny with the latent shape of FLUX.1 (16 channels, 8x), without
blocks at full resolution, so that one CPU core trains it in an hour. It is a student of taef1
(Ollin Boer Bohan, MIT). The loss, in units of squared error of pixels in [0, 1], is

    |decode(z) - picture|^2  +  a * d^T M d

for z = encode(picture) and d = z - taef1's encode(picture):

- the first term trains encoder and decoder for the round trip;
- the second keeps the latents where taef1's decoder shows the same picture: M [16, 16] is the mean
  of J^T J for the Jacobian J of taef1's decoder, so d^T M d is about the squared error that taef1
  would make of the difference.

Data recipe: the module `tools.tiny_vae_data`. From `--seed` and its rank each process draws 10,000
pictures of 64 px (38% crops of wallpapers, 12% crops of paintings, 20% CIFAR-10, 30% `abstract`)
and 500 of 128 px (55%, 20%, none, 25%), and keeps them with their taef1 latents in `--work` for the
next run. Crops have random places, scales and mirroring. Every eighth step is a batch of 4 of the
large pictures, all others of 16 of the small.

Optimisation: AdamW, 4% warm-up, then cosine to 0 over `--minutes` of wall-clock time, gradients
clipped at 1, bf16 autocast, exponential moving average of the weights. One process of one thread a
core, gradients averaged: far faster than threads on a machine that others use too. Without torchrun
it is one process.
"""

import argparse
import copy
import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import distributed, nn

from tools.tiny_vae_data import held_out_pictures, psnr, training_pictures

PICTURES = {64: 10_000, 128: 500}  # size in pixels: how many each process draws
BATCH = {64: 16, 128: 4}  # the same number of pixels
LARGE_EVERY = 8  # steps
EMA_DECAY = 0.999
WARM_UP = 0.04  # share of the run
REPORT_SECONDS = 240


@dataclass(frozen=True)
class Pool:
    """Training pictures of one size and what taef1 makes of them."""

    pictures: torch.Tensor  # uint8 [N, 3, H, W]
    latents: torch.Tensor  # fp16 [N, 16, H / 8, W / 8]


def new_model() -> AutoencoderTiny:
    return AutoencoderTiny(
        latent_channels=16,
        encoder_block_out_channels=(64, 64, 64, 64),
        decoder_block_out_channels=(64, 64, 64, 64),
        num_encoder_blocks=(0, 1, 3, 3),
        num_decoder_blocks=(3, 3, 1, 0),
        scaling_factor=1.0,  # taef1's latents are those of FLUX.1 after (z - shift) * scale
        shift_factor=0.0,
    )


def to_model(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 pictures -> [-1, 1] with the channels last, as convolutions on a CPU like it."""
    return pictures.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


def to_pictures(decoded: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> uint8, rounded."""
    return decoded.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


@torch.inference_mode()
def encode(model: AutoencoderTiny, pictures: torch.Tensor, batch: int = 16) -> torch.Tensor:
    """uint8 [N, 3, H, W] -> float32 latents [N, 16, H / 8, W / 8], computed in bf16."""
    with torch.autocast("cpu", torch.bfloat16):
        return torch.cat([model.encoder(to_model(part)).float() for part in pictures.split(batch)])


@torch.inference_mode()
def decode(model: AutoencoderTiny, latents: torch.Tensor, batch: int = 16) -> torch.Tensor:
    """float32 latents [N, 16, h, w] -> uint8 [N, 3, 8h, 8w], computed in bf16."""
    with torch.autocast("cpu", torch.bfloat16):
        return torch.cat([to_pictures(model.decoder(part)) for part in latents.split(batch)])


@torch.no_grad()
def latent_metric(
    teacher: AutoencoderTiny, latents: torch.Tensor, step: float = 0.1
) -> torch.Tensor:
    """M [16, 16]: d^T M d is about the squared pixel error in [0, 1] that a difference d makes.

    Estimated by finite differences: the same noise is added to one channel at a time, everywhere
    in the latents [N, 16, h, w], and M holds the inner products of what the decoder makes of it.
    """
    noise = torch.randn(latents[:, :1].shape, generator=torch.Generator().manual_seed(0)) * step
    plain = teacher.decoder(latents)
    changes = []
    for channel in range(latents.shape[1]):
        moved = latents.clone()
        moved[:, channel : channel + 1] += noise
        changes.append((teacher.decoder(moved) - plain).div(2 * step).flatten())
    stacked = torch.stack(changes)
    return stacked @ stacked.T / stacked.shape[1]


def load_pool(
    arguments: argparse.Namespace, teacher: AutoencoderTiny, size: int, seed: int
) -> Pool:
    """The training pictures of one size, drawn and encoded once and kept in the work folder."""
    file = arguments.work / f"pool-{size}-{PICTURES[size]}-{seed}.safetensors"
    if not file.exists():
        print(f"drawing {PICTURES[size]} pictures of {size} px", flush=True)
        folders = (arguments.photographs, arguments.paintings, arguments.cifar)
        pictures = training_pictures(*folders, size, PICTURES[size], seed)
        print("encoding them with taef1", flush=True)
        save_file(
            {"pictures": pictures, "latents": encode(teacher, pictures).half().contiguous()}, file
        )
    return Pool(**load_file(file))


def batches(
    pool: Pool, size: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endless (pictures in [-1, 1], teacher's latents): all pictures once, then all again."""
    while True:
        order = torch.randperm(len(pool.pictures), generator=generator)
        for rows in order.split(size):
            yield to_model(pool.pictures[rows]), pool.latents[rows].float()


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up and a cosine to 0, by the share of the run that is over, 0 to 1."""
    if progress < WARM_UP:
        return peak * (progress + 1e-3) / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * min((progress - WARM_UP) / (1 - WARM_UP), 1)))


def average_over_processes(values: list[torch.Tensor]) -> None:
    """Replace tensors by their means over all processes, in place and in one exchange."""
    if not distributed.is_initialized():
        return
    flat = torch.cat([value.flatten() for value in values])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for value, part in zip(values, flat.split([v.numel() for v in values]), strict=True):
        value.copy_(part.view_as(value))


def update_average(average: nn.Module, model: nn.Module, step: int) -> None:
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.data.lerp_(value.data, 1 - decay)


def report(
    student: AutoencoderTiny, teacher: AutoencoderTiny, sets: dict[str, torch.Tensor]
) -> str:
    """Held-out PSNR over each set: the round trip, and the student's latents in taef1's decoder."""
    figures = []
    for name, pictures in sets.items():
        latents = encode(student, pictures)
        own, _ = psnr(pictures, decode(student, latents))
        crossed, _ = psnr(pictures, decode(teacher, latents))
        figures.append(f"{name}: {own:.2f} dB (by taef1 {crossed:.2f})")
    return "; ".join(figures)


def export(model: AutoencoderTiny, folder: Path) -> None:
    """Write the model to `folder` in diffusers' layout, tensors in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    # diffusers registers block_out_channels itself and warns when a file holds it.
    config = {name: value for name, value in model.config.items() if name[0] != "_"}
    config.pop("block_out_channels")
    config["_class_name"] = "AutoencoderTiny"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def train(arguments: argparse.Namespace) -> None:
    rank = int(os.environ.get("RANK", "0"))
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)

    teacher: AutoencoderTiny = AutoencoderTiny.from_pretrained(
        arguments.teacher, torch_dtype=torch.float32
    )
    teacher.eval()
    pools = {size: load_pool(arguments, teacher, size, arguments.seed + rank) for size in PICTURES}
    sets = held_out_pictures(arguments.photographs, arguments.cifar, count=128)
    metric = latent_metric(teacher, pools[64].latents[:64].float())
    average_over_processes([metric])
    metric *= arguments.latent_weight

    model = new_model()
    average = copy.deepcopy(model).eval()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    generator = torch.Generator().manual_seed(arguments.seed + rank)
    streams = {size: batches(pool, BATCH[size], generator) for size, pool in pools.items()}

    start, last_report, losses = time.monotonic(), time.monotonic(), []
    for step in itertools.count():
        progress = torch.tensor((time.monotonic() - start) / (60 * arguments.minutes))
        average_over_processes([progress])
        if progress >= 1:
            break
        optimizer.param_groups[0]["lr"] = learning_rate(float(progress), arguments.lr)

        pictures, targets = next(streams[128 if step % LARGE_EVERY == 0 else 64])
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encoder(pictures)
            decoded = model.decoder(latents)
        difference = latents.float() - targets
        round_trip = (decoded.float() - pictures).div(2).square().mean()
        moved = torch.einsum("bchw,cd,bdhw->bhw", difference, metric, difference).mean()

        optimizer.zero_grad()
        (round_trip + moved).backward()
        average_over_processes([p.grad for p in model.parameters() if p.grad is not None])
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        update_average(average, model, step)
        losses.append((round_trip.item(), moved.item()))

        if rank == 0 and time.monotonic() - last_report > REPORT_SECONDS:
            means = torch.tensor(losses).mean(dim=0).tolist()
            print(f"step {step} of {step / progress:.0f}, losses {means}", flush=True)
            print("    " + report(average, teacher, sets), flush=True)
            export(average, arguments.work / "latest")
            last_report, losses = time.monotonic(), []

    if rank == 0:
        export(average, arguments.output)
        print(f"{step} steps; {report(average, teacher, sets)}")
    if distributed.is_initialized():
        distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the built-in VAE `tiny`.")
    parser.add_argument("--photographs", type=Path, required=True, help="folder of wallpapers")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of paintings")
    parser.add_argument("--cifar", type=Path, required=True, help="CIFAR-10, train.parquet")
    parser.add_argument("--teacher", default="madebyollin/taef1", help="hub id or folder of taef1")
    parser.add_argument("--work", type=Path, required=True, help="folder for pools and weights")
    parser.add_argument("--output", type=Path, default=Path("liquidgen/tiny_vae"))
    parser.add_argument("--minutes", type=float, default=50, help="length of the training")
    parser.add_argument("--lr", type=float, default=8e-4, help="highest learning rate")
    parser.add_argument("--latent-weight", type=float, default=0.5, help="a, see above")
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
