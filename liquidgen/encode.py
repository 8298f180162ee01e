"""The cache stage: pictures of a source -> shards of latents on the disk.

Shard s holds pictures s * shard_images and on, and is made by process s modulo the number of
processes. Each shard is a function of its pictures and the settings, so an interrupted run, a
resumed one and one on several processes leave the same bytes.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from liquidgen.errors import LiquidgenError
from liquidgen.files import TEMPORARY_SUFFIX, write_atomically
from liquidgen.latents.manifest import (
    MANIFEST_NAME,
    Dtype,
    Manifest,
    NewerFormatError,
    Settings,
    ShardRecord,
    VaeRecord,
    is_shard_name,
    make_manifest,
    read_manifest,
    shard_name,
    shard_number,
    write_manifest,
)
from liquidgen.latents.shard import (
    DTYPES,
    ShardContent,
    ShardError,
    check_shard,
    describe_shard,
    read_header,
    write_shard,
)
from liquidgen.progress import progress
from liquidgen.sources.example import EditableSource, Example, Source, Unreadable
from liquidgen.vae import Vae

SKIPPED_NAME = "skipped.jsonl"
PIXELS_AT_ONCE = 1 << 20  # of a batch on a GPU, unless the user says how many pictures
PATIENCE = timedelta(days=7)  # for which processes wait for the slowest

log = logging.getLogger(__name__)

Shared = TypeVar("Shared")


@dataclass(frozen=True)
class CacheSummary:
    """What a run of the cache stage did.

    Attributes:
        folder: where the cache is.
        manifest: of the finished cache.
        made: shards encoded by this run, by all processes together.
        kept: shards that were finished and whole already.
    """

    folder: Path
    manifest: Manifest
    made: int
    kept: int


@dataclass(frozen=True)
class _Job:
    """What stays the same while a cache is made."""

    source: Source
    folder: Path
    settings: Settings
    command: str

    @property
    def length(self) -> int | None:
        """Pictures in the source; None for a stream."""
        try:
            return len(self.source)
        except TypeError:
            return None

    @property
    def shard_count(self) -> int | None:
        return None if self.length is None else -(-self.length // self.settings.shard_images)

    def bounds(self, number: int) -> tuple[int, int]:
        """First picture of a shard and the one beyond its last."""
        start = number * self.settings.shard_images
        stop = start + self.settings.shard_images
        return start, stop if self.length is None else min(stop, self.length)

    def path(self, number: int) -> Path:
        return self.folder / shard_name(number)


@dataclass
class _Progress:
    """Shards that are finished, the pictures left out of them, and whether that is all."""

    shards: dict[int, ShardRecord]
    skipped: dict[int, list[list[str]]]
    complete: bool


def join_processes(cpu: bool) -> PartialState:
    """This process's place among those that `accelerate launch` started; alone otherwise."""
    return PartialState(cpu=cpu, timeout=PATIENCE)


def pick_device(name: str) -> torch.device:
    """The device that a user means: "auto" takes this process's GPU if there is one.

    Raises:
        LiquidgenError: there is no such device here.
    """
    if name == "auto":
        return torch.device(join_processes(cpu=False).device or "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise LiquidgenError(
            f"this machine has no device {name}", "--device takes auto, cpu, cuda, cuda:1, mps"
        ) from error
    return torch.device(name)


def check_source(source: Source) -> None:
    """Look for the first picture that can be used, before anything expensive is loaded.

    Raises:
        LiquidgenError: there is none.
    """
    first: Unreadable | None = None
    bad = 0
    for entry in source.examples(0, 1 << 62):
        if isinstance(entry, Example):
            return
        first = first or entry
        bad += 1
    if first is None:
        raise LiquidgenError(f"{source.id} holds no pictures", "name another source")
    raise LiquidgenError(
        f"none of the {bad} pictures of {source.id} can be used; {first.key}: {first.reason}",
        "put pictures there that open in an image viewer",
    )


def make_settings(
    source: Source,
    vae: Vae,
    image_size: int,
    dtype: Dtype,
    shard_images: int,
    max_images: int | None = None,
) -> Settings:
    """All that the latents will depend on.

    Raises:
        LiquidgenError: the size does not suit the autoencoder.
    """
    if image_size % vae.factor:
        raise LiquidgenError(
            f"--image-size {image_size} is no multiple of {vae.factor}, as {vae.name} needs",
            f"take {image_size // vae.factor * vae.factor or vae.factor}"
            f" or {(image_size // vae.factor + 1) * vae.factor}",
        )
    record = VaeRecord(
        name=vae.name,
        source=vae.source,
        weights_hash=vae.weights_hash,
        channels=vae.channels,
        factor=vae.factor,
        scaling_factor=vae.scaling_factor,
        shift_factor=vae.shift_factor,
    )
    return Settings(
        source=source.id,
        revision=source.revision,
        image_size=image_size,
        crop="center",
        dtype=dtype,
        shard_images=shard_images,
        vae=record,
        max_images=max_images,
    )


