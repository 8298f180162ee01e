"""The layers that the backbones share.

Feature maps here are channels-last, `[B, H, W, D]`, so that a pointwise mixing is one plain matrix product over all
tokens and a scan along rows or columns is a view. B batch, H x W tokens, D channels, E conditioning width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LiquidTimeConstant(nn.Module):
    """Closed-form step of dx/dt = (s - x) / tau over unit time; takes the place of a residual add.

    `LTC(x, s) = a x + (1 - a) s` with `a = exp(-softplus(rho))`, one learned `rho` a channel
    (Hasani et al., Closed-form Continuous-time Neural Networks, Nature MI 2022; LiquidTAD).

    Args:
        width: channels D.
        retention: `a` at the start, in (0, 1).
    """

    def __init__(self, width: int, retention: float) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((width,), math.log(math.expm1(-math.log(retention)))))

    def forward(self, x: Tensor, stimulus: Tensor) -> Tensor:
        """Relax the state `x` towards `stimulus`, both `[..., D]`."""
        update = -torch.expm1(-F.softplus(self.rho))  # 1 - a, exact where a is near 1
        return torch.lerp(x, stimulus.to(x.dtype), update.to(x.dtype))


class AdaptiveGroupNorm(nn.Module):
    """GroupNorm without affine, then `y (1 + scale) + shift` (Dhariwal & Nichol 2021)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Normalise `x [B, H, W, D]`; `scale` and `shift` are `[B, D]`."""
        y = group_norm(x, self.groups)
        return torch.addcmul(shift[:, None, None], y, 1 + scale[:, None, None])


class GatedDepthwiseStimulus(nn.Module):
    """Local context: depthwise 3x3 value and gate maps, `value * sigmoid(gate)`, mixed pointwise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Two convolutions of D channels: one of 2 D channels in D groups takes 5 times as long on a CPU.
        self.value = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.gate = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Linear(width, width)

    def forward(self, u: Tensor) -> Tensor:
        """`[B, H, W, D]` to the same shape."""
        image = u.permute(0, 3, 1, 2)
        gated = self.value(image) * torch.sigmoid(self.gate(image))
        return self.mix(gated.permute(0, 2, 3, 1))


