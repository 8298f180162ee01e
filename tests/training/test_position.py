"""The step number is the whole position."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from liquidgen.training.position import batch_rows, epoch_order, step_seed

sizes = {
    "batch_size": st.integers(1, 20),
    "pictures": st.integers(1, 60),
    "seed": st.integers(0, 99),
}


@given(**sizes, epochs=st.integers(1, 3))
def test_every_picture_is_seen_once_an_epoch(
    batch_size: int, pictures: int, seed: int, epochs: int
) -> None:
    steps = -(-epochs * pictures // batch_size)
    rows = torch.cat([batch_rows(step, batch_size, pictures, seed) for step in range(steps)])
    for epoch in range(epochs):
        seen = rows[epoch * pictures : (epoch + 1) * pictures]
        assert sorted(seen.tolist()) == list(range(pictures))


@given(**sizes, ranks=st.integers(1, 4), step=st.integers(0, 50))
def test_processes_share_the_batch_that_one_process_would_take(
    batch_size: int, pictures: int, seed: int, ranks: int, step: int
) -> None:
    parts = [batch_rows(step, batch_size, pictures, seed, rank, ranks) for rank in range(ranks)]
    whole = batch_rows(step, batch_size * ranks, pictures, seed)
    assert torch.equal(torch.cat(parts), whole)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [epoch_order(seed, epoch, 50).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@given(st.lists(st.tuples(*[st.integers(0, 2**20)] * 3), unique=True, min_size=2, max_size=5))
def test_every_step_and_process_has_noise_of_its_own(places: list[tuple[int, int, int]]) -> None:
    seeds = {step_seed(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
