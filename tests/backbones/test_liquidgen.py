"""The LiquidGen backbone is what the README says: attention-free, global, of the stated sizes."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from liquidgen.backbones import layers, liquidgen
from liquidgen.backbones.liquidgen import LiquidGen
from liquidgen.errors import LiquidgenError
from liquidgen.sizes import build_backbone, count_parameters, read_size


def small_backbone(**overrides: int) -> LiquidGen:
    torch.manual_seed(0)
    settings = {"sample_size": 8, "width": 32, "depth": 4, "num_classes": 3} | overrides
    backbone = LiquidGen(**settings)
    nn.init.normal_(backbone.unpatchify.weight, std=0.1)
    return backbone


@pytest.mark.parametrize(("size", "goal"), [("S", 55e6), ("B", 140e6), ("L", 280e6)])
def test_sizes_have_their_parameters_within_5_percent(size: str, goal: float) -> None:
    assert abs(count_parameters(size) / goal - 1) < 0.05


def test_the_smallest_size_has_at_most_6_million_parameters() -> None:
    assert count_parameters("XS") <= 6e6


def test_an_unknown_size_is_refused_with_those_there_are() -> None:
    with pytest.raises(LiquidgenError) as error:
        read_size("XXL")
    assert "XXL" in error.value.message
    assert "XS" in error.value.hint


def test_a_new_network_predicts_zero() -> None:
    backbone = build_backbone("XS", sample_size=8, in_channels=16, num_classes=2)
    velocity = backbone(torch.randn(2, 16, 8, 8), torch.rand(2), torch.tensor([0, 2]))
    assert velocity.shape == (2, 16, 8, 8)
    assert not velocity.any()


@pytest.mark.parametrize("first", range(8))
def test_every_pair_of_blocks_has_a_global_receptive_field(first: int) -> None:
    torch.manual_seed(first)
    width, side = 16, 6
    pair = [
        liquidgen.LiquidBlock(width, 8, order % 8, retention=0.8, groups=4)
        for order in (first, first + 1)
    ]
    condition = torch.randn(1, 8)
    # GroupNorm alone would connect all tokens by its statistics: hold it still.
    for block in pair:
        block.norm_1 = block.norm_2 = StillNorm()  # type: ignore[assignment]
    x = torch.randn(1, side, side, width, dtype=torch.float64, requires_grad=True)
    y = x
    for block in pair:
        y = block.double()(y, condition.double())
    for row, column in ((0, 0), (0, side - 1), (side // 2, side // 2), (side - 1, 0)):
        (gradient,) = torch.autograd.grad(y[0, row, column].sum(), x, retain_graph=True)
        reach = gradient[0].abs().sum(-1)
        assert (reach > 0).all(), f"token {row}, {column} does not see {(reach == 0).nonzero()}"


class StillNorm(nn.Module):
    """AdaGN without the statistics."""

    def forward(self, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return x * (1 + scale[:, None, None]) + shift[:, None, None]


def test_there_is_no_attention_and_no_recurrent_module() -> None:
    kinds = {type(module).__name__.lower() for module in small_backbone().modules()}
    assert not any(re.search("attention|lstm|gru|rnn", kind) for kind in kinds)
    code = "".join(Path(str(module.__file__)).read_text() for module in (layers, liquidgen))
    assert "scaled_dot_product" not in code
    assert "softmax" not in code


def test_the_number_of_operations_does_not_grow_with_the_number_of_tokens() -> None:
    """No loop over tokens: the graph of a step is the same for 16 tokens and for 1,024."""

    def operations(side: int) -> int:
        backbone = small_backbone(sample_size=side)
        with torch.profiler.profile() as profile:
            backbone(torch.randn(1, 16, side, side), torch.rand(1), torch.zeros(1).long())
        return sum(event.count for event in profile.key_averages() if event.key == "aten::mul")

    operations(8)  # the first call of a process does more
    assert operations(8) == operations(64)


def test_the_gradient_reaches_every_parameter() -> None:
    backbone = small_backbone()
    backbone(
        torch.randn(4, 16, 8, 8), torch.rand(4), torch.tensor([0, 1, 2, 3])
    ).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_time_and_class_change_the_velocity() -> None:
    backbone = small_backbone()
    x = torch.randn(1, 16, 8, 8)
    base = backbone(x, torch.tensor([0.5]), torch.tensor([0]))
    assert not torch.allclose(base, backbone(x, torch.tensor([0.6]), torch.tensor([0])))
    assert not torch.allclose(base, backbone(x, torch.tensor([0.5]), torch.tensor([1])))


def test_no_labels_mean_the_null_class() -> None:
    backbone = small_backbone()
    x, t = torch.randn(2, 16, 8, 8), torch.rand(2)
    torch.testing.assert_close(backbone(x, t), backbone(x, t, torch.tensor([3, 3])))


@pytest.mark.parametrize("shape", [(8, 8), (12, 6), (4, 10), (16, 16)])
def test_other_sizes_than_the_trained_one_are_taken(shape: tuple[int, int]) -> None:
    velocity = small_backbone()(torch.randn(1, 16, *shape), torch.rand(1))
    assert velocity.shape == (1, 16, *shape)


def test_a_row_of_a_batch_does_not_depend_on_the_others() -> None:
    backbone = small_backbone().eval()
    x, t, labels = torch.randn(4, 16, 8, 8), torch.rand(4), torch.tensor([0, 1, 2, 3])
    with torch.inference_mode():
        whole = backbone(x, t, labels)
        turned = backbone(x.flip(0), t.flip(0), labels.flip(0)).flip(0)
    assert torch.equal(whole, turned)


def test_bfloat16_autocast_stays_close_to_float32() -> None:
    backbone = small_backbone().eval()
    x, t = torch.randn(2, 16, 8, 8), torch.rand(2)
    with torch.inference_mode():
        exact = backbone(x, t)
        with torch.autocast("cpu", torch.bfloat16):
            rough = backbone(x, t).float()
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_saved_and_loaded_it_is_the_same_network(tmp_path: Path) -> None:
    backbone = small_backbone().eval()
    backbone.save_pretrained(tmp_path)
    loaded = LiquidGen.from_pretrained(tmp_path, use_safetensors=True).eval()  # type: ignore[union-attr]
    x, t = torch.randn(2, 16, 8, 8), torch.rand(2)
    assert torch.equal(backbone(x, t), loaded(x, t))


@pytest.mark.parametrize("overrides", [{"depth": 3}, {"sample_size": 7}, {"width": 36}])
def test_impossible_shapes_are_refused(overrides: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        small_backbone(**overrides)
