"""Which retention a liquid time constant should start with: norms through the depth, and the loss after a few steps.

For each candidate `a = exp(-k / depth)` prints, for a fresh network of each size on noise: the root
mean square of the state after the first, middle and last block, and the gradient's norm at the first
block's mixing weights over that at the last one's (1 is even, small starves the early blocks). For XS
also the loss after some steps on built-in paintings as pixels.

    python benchmarks/retention.py [--sizes XS S B L] [--steps 150]
"""

import argparse
import math

import numpy as np
import torch
from torch import Tensor, nn

from liquidgen.backbones import liquidgen
from liquidgen.backbones.liquidgen import LiquidBlock, LiquidGen
from liquidgen.objectives import rectified_flow_loss
from liquidgen.sizes import build_backbone
from liquidgen.sources.abstract import draw

CANDIDATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # k


def with_retention(size: str, k: float, sample_size: int, channels: int) -> LiquidGen:
    torch.manual_seed(0)
    before = liquidgen.initial_retention
    liquidgen.initial_retention = lambda depth: math.exp(-k / depth)
    try:
        return build_backbone(size, sample_size, channels, 0)
    finally:
        liquidgen.initial_retention = before


def norms(size: str, k: float) -> tuple[list[float], float]:
    """Root mean square of the state after the first, middle and last block; gradient first over last."""
    backbone = with_retention(size, k, 16, 16)
    nn.init.normal_(backbone.unpatchify.weight, std=0.02)
    states: list[Tensor] = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda module, given, state: states.append(state.detach()))
    x = torch.randn(4, 16, 16, 16)
    rectified_flow_loss(
        backbone, x, torch.zeros(4).long(), torch.Generator().manual_seed(0)
    ).backward()
    chosen = (states[0], states[len(states) // 2], states[-1])
    first, last = (mix_gradient(backbone.blocks[i]) for i in (0, -1))
    return [float(state.square().mean().sqrt()) for state in chosen], first / last


def mix_gradient(block: nn.Module) -> float:
    assert isinstance(block, LiquidBlock)
    gradient = block.stimulus.mix.weight.grad
    assert gradient is not None
    return float(gradient.norm())


def loss_after(k: float, steps: int, pictures: Tensor) -> float:
    """Mean loss of the last 20 steps of XS."""
    backbone = with_retention("XS", k, 16, 3)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(steps):
        rows = torch.randint(len(pictures), (32,), generator=generator)
        loss = rectified_flow_loss(backbone, pictures[rows], torch.zeros(32).long(), generator)
        loss.backward()
        nn.utils.clip_grad_norm_(backbone.parameters(), 2.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return sum(losses[-20:]) / 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["XS", "S", "B", "L"])
    parser.add_argument("--steps", type=int, default=150)
    asked = parser.parse_args()
    print("size     k  rms of the state: first  middle  last   gradient first / last")
    for size in asked.sizes:
        for k in CANDIDATES:
            states, ratio = norms(size, k)
            cells = "  ".join(f"{state:6.3f}" for state in states)
            print(f"{size:>4} {k:5.1f}                   {cells}   {ratio:.3f}", flush=True)
    pixels = np.stack([np.asarray(draw(index, 16)) for index in range(512)])
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    for k in CANDIDATES:
        print(
            f"XS, k {k}: loss {loss_after(k, asked.steps, pictures):.4f} after {asked.steps} steps",
            flush=True,
        )


if __name__ == "__main__":
    main()
