"""The rectified flow's loss against what is known in closed form."""

import torch
from torch import Tensor

from liquidgen.objectives import drop_classes, rectified_flow_loss


def test_the_exact_velocity_has_no_loss_where_the_data_is_one_point() -> None:
    point = torch.full((64, 2, 4, 4), 0.7)

    def exact(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return (x - point) / t[:, None, None, None]  # e - x0, from x = (1 - t) x0 + t e

    loss = rectified_flow_loss(exact, point, torch.zeros(64), torch.Generator().manual_seed(0))
    assert loss < 1e-6


def test_predicting_nothing_costs_the_velocitys_variance() -> None:
    x0 = torch.randn(4000, 1, 4, 4)
    loss = rectified_flow_loss(
        lambda x, t, labels: torch.zeros_like(x), x0, torch.zeros(4000), torch.Generator()
    )
    assert abs(float(loss) - 2) < 0.05  # var(e) + var(x0)


def test_the_network_sees_the_line_between_data_and_noise() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        seen.append((x, t))
        return torch.zeros_like(x)

    x0 = torch.full((5000, 1, 2, 2), 3.0)
    rectified_flow_loss(watch, x0, torch.zeros(5000), torch.Generator().manual_seed(1))
    x, t = seen[0]
    noise = (x - (1 - t[:, None, None, None]) * x0) / t[:, None, None, None]
    assert t.min() >= 0
    assert t.max() <= 1
    assert abs(float(t.mean()) - 0.5) < 0.02
    assert abs(float(noise[t > 0.05].std()) - 1) < 0.02


def test_classes_are_dropped_with_the_given_probability() -> None:
    labels = torch.zeros(20_000, dtype=torch.long)
    dropped = drop_classes(labels, 0.1, 5, torch.Generator().manual_seed(0))
    assert abs(float((dropped == 5).float().mean()) - 0.1) < 0.01
    assert torch.equal(drop_classes(labels, 0.0, 5, torch.Generator()), labels)


def test_a_picture_without_a_class_has_the_null_class() -> None:
    labels = torch.tensor([-1, 2])
    assert drop_classes(labels, 0.0, 5, torch.Generator()).tolist() == [5, 2]