def encode_source(
    source: Source,
    vae: Vae,
    folder: str | Path,
    *,
    image_size: int,
    dtype: Dtype = "bf16",
    shard_images: int = 1024,
    max_images: int | None = None,
    batch_size: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    command: str = "",
) -> CacheSummary:
    """Encode a source into a cache, or finish, repair or update the cache that is there.

    Args:
        source: the pictures, opened for `image_size`.
        vae: encodes them.
        folder: the cache; made when it is missing.
        image_size: side of the pictures in pixels, a multiple of the autoencoder's factor.
        dtype: of the stored latents.
        shard_images: pictures a shard.
        max_images: what limited the source, so that a short cache never takes the place of a whole one.
        batch_size: pictures encoded at a time; None suits it to `image_size`.
        strict: stop at the first picture that cannot be used, instead of leaving it out.
        overwrite: remove a cache that other settings made.
        command: what the user typed, kept in the manifest for whoever has to repair the cache.

    Raises:
        LiquidgenError: the folder holds something else, or a cache of other settings; or more than
            half of the pictures cannot be used.
    """
    settings = make_settings(source, vae, image_size, dtype, shard_images, max_images)
    job = _Job(source, Path(folder), settings, command)
    state = join_processes(cpu=vae.device.type == "cpu")
    done = _share(state, lambda: _prepare(job, overwrite))
    kept = len(done.shards)
    if strict:
        _refuse_skipped(done)
    if done.complete:
        log.info("nothing to encode: %s is complete", job.folder)
    else:
        size = batch_size or _suitable_batch(vae, image_size)
        _encode_missing(job, vae, done, size, strict, state)
    state.wait_for_everyone()
    manifest = _share(state, lambda: _finish(job, done))
    return CacheSummary(job.folder, manifest, len(manifest.shards) - kept, kept)


def _suitable_batch(vae: Vae, image_size: int) -> int:
    """Pictures at a time: enough for all threads, or about a megapixel for a GPU."""
    if vae.alone:
        return max(16, 2 * torch.get_num_threads())
    return max(1, PIXELS_AT_ONCE // image_size**2)


def _share(state: PartialState, function: Callable[[], Shared]) -> Shared:
    """What `function` returns, or its error, from the main process to all."""
    if state.num_processes == 1:
        return function()
    outcome: list[Any] = [None, None]
    if state.is_main_process:
        try:
            outcome[0] = function()
        except LiquidgenError as error:
            outcome[1] = (error.message, error.hint)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise LiquidgenError(*outcome[1])
    return outcome[0]


# Before encoding: what is there, and may it stay?


def _prepare(job: _Job, overwrite: bool) -> _Progress:
    """Make the folder ready: only whole shards of the same pictures and settings stay in it."""
    existing = _existing(job, overwrite)
    done = _Progress({}, {}, False)
    if existing is not None:
        done = _kept(job, existing, overwrite)
    job.folder.mkdir(parents=True, exist_ok=True)
    for orphan in job.folder.glob(f".*{TEMPORARY_SUFFIX}"):
        orphan.unlink()
    for number in _numbers_on_disk(job.folder):
        if number not in done.shards:
            job.path(number).unlink()
    if not done.complete:
        _write_progress(job, done)
    if done.shards and not done.complete:
        log.info("going on: %d shards of %s are finished", len(done.shards), job.folder)
    return done


def _existing(job: _Job, overwrite: bool) -> Manifest | None:
    """The manifest of the cache that is to be finished; None to begin a new one."""
    folder = job.folder
    if not folder.exists() or not _visible(folder):
        return None
    if not folder.is_dir() or not (folder / MANIFEST_NAME).exists():
        raise LiquidgenError(
            f"{folder} is there already and is no cache", "name another folder with --out"
        )
    try:
        manifest = read_manifest(folder)
        _refuse_other_settings(folder, manifest.settings, job.settings)
    except NewerFormatError:
        raise
    except LiquidgenError:
        if not overwrite:
            raise
        log.info("overwriting %s", folder)
        return None
    return manifest


def _visible(folder: Path) -> bool:
    return not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())


