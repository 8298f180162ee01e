"""Sampling: a picture depends on its own seed; guidance and the solver compute what they say."""

import pytest
import torch
from torch import Tensor, nn

from liquidgen.backbones.liquidgen import LiquidGen
from liquidgen.sampling import guided_velocity, initial_noise, integrate, sample_latents

SHAPE = (16, 8, 8)


@pytest.fixture(scope="module")
def backbone() -> LiquidGen:
    torch.manual_seed(0)
    network = LiquidGen(sample_size=8, width=32, depth=4, num_classes=3).eval()
    nn.init.normal_(network.unpatchify.weight, std=0.1)
    return network


def sample(backbone: LiquidGen, labels: list[int], seeds: list[int]) -> Tensor:
    parts = sample_latents(backbone, SHAPE, labels, seeds, null_class=3, steps=4, cfg=3.0)
    return torch.cat(list(parts))


def test_image_k_of_seed_s_is_image_0_of_seed_s_plus_k(backbone: LiquidGen) -> None:
    many = sample(backbone, [k % 3 for k in range(40)], list(range(100, 140)))
    for k in (0, 1, 31, 32, 39):
        assert torch.equal(many[k], sample(backbone, [k % 3], [100 + k])[0])


def test_different_seeds_are_different_noise() -> None:
    noise = initial_noise((4, 8, 8), [0, 1, 0])
    assert torch.equal(noise[0], noise[2])
    assert not torch.allclose(noise[0], noise[1])
    assert abs(float(initial_noise((16, 64, 64), [7]).std()) - 1) < 0.02


def test_guidance_1_and_no_class_cost_one_call_and_guidance_two_rows(backbone: LiquidGen) -> None:
    calls: list[int] = []

    def counted(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        calls.append(x.shape[0])
        return backbone(x, t, labels)

    x, t, labels = torch.randn(2, *SHAPE), torch.rand(2), torch.tensor([0, 1])
    guided_velocity(counted, x, t, labels, 3, 1.0)
    guided_velocity(counted, x, t, torch.tensor([3, 3]), 3, 4.0)
    guided_velocity(counted, x, t, labels, 3, 4.0)
    assert calls == [2, 2, 4]


def test_guidance_is_the_line_through_both_predictions(backbone: LiquidGen) -> None:
    x, t, labels = torch.randn(2, *SHAPE), torch.rand(2), torch.tensor([0, 1])
    with torch.inference_mode():
        null, of_class = backbone(x, t), backbone(x, t, labels)
        guided = guided_velocity(backbone, x, t, labels, 3, 2.5)
    torch.testing.assert_close(guided, null + 2.5 * (of_class - null), atol=1e-5, rtol=1e-4)


def test_euler_reaches_a_single_point_exactly_and_a_gaussian_with_error_of_first_order() -> None:
    x = torch.randn(8, 1, 2, 2)
    labels = torch.zeros(8, dtype=torch.long)

    def to_a_point(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return (x - 0.7) / t[:, None, None, None]

    torch.testing.assert_close(
        integrate(to_a_point, x, labels, 1, 5, 1.0), torch.full_like(x, 0.7), atol=1e-5, rtol=0
    )

    deviation = 0.5  # data ~ N(0, deviation^2): the exact flow maps noise e to deviation * e

    def to_a_gaussian(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        t = t[:, None, None, None]
        variance = (1 - t) ** 2 * deviation**2 + t**2
        return x * (t - (1 - t) * deviation**2) / variance

    errors = [
        float((integrate(to_a_gaussian, x, labels, 1, n, 1.0) - deviation * x).abs().max())
        for n in (20, 40, 80)
    ]
    assert 1.7 < errors[0] / errors[1] < 2.3
    assert 1.7 < errors[1] / errors[2] < 2.3
