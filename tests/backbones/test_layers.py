"""The layers compute what their equations say."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liquidgen.backbones.layers import AdaptiveGroupNorm, LiquidTimeConstant, ZigzagScan1D


def zigzag_path(height: int, width: int, order: int) -> list[tuple[int, int]]:
    """Places (row, column) in the order in which zigzag `order` reads them."""
    by_columns, from_far_end, from_last_line = order & 1, order & 2, order & 4
    lines, length = (width, height) if by_columns else (height, width)
    path = []
    for turn, line in enumerate(reversed(range(lines)) if from_last_line else range(lines)):
        backwards = (turn % 2 == 1) != bool(from_far_end)
        for place in reversed(range(length)) if backwards else range(length):
            path.append((place, line) if by_columns else (line, place))
    return path


def scan_token_by_token(zigzag: ZigzagScan1D, u: Tensor, order: int) -> Tensor:
    """The definition: a recurrence along the path, forwards and backwards."""
    path = zigzag_path(u.shape[1], u.shape[2], order)
    decay = torch.exp(-torch.sigmoid(zigzag.rate_logit))
    result = torch.zeros_like(u)
    for direction, places in enumerate((path, path[::-1])):
        state = torch.zeros_like(u[:, 0, 0])
        for row, column in places:
            state = decay[direction] * state + (1 - decay[direction]) * u[:, row, column]
            result[:, row, column] += zigzag.gain[direction] * state
    return result


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    order=st.integers(0, 7),
    seed=st.integers(0, 1000),
)
def test_the_zigzag_scan_is_the_recurrence_along_its_path(
    height: int, width: int, order: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    zigzag = ZigzagScan1D(6, order)
    with torch.no_grad():
        zigzag.rate_logit.normal_(std=2, generator=generator)
        zigzag.gain.normal_(generator=generator)
        u = torch.randn(2, height, width, 6, generator=generator)
        torch.testing.assert_close(
            zigzag(u), scan_token_by_token(zigzag, u, order), atol=2e-5, rtol=1e-4
        )


def test_the_eight_zigzags_are_eight_different_ways_through_the_picture() -> None:
    assert len({tuple(zigzag_path(4, 4, order)) for order in range(8)}) == 8
    u = torch.randn(1, 4, 4, 8)
    results = []
    for order in range(8):
        zigzag = ZigzagScan1D(8, order)
        with torch.no_grad():
            zigzag.gain[1] = 0  # forwards only, so that a path and its reverse differ
            results.append(zigzag(u))
    for one in range(8):
        for other in range(one):
            assert not torch.allclose(results[one], results[other])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_zigzag_scan_stays_finite_and_close_in_half_precision(dtype: torch.dtype) -> None:
    u = torch.randn(1, 128, 128, 16)
    zigzag = ZigzagScan1D(16, 0)
    with torch.no_grad():
        zigzag.rate_logit[:, :4] = 12.0  # the fastest decay there is
        exact, half = zigzag(u), zigzag(u.to(dtype)).float()
    assert torch.isfinite(half).all()
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()


def test_the_longest_line_is_scanned_without_overflow_and_a_longer_one_is_refused() -> None:
    zigzag = ZigzagScan1D(4, 0)
    with torch.no_grad():
        zigzag.rate_logit.fill_(20.0)
        assert torch.isfinite(zigzag(torch.randn(1, 2, ZigzagScan1D.longest_line, 4))).all()
    with pytest.raises(ValueError, match="160"):
        zigzag(torch.randn(1, 2, ZigzagScan1D.longest_line + 1, 4))


def test_a_liquid_time_constant_is_the_closed_form_of_its_differential_equation() -> None:
    layer = LiquidTimeConstant(3, retention=0.7)
    x, s = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 3.0])
    tau = 1 / -math.log(0.7)
    state = x.double()
    steps = 20_000
    for _ in range(steps):  # Euler on dx/dt = (s - x) / tau over unit time
        state = state + (s - state) / tau / steps
    torch.testing.assert_close(layer(x, s), state.float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer(x, s), 0.7 * x + 0.3 * s)


def test_adaptive_group_norm_normalises_then_scales_and_shifts() -> None:
    x = 5 + 3 * torch.randn(2, 4, 4, 16)
    scale, shift = torch.randn(2, 16), torch.randn(2, 16)
    y = AdaptiveGroupNorm(4)(x, torch.zeros(2, 16), torch.zeros(2, 16))
    groups = y.reshape(2, 16, 4, 4)  # [B, tokens, groups, channels]
    torch.testing.assert_close(groups.mean((1, 3)), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        groups.std((1, 3), correction=0), torch.ones(2, 4), atol=1e-3, rtol=0
    )
    expected = y * (1 + scale[:, None, None]) + shift[:, None, None]
    torch.testing.assert_close(AdaptiveGroupNorm(4)(x, scale, shift), expected)