def _refuse_other_settings(folder: Path, there: Settings, asked: Settings) -> None:
    before, now = there.decisive(), asked.decisive()
    differing = [
        f"{name} is {before[name]} there, {now[name]} asked"
        for name in now
        if before[name] != now[name]
    ]
    if there.vae.weights_hash != asked.vae.weights_hash:
        differing.append(f"vae is {there.vae.name} there, {asked.vae.name} asked")
    if differing:
        raise LiquidgenError(
            f"the cache {folder} was made with other settings: {'; '.join(differing)}",
            "name another folder with --out, or replace that cache with --overwrite",
        )


def _kept(job: _Job, existing: Manifest, overwrite: bool) -> _Progress:
    """The shards on the disk that are whole and hold what the source has now."""
    done = _Progress({}, {}, False)
    faults: dict[int, ShardError] = {}
    for number in _numbers_on_disk(job.folder) | existing.shards.keys():
        try:
            record = _current(job, number, existing)
        except ShardError as error:
            faults[number] = error
            continue
        _record(job, done, number, record)
    if not overwrite and any(isinstance(fault, PicturesChangedError) for fault in faults.values()):
        _refuse_other_location(job, existing)
    if faults:
        number, fault = min(faults.items())
        log.info("shards to make again: %d, such as %s: %s", len(faults), shard_name(number), fault)
    whole = len(done.shards) == len(existing.shards)
    done.complete = (
        existing.complete and whole
        if job.shard_count is None
        else len(done.shards) == job.shard_count
    )
    return done


class PicturesChangedError(ShardError):
    """A whole shard of pictures that the source no longer has in that place."""


def _current(job: _Job, number: int, existing: Manifest) -> ShardRecord:
    """The record of a shard that can stay, or ShardError."""
    path, (start, stop) = job.path(number), job.bounds(number)
    stamp = _stamp(job.source, start, stop)
    record = existing.shards.get(number)
    if record is None:  # finished, but the manifest was not written any more
        record = replace(describe_shard(path, job.settings), stamp="")
    else:
        check_shard(path, record, job.settings.fingerprint, contents=True)
    unknown_end = job.length is None and existing.complete
    if record.pictures != stop - start and not unknown_end:
        raise PicturesChangedError("pictures were added or removed")
    if record.stamp != stamp and record.content != _content(job.source, start, stop):
        raise PicturesChangedError("its pictures changed")
    return replace(record, stamp=stamp)


def _refuse_other_location(job: _Job, existing: Manifest) -> None:
    location = _location(job.source)
    if existing.location != location:
        raise LiquidgenError(
            f"the cache {job.folder} was made from {existing.location}, not from {location}",
            "name another folder with --out, or replace that cache with --overwrite",
        )


def _stamp(source: Source, start: int, stop: int) -> str:
    return source.stamp(start, stop) if isinstance(source, EditableSource) else ""


def _content(source: Source, start: int, stop: int) -> str:
    return source.content(start, stop) if isinstance(source, EditableSource) else ""


def _location(source: Source) -> str:
    return source.location if isinstance(source, EditableSource) else ""


def _numbers_on_disk(folder: Path) -> set[int]:
    """Numbers of the shard files that are there."""
    if not folder.is_dir():
        return set()
    names = (path.name for path in folder.glob("shard-*.safetensors"))
    return {shard_number(name) for name in names if is_shard_name(name)}


# Encoding


def _encode_missing(
    job: _Job, vae: Vae, done: _Progress, batch_size: int, strict: bool, state: PartialState
) -> None:
    """Make this process's part of the shards that are missing."""
    numbers = count() if job.shard_count is None else range(job.shard_count)
    missing = (number for number in numbers if number not in done.shards)
    mine = islice(missing, state.process_index, None, state.num_processes)
    before = sum(shard.pictures for shard in done.shards.values())
    with progress("encoding", job.length, before, state.is_main_process) as advance:
        for number in mine:
            content = _encode_shard(job, vae, job.bounds(number), batch_size, strict, advance)
            if content.pictures == 0:  # the stream ended just before
                return
            write_shard(job.path(number), content, job.settings)
            _adopt(job, done, [number])
            if state.is_main_process:
                advance(_write_progress(job, done))
            _refuse_mostly_skipped(job, done, job.length)
            if content.pictures < job.settings.shard_images:
                return


