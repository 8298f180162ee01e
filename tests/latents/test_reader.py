"""A batch is a gather from mapped files: any indices, any order, nothing read that was not asked."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shard_and_manifest import content, write_cache

from liquidgen.latents import LatentCache

ROWS = [4, 0, 3, 1, 4]
TOTAL = sum(ROWS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> LatentCache:
    folder = tmp_path_factory.mktemp("cache")
    write_cache(folder, ROWS)
    return LatentCache.open(folder)


WHOLE = torch.cat([content(rows, number).latents for number, rows in enumerate(ROWS)]).float()
LABELS = [label for number, rows in enumerate(ROWS) for label in content(rows, number).labels]


@settings(max_examples=50, deadline=None)
@given(indices=st.lists(st.integers(0, TOTAL - 1), max_size=20))
def test_any_indices_give_their_rows(cache: LatentCache, indices: list[int]):
    wanted = torch.tensor(indices, dtype=torch.int64)
    latents, labels = cache.batch(wanted)
    assert latents.dtype == torch.float32
    assert latents.shape == (len(indices), 2, 3, 3)
    assert torch.equal(latents, WHOLE[wanted])
    assert labels.tolist() == [LABELS[index] for index in indices]


def test_the_cache_says_what_it_holds(cache: LatentCache):
    assert len(cache) == TOTAL
    assert cache.shape == (2, 3, 3)
    assert cache.labels.tolist() == LABELS
    assert cache.manifest.classes == ("a", "b")


@pytest.mark.parametrize("index", [-1, TOTAL])
def test_an_index_out_of_range_is_refused(cache: LatentCache, index: int):
    with pytest.raises(IndexError, match=r"0\.\.11"):
        cache.batch(torch.tensor([0, index]))


def test_a_moved_cache_reads_the_same(tmp_path: Path):
    (tmp_path / "here").mkdir()
    write_cache(tmp_path / "here", [4, 2])
    before, _ = LatentCache.open(tmp_path / "here").batch(torch.arange(6))
    (tmp_path / "here").rename(tmp_path / "there")
    after, _ = LatentCache.open(tmp_path / "there").batch(torch.arange(6))
    assert torch.equal(before, after)