class ZigzagScan1D(nn.Module):
    """Global context at linear cost: exponential-decay scans along a zigzag through the image, in both directions.

    Tokens are read in boustrophedon order (ZigMa, ECCV 2024). Along it, with a learned decay `l` a
    channel and direction,

        s_i = l s_{i-1} + (1 - l) u_i

    which is a liquid time constant along the scan. The result is `gain_f s_forward + gain_b s_backward`,
    on the image grid.

    No token is moved and none is looped over. A zigzag runs up one line and down the next, so each line
    is scanned both ways where it lies, `s_i = l^i sum_{j <= i} l^-j u_j`, as one product with a triangle
    of ones; what a line hands to the next enters at its first token. Decay rates `-log l` lie in (0, 1)
    so that `l^-j` stays finite: lines of up to 160 tokens (2560 px for the FLUX VAE) are safe in float32
    and bfloat16; float16 is lifted to float32.

    Args:
        width: channels D.
        order: which of the eight zigzags, 0-7: bit 0 column-wise, bit 1 starts at the far end of its first line,
            bit 2 starts at the last line.
    """

    longest_line = 160

    def __init__(self, width: int, order: int) -> None:
        super().__init__()
        self.by_columns = bool(order & 1)
        self.from_far_end = bool(order & 2)
        self.from_last_line = bool(order & 4)
        # Time constants 1 / rate spread from 1.5 to 128 tokens over the channels.
        rate = torch.exp(torch.linspace(math.log(1 / 1.5), math.log(1 / 128), width))
        self.rate_logit = nn.Parameter(torch.logit(rate).repeat(2, 1))  # forward, backward
        self.gain = nn.Parameter(torch.full((2, width), 0.2))  # louder, it drowns the stimulus

    def forward(self, u: Tensor) -> Tensor:
        """`[B, H, W, D]` to the same shape.

        Raises:
            ValueError: a line is longer than `longest_line` tokens.
        """
        with torch.autocast(u.device.type, enabled=False):
            return self._scan(u.float() if u.dtype == torch.float16 else u)

    def _scan(self, u: Tensor) -> Tensor:
        lines, length = (u.shape[2], u.shape[1]) if self.by_columns else (u.shape[1], u.shape[2])
        if length > self.longest_line:
            raise ValueError(
                f"a line of {length} tokens; the scan takes at most {self.longest_line}"
            )
        if lines % 2:  # an empty last line changes nothing, and lines then come in pairs
            padding = (0, 0, 0, 1) if self.by_columns else (0, 0, 0, 0, 0, 1)
            padded = self._scan_pairs(F.pad(u, padding), lines, length)
            return padded[:, :, :lines] if self.by_columns else padded[:, :lines]
        return self._scan_pairs(u, lines, length)

    def _scan_pairs(self, u: Tensor, lines: int, length: int) -> Tensor:
        """Scan `u`, whose lines come in pairs; `lines` is their true number."""
        shape, dtype = u.shape, u.dtype
        # Split the lines in pairs: rows [B, H/2, 2, W, D], columns [B, H, W/2, 2, D].
        pairs = u.unflatten(2 if self.by_columns else 1, (-1, 2))
        token_dim = 1 if self.by_columns else 3

        rise_is_even, rising, falling = self._directions(lines)
        rate, gain = (
            torch.sigmoid(self.rate_logit),
            self.gain * -torch.expm1(-torch.sigmoid(self.rate_logit)),
        )
        # The pass towards later lines rises on one line of a pair and falls on the other; [2, D] each.
        pick = (rising, falling) if rise_is_even else (falling, rising)
        rise_rate, rise_gain = rate[list(pick)], gain[list(pick)]
        fall_rate, fall_gain = rise_rate.flip(0), rise_gain.flip(0)

        place = torch.arange(length, device=u.device, dtype=rate.dtype) - (length - 1) / 2
        grow = torch.exp(self._along(place, rise_rate))  # l^-j
        fade = torch.exp(self._along(place, -fall_rate))
        up = pairs * grow.to(dtype)  # towards later tokens of a line
        down = pairs * fade.to(dtype)  # towards earlier tokens

        # What a whole line hands on: its scan's state behind its last token, [B, lines/2, 2, D].
        reach = (length - 1) / 2
        up_end = up.sum(token_dim).float() * torch.exp(-rise_rate * reach)
        down_end = down.sum(token_dim).float() * torch.exp(-fall_rate * reach)
        even = torch.tensor([rise_is_even, not rise_is_even], device=u.device)[:, None]
        later = self._carry(torch.where(even, up_end, down_end), rate[rising], length, True)
        earlier = self._carry(torch.where(even, down_end, up_end), rate[falling], length, False)
        up_carry = torch.where(even, later, earlier) * torch.exp(-rise_rate * (reach + 1))
        down_carry = torch.where(even, earlier, later) * torch.exp(-fall_rate * (reach + 1))
        up.select(token_dim, 0).add_(up_carry.to(dtype))
        down.select(token_dim, length - 1).add_(down_carry.to(dtype))

        triangle = torch.ones(length, length, device=u.device, dtype=dtype).tril()
        flat = (shape[0], length, -1) if self.by_columns else (-1, length, shape[3])
        up = torch.matmul(triangle, up.reshape(flat)).view(pairs.shape)
        down = torch.matmul(triangle.T, down.reshape(flat)).view(pairs.shape)
        up_scale = torch.exp(self._along(-place, rise_rate)) * self._spread(rise_gain)
        down_scale = torch.exp(self._along(place, fall_rate)) * self._spread(fall_gain)
        return torch.addcmul(up * up_scale.to(dtype), down, down_scale.to(dtype)).view(shape)

    def _directions(self, lines: int) -> tuple[bool, int, int]:
        """(the pass towards later lines rises on even lines, its direction's index, the other's)."""
        if not self.from_last_line:
            return not self.from_far_end, 0, 1
        # Read from the last line, the forward scan runs towards earlier lines; its reverse is the later-going pass.
        forward_rises_on_even = (lines % 2 == 1) != self.from_far_end
        return not forward_rises_on_even, 1, 0

    def _along(self, place: Tensor, rate: Tensor) -> Tensor:
        """`place [n]` times `rate [2, D]`, laid out to broadcast against the pairs of lines."""
        if self.by_columns:
            return place[:, None, None, None] * rate  # [n, 1, 2, D]
        return place[:, None] * rate[:, None]  # [2, n, D]

    def _spread(self, value: Tensor) -> Tensor:
        return value if self.by_columns else value[:, None]

    @staticmethod
    def _carry(ends: Tensor, rate: Tensor, length: int, towards_later: bool) -> Tensor:
        """State that enters each line: `sum over earlier lines h' of l^(length (h - 1 - h')) ends[h']`.

        `ends` is `[B, lines/2, 2, D]`, as is the result; `rate` is `[D]`.
        """
        flat = ends.flatten(1, 2)
        line = torch.arange(flat.shape[1], device=flat.device)
        gap = (
            line[:, None] - line[None, :] - 1
            if towards_later
            else line[None, :] - line[:, None] - 1
        )
        weight = torch.exp(-rate * length * gap.clamp(min=0)[:, :, None]) * (gap >= 0)[:, :, None]
        # Sums of products: bmm with a small matrix a channel takes several times as long backwards.
        return (weight * flat[:, None]).sum(2).unflatten(1, (-1, 2))


def group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """GroupNorm of channels-last features `[B, H, W, D]`, keeping their layout and dtype."""
    y = F.group_norm(x.permute(0, 3, 1, 2), groups, weight, bias)
    return y.permute(0, 2, 3, 1).to(x.dtype)
