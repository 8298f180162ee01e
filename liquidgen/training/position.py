"""The position of a run is its step number: which pictures and which noise a step uses."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def batch_rows(
    step: int, batch_size: int, pictures: int, seed: int, rank: int = 0, ranks: int = 1
) -> Tensor:
    """Rows of the cache that process `rank` uses in `step`, `[batch_size]` int64.

    The steps walk through one epoch after another, each with a permutation of its own of all pictures;
    a batch may straddle two.
    """
    first = (step * ranks + rank) * batch_size
    places = torch.arange(first, first + batch_size)
    epochs = places // pictures
    rows = torch.empty_like(places)
    for epoch in epochs.unique().tolist():
        here = epochs == epoch
        rows[here] = epoch_order(seed, epoch, pictures)[places[here] % pictures]
    return rows


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, pictures: int) -> Tensor:
    """The permutation of `range(pictures)` in which an epoch sees them."""
    generator = torch.Generator().manual_seed(_mix(seed, 0, epoch))
    return torch.randperm(pictures, generator=generator)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the times, noise and class dropout of a step on a process."""
    return _mix(seed, 1, step, rank)


def _mix(*numbers: int) -> int:
    """A 63-bit seed from a few numbers, as different for neighbours as for strangers."""
    words = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
