"""A cache is a function of its pictures and settings, however its making was interrupted."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from making import picture

from liquidgen.encode import CacheSummary, check_source, encode_source
from liquidgen.errors import LiquidgenError
from liquidgen.latents import LatentCache, read_manifest
from liquidgen.latents.shard import read_keys
from liquidgen.sources.abstract import AbstractPaintings
from liquidgen.sources.example import Example, Unreadable
from liquidgen.sources.folder import FolderSource
from liquidgen.vae import Vae, load_vae

MakeFolder = Callable[..., Path]
SIZE = 16


@pytest.fixture
def encode(small_vae: Vae, tmp_path: Path) -> Callable[..., CacheSummary]:
    """Encode a folder in shards of 4; options as in `encode_source`, `out` for another cache."""

    def run(folder: Path, out: str = "out", vae: Vae = small_vae, **options) -> CacheSummary:
        settings: dict[str, Any] = {"image_size": SIZE, "shard_images": 4} | options
        source = FolderSource(folder, settings["image_size"])
        return encode_source(source, vae, tmp_path / out, **settings)

    return run


Encode = Callable[..., CacheSummary]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def ages(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes of a file when it is written again."""
    status = {path.name: path.stat() for path in folder.glob("shard-*")}
    return {name: (entry.st_ino, entry.st_mtime_ns) for name, entry in status.items()}


def spoil(path: Path) -> None:
    path.write_text("no picture")


def test_a_folder_becomes_latents_with_labels_keys_and_statistics(
    encode: Encode, make_folder: MakeFolder, small_vae: Vae, tmp_path: Path
):
    folder = make_folder(5)
    summary = encode(folder)
    assert (summary.made, summary.kept, summary.manifest.skipped) == (3, 0, 0)
    cache = LatentCache.open(tmp_path / "out", verify=True)
    latents, labels = cache.batch(torch.arange(10))
    assert cache.manifest.classes == ("cats", "dogs")
    assert labels.tolist() == [0] * 5 + [1] * 5
    keys = [
        key
        for shard in cache.manifest.shards.values()
        for key in read_keys(summary.folder / shard.file)
    ]
    assert keys == [f"{name}/{n:03d}.png" for name in ("cats", "dogs") for n in range(5)]
    for index, example in enumerate(FolderSource(folder, SIZE).examples(0, 10)):
        assert isinstance(example, Example)
        pixels = torch.frombuffer(bytearray(example.image.tobytes()), dtype=torch.uint8)
        alone = small_vae.encode(pixels.reshape(1, SIZE, SIZE, 3).permute(0, 3, 1, 2))
        assert torch.equal(latents[index], alone[0].bfloat16().float())


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_leaves_no_trace(encode: Encode, make_folder: MakeFolder, batch_size: int):
    folder = make_folder(5)
    first = contents(encode(folder).folder)
    assert contents(encode(folder, out="other", batch_size=batch_size).folder) == first


