"""Time of a training step a token, from 16x16 to 64x64 tokens, beside diffusers' DiTTransformer2DModel.

The number of tokens a step is the same at every size, so a network whose cost is linear in the tokens
takes the same time. Sizes are timed in turn, round after round, in one process; the figures are
medians over the rounds.

    python benchmarks/cost_per_token.py [--size XS] [--rounds 7]
"""

import argparse
import statistics

import torch
from step_time import CLASSES, parameters, peer_of, seconds, training_step
from torch import Tensor

from liquidgen.sizes import build_backbone
from liquidgen.training.device import keep_freed_memory

TOKENS_A_STEP = 4096
GRIDS = (16, 32, 64)  # tokens along a side


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", default="XS")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    keep_freed_memory()
    steps = {}
    for grid in GRIDS:
        x = torch.randn(TOKENS_A_STEP // grid**2, 16, 2 * grid, 2 * grid)
        ours = build_backbone(asked.size, 2 * grid, 16, CLASSES)
        peer = peer_of(asked.size, 2 * grid, parameters(ours))

        def peer_velocity(
            x: Tensor, t: Tensor, labels: Tensor, peer: torch.nn.Module = peer
        ) -> Tensor:
            return peer(x, timestep=1000 * t, class_labels=labels).sample

        steps["LiquidGen", grid] = training_step(ours, ours, x, bf16=False)
        steps["DiT", grid] = training_step(peer, peer_velocity, x, bf16=False)
    for step in steps.values():
        step()
    times: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    for _ in range(asked.rounds):
        for key, step in steps.items():
            times[key].append(seconds(step))
    print(f"size {asked.size}, fp32, {torch.get_num_threads()} threads, microseconds a token")
    for name in ("LiquidGen", "DiT"):
        costs = [statistics.median(times[name, grid]) / TOKENS_A_STEP * 1e6 for grid in GRIDS]
        cells = ", ".join(
            f"{grid}x{grid} {cost:.1f}" for grid, cost in zip(GRIDS, costs, strict=True)
        )
        print(f"{name:>10}: {cells}; largest / smallest {max(costs) / min(costs):.2f}")


if __name__ == "__main__":
    main()