def _encode_shard(
    job: _Job,
    vae: Vae,
    bounds: tuple[int, int],
    batch_size: int,
    strict: bool,
    advance: Callable[[int], None],
) -> ShardContent:
    hashed = _content(job.source, *bounds)
    shape, dtype = job.settings.latent_shape, DTYPES[job.settings.dtype]
    latents: list[torch.Tensor] = []
    examples: list[Example] = []
    skipped: list[Unreadable] = []
    for batch in _batches(job.source.examples(*bounds), batch_size):
        rows = _encode_batch(vae, batch, batch_size, job.settings.image_size).to(dtype)
        for entry, latent in zip(batch, rows, strict=True):
            if isinstance(entry, Example) and not latent.isfinite().all():
                entry = Unreadable(entry.key, "its latent is not finite")
            if isinstance(entry, Example):
                examples.append(entry)
                latents.append(latent)
            elif strict:
                raise _bad_picture(entry.key, entry.reason)
            else:
                skipped.append(entry)
        advance(len(batch))
    return ShardContent(
        latents=torch.stack(latents) if latents else torch.empty(0, *shape, dtype=dtype),
        labels=[example.label for example in examples],
        keys=[example.key for example in examples],
        skipped=[(entry.key, entry.reason) for entry in skipped],
        content=hashed,
    )


def _encode_batch(
    vae: Vae, batch: list[Example | Unreadable], batch_size: int, size: int
) -> torch.Tensor:
    """Latents [len(batch), C, h, w]; those of unreadable pictures mean nothing.

    Where the autoencoder takes pictures together, the batch always has the same length and each
    picture the same place in it, bad ones before it or not.
    """
    length = len(batch) if vae.alone else batch_size
    images = torch.zeros(length, 3, size, size, dtype=torch.uint8)
    for place, entry in enumerate(batch):
        if isinstance(entry, Example):
            images[place] = torch.from_numpy(np.array(entry.image)).permute(2, 0, 1)
    return vae.encode(images)[: len(batch)]


def _batches(
    entries: Iterator[Example | Unreadable], size: int
) -> Iterator[list[Example | Unreadable]]:
    while batch := list(islice(entries, size)):
        yield batch


# Recording


def _adopt(job: _Job, done: _Progress, numbers: Iterable[int]) -> None:
    """Record shards that this process or another one has just made."""
    for number in numbers:
        record = describe_shard(job.path(number), job.settings)
        stamp = _stamp(job.source, *job.bounds(number))
        _record(job, done, number, replace(record, stamp=stamp))


def _record(job: _Job, done: _Progress, number: int, record: ShardRecord) -> None:
    done.shards[number] = record
    done.skipped[number] = read_header(job.path(number))["skipped"]


def _write_progress(job: _Job, done: _Progress) -> int:
    """Write the manifest of what is finished so far; returns the pictures that others dealt with."""
    others = sorted(_numbers_on_disk(job.folder) - done.shards.keys())
    _adopt(job, done, others)
    _write_manifest(job, done)
    return sum(done.shards[number].pictures for number in others)


def _write_manifest(job: _Job, done: _Progress) -> Manifest:
    manifest = make_manifest(
        job.settings,
        job.source.classes,
        done.shards,
        complete=done.complete,
        location=_location(job.source),
        command=job.command,
    )
    lines = [
        json.dumps({"key": key, "reason": reason}) + "\n"
        for number in sorted(done.skipped)
        for key, reason in done.skipped[number]
    ]
    text = "".join(lines)
    write_atomically(job.folder / SKIPPED_NAME, lambda path: _write_text(path, text))
    write_manifest(job.folder, manifest)
    return manifest


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _finish(job: _Job, done: _Progress) -> Manifest:
    """Sum all shards up; a cache that was complete before is not written again."""
    if done.complete and not _outdated(job, done):
        return read_manifest(job.folder)
    _write_progress(job, done)
    _refuse_mostly_skipped(job, done, sum(shard.pictures for shard in done.shards.values()))
    done.complete = True
    return _write_manifest(job, done)


def _outdated(job: _Job, done: _Progress) -> bool:
    """Whether a finished cache's manifest lags behind, though all of its shards are right."""
    manifest = read_manifest(job.folder)
    return (
        not manifest.complete
        or manifest.shards != done.shards
        or manifest.classes != tuple(job.source.classes)
        or manifest.location != _location(job.source)
    )


def _refuse_mostly_skipped(job: _Job, done: _Progress, total: int | None) -> None:
    skipped = [entry for number in sorted(done.skipped) for entry in done.skipped[number]]
    if total is None or len(skipped) * 2 <= total:
        return
    key, reason = skipped[0]
    raise LiquidgenError(
        f"{len(skipped)} of {total} pictures cannot be used, such as {key}: {reason}",
        f"see {job.folder / SKIPPED_NAME}, mend the source and run it again",
    )


def _refuse_skipped(done: _Progress) -> None:
    for number in sorted(done.skipped):
        for key, reason in done.skipped[number]:
            raise _bad_picture(key, reason)


def _bad_picture(key: str, reason: str) -> LiquidgenError:
    return LiquidgenError(
        f"{key} cannot be used: {reason}", "mend or remove it, or leave --strict out"
    )
