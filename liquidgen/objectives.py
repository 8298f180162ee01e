"""What the network is asked to predict, and the loss on it: (backbone, x0, condition) -> loss."""

from collections.abc import Callable

import torch
from torch import Tensor

# (noisy latents [B, C, H, W], times [B], labels [B]) -> prediction [B, C, H, W]
Backbone = Callable[[Tensor, Tensor, Tensor], Tensor]


def rectified_flow_loss(
    backbone: Backbone, x0: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean squared error on the velocity of a rectified flow (Liu et al., ICLR 2023).

    `x_t = (1 - t) x_0 + t e` with `e ~ N(0, I)` and `t ~ U(0, 1)`; the network predicts `v = e - x_0`.

    Args:
        backbone: the network.
        x0: normalised latents `[B, C, H, W]`.
        labels: classes `[B]`, the dropped ones already replaced by the null class.
        generator: draws times and noise; on the device of `x0`.

    Returns:
        the loss, a scalar in float32.
    """
    t = torch.rand(x0.shape[0], generator=generator, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    t_ = t[:, None, None, None]
    x_t = (1 - t_) * x0 + t_ * noise
    velocity = backbone(x_t, t, labels)
    return (velocity.float() - (noise - x0)).square().mean()


def drop_classes(
    labels: Tensor, probability: float, null_class: int, generator: torch.Generator
) -> Tensor:
    """Replace each label by the null class with `probability`, for classifier-free guidance (Ho & Salimans 2022).

    A label of -1 (a picture without a class) always becomes the null class.
    """
    dropped = torch.rand(labels.shape, generator=generator, device=labels.device) < probability
    return torch.where(dropped | (labels < 0), null_class, labels)
