"""From seeds and classes to latents: guidance and the integration from noise to data."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from liquidgen.objectives import Backbone


def sample_latents(
    backbone: Backbone,
    shape: tuple[int, int, int],
    labels: Sequence[int],
    seeds: Sequence[int],
    *,
    null_class: int,
    steps: int = 50,
    cfg: float = 1.0,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Yield normalised latents, a batch at a time, in the order of `seeds`.

    A latent depends on its seed and label only. On a CPU the same row comes out bit for bit at any place
    of a batch, but differs by 7e-7 between batch sizes (measured): so every call of the network has the
    same number of rows, which follows from the shape alone; the last batch is filled up and cut again.

    Args:
        backbone: velocity network, `(x, t, labels) -> v`.
        shape: of one latent, `(C, H, W)`.
        labels: a class for each latent, in [0, null_class].
        seeds: a seed for each latent, in [0, 2^63).
        null_class: label that stands for no class.
        steps: Euler steps from t = 1 to t = 0, at least 1.
        cfg: guidance scale, `v_null + cfg (v_class - v_null)`; 1 is none and costs one call a step instead of two.
        device: where the network is.

    Yields:
        `[b, C, H, W]` float32 with b <= `latents_per_call`.
    """
    batch_size = latents_per_call(shape, torch.device(device))
    for start in range(0, len(seeds), batch_size):
        batch_seeds = list(seeds[start : start + batch_size])
        batch_labels = list(labels[start : start + batch_size])
        missing = batch_size - len(batch_seeds)
        noise = initial_noise(shape, batch_seeds + batch_seeds[-1:] * missing).to(device)
        label = torch.tensor(batch_labels + batch_labels[-1:] * missing, device=device)
        yield integrate(backbone, noise, label, null_class, steps, cfg)[: len(batch_seeds)]


def latents_per_call(shape: tuple[int, int, int], device: torch.device) -> int:
    """How many latents go through the network together, at least; guidance doubles it."""
    if device.type != "cpu":
        return 16
    return max(1, 2048 // (shape[1] * shape[2]))


def initial_noise(shape: tuple[int, int, int], seeds: Sequence[int]) -> Tensor:
    """Standard normal noise `[len(seeds), C, H, W]`, one random stream a seed, drawn on the CPU."""
    streams = (torch.Generator().manual_seed(seed) for seed in seeds)
    return torch.stack([torch.randn(shape, generator=stream) for stream in streams])


@torch.inference_mode()
def integrate(
    backbone: Backbone, x: Tensor, labels: Tensor, null_class: int, steps: int, cfg: float
) -> Tensor:
    """Integrate dx/dt = v from noise `x [B, C, H, W]` at t = 1 to data at t = 0 by Euler's method."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=x.device)
    timesteps: Tensor = scheduler.timesteps  # type: ignore[assignment]
    for timestep in timesteps:
        t = (timestep / scheduler.config["num_train_timesteps"]).expand(x.shape[0])
        velocity = guided_velocity(backbone, x, t, labels, null_class, cfg)
        x = scheduler.step(velocity, timestep, x, return_dict=False)[0]  # type: ignore[arg-type]
    return x


def guided_velocity(
    backbone: Backbone, x: Tensor, t: Tensor, labels: Tensor, null_class: int, cfg: float
) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022), both predictions in one call of the network."""
    if cfg == 1 or bool((labels == null_class).all()):
        return backbone(x, t, labels).float()
    null = torch.full_like(labels, null_class)
    both = backbone(torch.cat([x, x]), torch.cat([t, t]), torch.cat([null, labels])).float()
    v_null, v_class = both.chunk(2)
    return v_null + cfg * (v_class - v_null)