def test_a_bad_neighbour_leaves_no_trace_in_a_latent(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(5)
    whole, _ = LatentCache.open(encode(folder).folder).batch(torch.arange(10))
    spoil(folder / "cats" / "002.png")
    summary = encode(folder, out="other")
    rest, labels = LatentCache.open(summary.folder).batch(torch.arange(9))
    assert torch.equal(rest, torch.cat([whole[:2], whole[3:]]))
    assert labels.tolist() == [0] * 4 + [1] * 5
    skipped = (summary.folder / "skipped.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in skipped] == ["cats/002.png"]
    assert summary.manifest.skipped == 1


def test_a_complete_cache_is_left_as_it_is(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(5)
    before = encode(folder)
    manifest = (before.folder / "manifest.json").stat()
    summary = encode(folder)
    assert (summary.made, summary.kept) == (0, 3)
    assert (before.folder / "manifest.json").stat().st_ino == manifest.st_ino


class Stops:
    """A source that is stopped at a picture, as by Ctrl-C."""

    def __init__(self, source: FolderSource, at: int) -> None:
        self.source, self.at = source, at

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)

    def examples(self, start: int, stop: int) -> Iterator[Example | Unreadable]:
        for number, entry in enumerate(self.source.examples(start, stop), start):
            if number == self.at:
                raise KeyboardInterrupt
            yield entry


@pytest.mark.parametrize("stops", [[1], [6], [9], [4, 8]])
def test_a_cache_stopped_anywhere_and_resumed_is_the_unbroken_one(
    encode: Encode, make_folder: MakeFolder, small_vae: Vae, tmp_path: Path, stops: list[int]
):
    folder = make_folder(5)
    spoil(folder / "cats" / "001.png")
    whole = contents(encode(folder).folder)
    for at in stops:
        source = Stops(FolderSource(folder, SIZE), at)
        with pytest.raises(KeyboardInterrupt):
            encode_source(source, small_vae, tmp_path / "other", image_size=SIZE, shard_images=4)  # pyright: ignore
    assert not read_manifest(tmp_path / "other").complete
    summary = encode(folder, out="other")
    assert summary.kept == stops[-1] // 4
    assert contents(summary.folder) == whole


def flip_last_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [flip_last_bit, truncate, Path.unlink])
def test_only_a_damaged_shard_is_made_again(encode: Encode, make_folder: MakeFolder, damage):
    folder = make_folder(5)
    out = encode(folder).folder
    before, when = contents(out), ages(out)
    damage(out / "shard-00001.safetensors")
    summary = encode(folder)
    assert (summary.made, summary.kept) == (1, 2)
    assert contents(out) == before
    assert [name for name in when if ages(out)[name] != when[name]] == ["shard-00001.safetensors"]


def test_a_shard_that_the_manifest_does_not_know_yet_is_taken_over(
    encode: Encode, make_folder: MakeFolder
):
    folder = make_folder(5)
    out = encode(folder).folder
    before = contents(out)
    manifest = json.loads(before["manifest.json"])
    unfinished = manifest | {"shards": manifest["shards"][:1], "complete": False}
    (out / "manifest.json").write_text(json.dumps(unfinished))
    summary = encode(folder)
    assert (summary.made, summary.kept) == (0, 3)
    assert contents(out) == before


def test_what_a_kill_leaves_behind_is_swept(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(3)
    out = encode(folder).folder
    (out / ".shard-00000.safetensors.123.partial").touch()
    (out / "shard-00007.safetensors").touch()
    encode(folder)
    names = ["manifest.json", "shard-00000.safetensors", "shard-00001.safetensors", "skipped.jsonl"]
    assert list(contents(out)) == names


def test_an_edited_picture_costs_its_shard_only(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(5)
    encode(folder)
    picture(99).save(folder / "dogs" / "000.png")
    summary = encode(folder)
    assert (summary.made, summary.kept) == (1, 2)
    assert contents(summary.folder) == contents(encode(folder, out="fresh").folder)


def test_a_touched_picture_costs_nothing(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(5)
    when = ages(encode(folder).folder)
    os.utime(folder / "dogs" / "000.png", (1, 1))
    summary = encode(folder)
    assert summary.made == 0
    assert ages(summary.folder) == when
    assert contents(summary.folder) == contents(encode(folder, out="fresh").folder)


def test_added_and_removed_pictures_are_noticed(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(5)
    encode(folder)
    picture(99).save(folder / "dogs" / "zzz.png")
    added = encode(folder)
    assert (added.manifest.count, added.made) == (11, 1)
    for name in ("003", "004", "zzz"):
        (folder / "dogs" / f"{name}.png").unlink()
    removed = encode(folder)
    assert (removed.manifest.count, removed.made, removed.kept) == (8, 0, 2)
    assert contents(removed.folder) == contents(encode(folder, out="fresh").folder)


def test_a_new_class_changes_labels_and_is_noticed(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(3)
    encode(folder)
    (folder / "ants").mkdir()
    picture(50).save(folder / "ants" / "0.png")
    summary = encode(folder)
    assert summary.manifest.classes == ("ants", "cats", "dogs")
    assert LatentCache.open(summary.folder).labels.tolist() == [0, 1, 1, 1, 2, 2, 2]


def test_a_moved_folder_keeps_its_cache(encode: Encode, make_folder: MakeFolder, tmp_path: Path):
    folder = make_folder(3)
    encode(folder)
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / folder.name)
    assert encode(moved).made == 0


def test_another_folder_of_the_same_name_does_not_replace_a_cache(
    encode: Encode, make_folder: MakeFolder, tmp_path: Path
):
    encode(make_folder(3))
    other = make_folder(2, name="away/pets")
    with pytest.raises(LiquidgenError, match="was made from") as caught:
        encode(other)
    assert str(tmp_path / "pets") in caught.value.message
    assert read_manifest(tmp_path / "out").count == 6
    assert encode(other, overwrite=True).manifest.count == 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image_size": 24}, "image_size is 16 there, 24 asked"),
        ({"dtype": "fp32"}, "dtype is bf16 there, fp32 asked"),
        ({"shard_images": 5}, "shard_images is 4 there, 5 asked"),
        ({"vae": "pixels"}, "vae is small there, pixels asked"),
    ],
)
def test_other_settings_are_refused_by_both_values_and_allowed_by_overwrite(
    encode: Encode, make_folder: MakeFolder, options: dict, named: str, vae_folder: Path
):
    folder = make_folder(3)
    before = contents(encode(folder).folder)
    if "vae" in options:
        options = {"vae": load_vae("pixels")}
        named = named.replace("small", str(vae_folder))
    with pytest.raises(LiquidgenError) as caught:
        encode(folder, **options)
    assert named in caught.value.message
    assert "--overwrite" in caught.value.hint
    summary = encode(folder, out="out")
    assert contents(summary.folder) == before
    replaced = encode(folder, overwrite=True, **options)
    assert replaced.made > 0
    assert contents(replaced.folder) == contents(encode(folder, out="fresh", **options).folder)


def test_a_folder_that_is_no_cache_is_never_written_to(
    encode: Encode, make_folder: MakeFolder, tmp_path: Path
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(LiquidgenError, match="is no cache"):
            encode(make_folder(3), overwrite=overwrite)
    assert contents(tmp_path / "out") == {"thesis.txt": b"years of work"}


def test_a_newer_cache_is_left_alone_even_by_overwrite(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(3)
    out = encode(folder).folder
    newer = json.loads((out / "manifest.json").read_text()) | {"format_version": 99}
    (out / "manifest.json").write_text(json.dumps(newer))
    before = contents(out)
    with pytest.raises(LiquidgenError, match="format version 99"):
        encode(folder, overwrite=True)
    assert contents(out) == before


def test_a_size_that_does_not_suit_the_autoencoder_is_refused(
    encode: Encode, make_folder: MakeFolder, tmp_path: Path
):
    with pytest.raises(LiquidgenError, match="no multiple of 8") as caught:
        encode(make_folder(1), image_size=20)
    assert "16 or 24" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_all_bad_is_found_before_anything_is_made(make_folder: MakeFolder):
    folder = make_folder(3)
    for path in folder.rglob("*.png"):
        spoil(path)
    with pytest.raises(LiquidgenError, match=r"none of the 6 pictures .* cats/000\.png"):
        check_source(FolderSource(folder, SIZE))


def test_mostly_bad_is_an_error_that_lists_them(
    encode: Encode, make_folder: MakeFolder, tmp_path: Path
):
    folder = make_folder(5)
    for path in sorted(folder.rglob("*.png"))[1:8]:
        spoil(path)
    with pytest.raises(LiquidgenError, match=r"[67] of 10 pictures cannot be used"):
        encode(folder)
    assert "cats/001.png" in (tmp_path / "out" / "skipped.jsonl").read_text()
    with pytest.raises(LiquidgenError, match="not finished"):
        LatentCache.open(tmp_path / "out")


def test_a_whole_shard_of_bad_pictures_is_no_obstacle(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(6)
    for path in sorted(folder.rglob("*.png"))[4:8]:
        spoil(path)
    summary = encode(folder)
    assert [shard.rows for shard in summary.manifest.shards.values()] == [4, 0, 4]
    assert len(LatentCache.open(summary.folder, verify=True)) == 8


def test_strict_stops_at_the_first_bad_picture(encode: Encode, make_folder: MakeFolder):
    folder = make_folder(5)
    spoil(folder / "dogs" / "001.png")
    with pytest.raises(LiquidgenError, match=r"dogs/001\.png cannot be used"):
        encode(folder, strict=True)
    encode(folder)
    with pytest.raises(LiquidgenError, match=r"dogs/001\.png cannot be used"):
        encode(folder, strict=True)


def test_a_latent_that_is_not_finite_is_left_out(
    encode: Encode, make_folder: MakeFolder, small_vae: Vae, monkeypatch: pytest.MonkeyPatch
):
    whole = small_vae.encode

    def encode_badly(images: torch.Tensor) -> torch.Tensor:
        latents = whole(images)
        latents[images.flatten(1).float().mean(1) < 20] = torch.nan
        return latents

    monkeypatch.setattr(small_vae, "encode", encode_badly)
    folder = make_folder(5)
    from PIL import Image

    Image.new("RGB", (20, 20)).save(folder / "cats" / "003.png")
    summary = encode(folder)
    assert summary.manifest.skipped == 1
    assert "not finite" in (summary.folder / "skipped.jsonl").read_text()
    latents, _ = LatentCache.open(summary.folder).batch(torch.arange(9))
    assert latents.isfinite().all()


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_latents_are_stored_in_the_type_that_was_asked(
    encode: Encode, make_folder: MakeFolder, dtype: str
):
    summary = encode(make_folder(2), dtype=dtype)
    exact, _ = LatentCache.open(encode(make_folder(2), out="exact", dtype="fp32").folder).batch(
        torch.arange(4)
    )
    stored, _ = LatentCache.open(summary.folder).batch(torch.arange(4))
    assert (stored - exact).abs().max() <= {"bf16": 0.02, "fp16": 0.002, "fp32": 0}[dtype]


def test_the_built_in_pictures_can_be_cached_and_extended(small_vae: Vae, tmp_path: Path):
    options: dict[str, Any] = {"image_size": 16, "shard_images": 8}
    encode_source(AbstractPaintings(16, 12), small_vae, tmp_path / "out", **options)
    longer = encode_source(AbstractPaintings(16, 20), small_vae, tmp_path / "out", **options)
    assert (longer.kept, longer.made, longer.manifest.count) == (1, 2, 20)
    fresh = encode_source(AbstractPaintings(16, 20), small_vae, tmp_path / "fresh", **options)
    assert contents(longer.folder) == contents(fresh.folder)


class Stream:
    """Built-in pictures whose number nobody knows beforehand."""

    id, revision, classes = "stream", "1", ("a",) * 8

    def __init__(self, length: int) -> None:
        self.pictures = AbstractPaintings(SIZE, length)

    def __len__(self) -> int:
        raise TypeError

    def examples(self, start: int, stop: int) -> Iterator[Example]:
        return self.pictures.examples(start, stop)


@pytest.mark.parametrize("length", [1, 3, 4, 8, 9])
def test_a_stream_is_cached_to_its_end_once(small_vae: Vae, tmp_path: Path, length: int):
    options: dict[str, Any] = {"image_size": SIZE, "shard_images": 4}
    first = encode_source(Stream(length), small_vae, tmp_path, **options)
    assert first.manifest.count == len(LatentCache.open(tmp_path)) == length
    assert (first.made, first.kept) == (-(-length // 4), 0)
    before = contents(tmp_path)
    again = encode_source(Stream(length), small_vae, tmp_path, **options)
    assert (again.made, again.kept) == (0, -(-length // 4))
    assert contents(tmp_path) == before


def test_the_manifest_says_where_everything_came_from(encode: Encode, make_folder: MakeFolder):
    out = encode(make_folder(2), command="liquidgen cache pets").folder
    value = json.loads((out / "manifest.json").read_text())
    assert value["format_version"] == 1
    assert value["settings"]["source"] == "folder pets"
    assert value["settings"]["vae"]["weights_hash"]
    assert value["command"] == "liquidgen cache pets"
    assert value["fingerprint"] == read_manifest(out).fingerprint


@pytest.mark.slow
def test_tiles_with_real_weights_come_back_as_tiles(shared: Path, tmp_path: Path):
    vae = load_vae(str(shared / "vae/taef1"))
    source = FolderSource(shared / "data/tiles/images", 64, max_images=24)
    encode_source(source, vae, tmp_path, image_size=64)
    latents, labels = LatentCache.open(tmp_path).batch(torch.arange(24))
    assert len(set(labels.tolist())) == 6
    decoded = vae.decode(latents).float()
    for example, pixels in zip(source.examples(0, 24), decoded, strict=True):
        assert isinstance(example, Example)
        flat = torch.frombuffer(bytearray(example.image.tobytes()), dtype=torch.uint8).float()
        error = (pixels - flat.reshape(64, 64, 3).permute(2, 0, 1)).square().mean()
        assert 20 * torch.log10(255 / error.sqrt()) > 15
