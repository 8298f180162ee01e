"""Time of a training step of LiquidGen beside diffusers' DiTTransformer2DModel of as many parameters.

Both get the same latents, objective and AdamW in the same process, in turn: A B A B ... The figure is
the median over the pairs of the peer's time over ours, so above 1 means that we are faster.

    python benchmarks/step_time.py [--sizes XS S] [--pixels 256 512 1024] [--precision fp32 bf16] [--rounds 7]
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from torch import Tensor, nn

from liquidgen.objectives import rectified_flow_loss
from liquidgen.sizes import build_backbone
from liquidgen.training.device import keep_freed_memory

CLASSES = 10
WARM_UP = 3  # steps before the clock runs; the first ones find their memory
HEAD_CHANNELS = (56, 64, 72)  # of an attention head, as in DiT
DEPTHS = {"XS": 10, "S": 12, "B": 12, "L": 24}  # DiT's own, and 10 for one of 6M parameters


def peer_of(size: str, side: int, goal: int) -> DiTTransformer2DModel:
    """A DiT of about DiT's depth for the size whose width brings it nearest to `goal` parameters."""

    def build(layers: int, heads: int, channels: int) -> DiTTransformer2DModel:
        return DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=channels,
            in_channels=16,
            out_channels=16,
            num_layers=layers,
            sample_size=side,
            patch_size=2,
            num_embeds_ada_norm=CLASSES,
        )

    def distance(shape: tuple[int, int, int]) -> int:
        with torch.device("meta"):
            return abs(parameters(build(*shape)) - goal)

    depths = range(DEPTHS[size] - 1, DEPTHS[size] + 2)
    return build(*min(itertools.product(depths, range(2, 21), HEAD_CHANNELS), key=distance))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def training_step(
    model: nn.Module, velocity: Callable[..., Tensor], x: Tensor, bf16: bool
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    labels = torch.arange(x.shape[0]) % CLASSES
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = rectified_flow_loss(velocity, x, labels, generator)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(step: Callable[[], None]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def compare(size: str, pixels: int, precision: str, rounds: int) -> None:
    side = pixels // 8
    batch = max(1, 8 * 1024 // side**2)
    x = torch.randn(batch, 16, side, side)
    ours = build_backbone(size, side, 16, CLASSES)
    peer = peer_of(size, side, parameters(ours))

    def peer_velocity(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return peer(x, timestep=1000 * t, class_labels=labels).sample

    bf16 = precision == "bf16"
    steps = (training_step(ours, ours, x, bf16), training_step(peer, peer_velocity, x, bf16))
    for step in steps * WARM_UP:
        step()
    pairs = [(seconds(steps[0]), seconds(steps[1])) for _ in range(rounds)]
    ratio = statistics.median(theirs / mine for mine, theirs in pairs)
    mine, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"{size:>4} {precision} {pixels:>5} px, batch {batch}: ours {parameters(ours) / 1e6:6.1f}M {mine:7.3f} s, "
        f"DiT {parameters(peer) / 1e6:6.1f}M {theirs:7.3f} s, DiT / ours {ratio:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["XS", "S"])
    parser.add_argument("--pixels", nargs="+", type=int, default=[256, 512])
    parser.add_argument(
        "--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"]
    )
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    keep_freed_memory()  # as `liquidgen train` does; both networks gain by it
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for size in asked.sizes:
        for precision in asked.precision:
            for pixels in asked.pixels:
                compare(size, pixels, precision, asked.rounds)


if __name__ == "__main__":
    main()
