"""What is written is what is read, in the same bytes every time; what is damaged is told."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from liquidgen.errors import LiquidgenError
from liquidgen.latents import LatentCache, Manifest, Settings, VaeRecord, read_manifest
from liquidgen.latents.manifest import (
    FORMAT_VERSION,
    NewerFormatError,
    make_manifest,
    shard_name,
    write_manifest,
)
from liquidgen.latents.shard import (
    DTYPES,
    ShardContent,
    ShardError,
    check_shard,
    describe_shard,
    read_header,
    read_keys,
    write_shard,
)

VAE = VaeRecord("small", "somewhere", "abcd", 2, 8, 0.5, 0.25)


def some_settings(dtype: str = "bf16", shard_images: int = 4) -> Settings:
    return Settings("folder pets", "", 24, "center", dtype, shard_images, VAE)  # pyright: ignore


def content(rows: int, seed: int = 0, dtype: str = "bf16", keys: list[str] | None = None):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, 2, 3, 3, generator=generator).to(DTYPES[dtype])  # pyright: ignore
    names = keys or [f"{seed}-{row}.png" for row in range(rows)]
    return ShardContent(latents, [row % 3 - 1 for row in range(rows)], names, [("x", "y")], "hash")


def write_cache(folder: Path, rows: list[int], complete: bool = True) -> Manifest:
    """A cache of some shards, as the cache stage leaves it."""
    of_cache = some_settings()
    shards = {}
    for number, count in enumerate(rows):
        write_shard(folder / shard_name(number), content(count, number), of_cache)
        shards[number] = describe_shard(folder / shard_name(number), of_cache)
    command = "liquidgen cache pets"
    manifest = make_manifest(of_cache, ("a", "b"), shards, complete=complete, command=command)
    write_manifest(folder, manifest)
    return manifest


@settings(max_examples=25, deadline=None)
@given(
    keys=st.lists(st.text(max_size=20), max_size=6),
    dtype=st.sampled_from(["bf16", "fp16", "fp32"]),
    skipped=st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3),
)
def test_any_shard_is_read_as_it_was_written(
    keys: list[str], dtype: str, skipped: list[tuple[str, str]]
):
    of_cache = some_settings(dtype)
    written = replace(content(len(keys), 1, dtype, keys or None), skipped=skipped)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / shard_name(0)
        write_shard(path, written, of_cache)
        record = describe_shard(path, of_cache)
        check_shard(path, record, of_cache.fingerprint, contents=True)
        assert (record.rows, record.pictures) == (len(keys), len(keys) + len(skipped))
        assert read_keys(path) == keys
        assert [tuple(entry) for entry in read_header(path)["skipped"]] == skipped
        with safe_open(path, framework="pt") as file:
            assert torch.equal(file.get_tensor("latents"), written.latents)
            assert file.get_tensor("labels").tolist() == list(written.labels)


@settings(max_examples=25, deadline=None)
@given(
    classes=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=5),
    location=st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    complete=st.booleans(),
)
def test_any_manifest_is_read_as_it_was_written(classes: list[str], location: str, complete: bool):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shard(folder / shard_name(3), content(4), some_settings())
        shards = {3: describe_shard(folder / shard_name(3), some_settings())}
        written = make_manifest(
            some_settings(), classes, shards, complete=complete, location=location
        )
        write_manifest(folder, written)
        assert read_manifest(folder) == written


def test_the_same_content_gives_the_same_bytes_in_another_process(tmp_path: Path):
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_shard_and_manifest import *
write_shard(Path(sys.argv[1]), content(5), some_settings())
"""
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", script, tmp_path / name], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_statistics_are_those_of_all_latents_together(tmp_path: Path):
    manifest = write_cache(tmp_path, [4, 4, 2])
    latents, _ = LatentCache.open(tmp_path).batch(torch.arange(10))
    values = latents.double().transpose(0, 1).flatten(1)
    assert torch.allclose(values.mean(1), torch.tensor(manifest.mean).double(), atol=1e-12)
    deviations = values.std(1, correction=0)
    assert torch.allclose(deviations, torch.tensor(manifest.std).double(), atol=1e-12)


def test_the_order_in_which_shards_were_made_leaves_no_trace(tmp_path: Path):
    manifest = write_cache(tmp_path, [4, 4, 2])
    turned = dict(reversed(manifest.shards.items()))
    again = make_manifest(
        manifest.settings, manifest.classes, turned, complete=True, command=manifest.command
    )
    assert again == manifest
    assert list(again.shards) == [0, 1, 2]


def test_the_vae_counts_by_its_weights_and_not_by_its_name():
    before = some_settings()
    renamed = replace(before, vae=replace(VAE, name="other", source="elsewhere"))
    retrained = replace(before, vae=replace(VAE, weights_hash="dcba"))
    assert renamed.fingerprint == before.fingerprint != retrained.fingerprint


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def zero_tail(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-40] + bytes(40))


def garble_header(path: Path) -> None:
    path.write_bytes(bytes(8) + path.read_bytes()[8:])


def replace_by_other_settings(path: Path) -> None:
    write_shard(path, content(4, 1), replace(some_settings(), crop="centre"))


SEEN_AT_ONCE = [Path.unlink, cut, lengthen, garble_header, replace_by_other_settings]


@pytest.mark.parametrize("damage", [*SEEN_AT_ONCE, flip, zero_tail])
def test_verifying_finds_any_damage_and_names_shard_and_remedy(tmp_path: Path, damage):
    write_cache(tmp_path, [4, 4, 2])
    damage(tmp_path / shard_name(1))
    with pytest.raises(LiquidgenError) as caught:
        LatentCache.open(tmp_path, verify=True)
    assert shard_name(1) in caught.value.message
    assert "liquidgen cache pets" in caught.value.hint


@pytest.mark.parametrize("damage", SEEN_AT_ONCE)
def test_opening_finds_missing_cut_and_foreign_shards(tmp_path: Path, damage):
    write_cache(tmp_path, [4, 4, 2])
    damage(tmp_path / shard_name(1))
    with pytest.raises(LiquidgenError, match=shard_name(1)):
        LatentCache.open(tmp_path)


def test_a_foreign_safetensors_file_is_no_shard(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x")
    with pytest.raises(ShardError, match="no shard"):
        read_header(tmp_path / "x")


def test_an_unfinished_cache_is_not_read(tmp_path: Path):
    write_cache(tmp_path, [4, 4], complete=False)
    with pytest.raises(LiquidgenError, match="not finished") as caught:
        LatentCache.open(tmp_path)
    assert "liquidgen cache pets" in caught.value.hint


def test_a_cache_without_shards_is_not_read(tmp_path: Path):
    write_cache(tmp_path, [])
    with pytest.raises(LiquidgenError, match="no latents"):
        LatentCache.open(tmp_path)


def test_a_newer_format_is_told_and_left_alone(tmp_path: Path):
    write_cache(tmp_path, [4])
    path = tmp_path / "manifest.json"
    value = json.loads(path.read_text()) | {"format_version": FORMAT_VERSION + 1, "news": 1}
    path.write_text(json.dumps(value))
    with pytest.raises(NewerFormatError, match="format version 2"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1}', "\xff"])
def test_a_damaged_manifest_is_told(tmp_path: Path, text: str):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(LiquidgenError, match=r"manifest\.json is damaged"):
        read_manifest(tmp_path)


def test_no_cache_is_told(tmp_path: Path):
    with pytest.raises(LiquidgenError, match="is no cache"):
        read_manifest(tmp_path)
    with pytest.raises(LiquidgenError, match="there is no cache"):
        read_manifest(tmp_path / "gone")
