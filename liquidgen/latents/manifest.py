"""The manifest of a cache: what made it and what it holds. Its JSON is described in cache/README.md."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import xxhash

from liquidgen.errors import LiquidgenError
from liquidgen.files import write_json

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
Dtype = Literal["bf16", "fp16", "fp32"]


class NewerFormatError(LiquidgenError):
    """A later version of this program wrote the cache: it must not be touched."""


@dataclass(frozen=True)
class VaeRecord:
    """The autoencoder whose latents these are.

    Attributes:
        name: what the user typed, such as "flux".
        source: where its weights came from: a hub id with a subfolder, or a folder.
        weights_hash: xxh3-128 over its tensors; two copies of one autoencoder agree.
        channels: of a latent.
        factor: pixels a latent position spans along one side.
        scaling_factor: a model sees (latent - shift_factor) * scaling_factor.
        shift_factor: see above.
    """

    name: str
    source: str
    weights_hash: str
    channels: int
    factor: int
    scaling_factor: float
    shift_factor: float


@dataclass(frozen=True)
class Settings:
    """All that a latent depends on beside its own pixels.

    Attributes:
        source: id of the source.
        revision: of the source; "" for a folder, whose pictures each shard answers for.
        image_size: side of the pictures in pixels.
        crop: how pictures became square.
        dtype: of the stored latents.
        shard_images: pictures a shard; picture i is in shard i // shard_images.
        vae: the autoencoder.
        max_images: the most pictures that were to be taken; None for all.
    """

    source: str
    revision: str
    image_size: int
    crop: str
    dtype: Dtype
    shard_images: int
    vae: VaeRecord
    max_images: int | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of what decides: the autoencoder's name and source do not, its weights do."""
        return xxhash.xxh3_128_hexdigest(json.dumps(self.decisive(), sort_keys=True).encode())

    def decisive(self) -> dict[str, Any]:
        """The settings that must agree for two caches to hold the same latents, by name."""
        value = asdict(self)
        vae = value.pop("vae")
        del vae["name"], vae["source"]
        return value | {f"vae {key}": entry for key, entry in vae.items()}

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        side = self.image_size // self.vae.factor
        return self.vae.channels, side, side


@dataclass(frozen=True)
class ShardRecord:
    """One shard file.

    Attributes:
        file: its name within the cache.
        rows: latents in it.
        pictures: pictures it answers for, those that could not be used included.
        bytes: its size.
        xxh3_128: hash of its bytes.
        content: hash of the pictures it was made from; "" where the source's revision tells.
        stamp: sizes and times of those pictures, hashed; "" likewise.
        sums: per channel, sum of the stored latents.
        sums_of_squares: per channel.
    """

    file: str
    rows: int
    pictures: int
    bytes: int
    xxh3_128: str
    content: str
    stamp: str
    sums: list[float]
    sums_of_squares: list[float]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        settings: what made the cache.
        classes: names that labels index; empty when there are none.
        complete: whether every picture of the source has been dealt with.
        count: latents in all shards.
        skipped: pictures that could not be used.
        mean: per channel, over all stored latents.
        std: per channel, over all stored latents.
        shards: by number; in an unfinished cache some may be missing.
        location: where the pictures were when the cache was made.
        command: the command that made it, which also repairs it.
        format_version: of the manifest and the shards.
    """

    settings: Settings
    classes: tuple[str, ...]
    complete: bool
    count: int
    skipped: int
    mean: list[float]
    std: list[float]
    shards: dict[int, ShardRecord]
    location: str = ""
    command: str = ""
    format_version: int = field(default=FORMAT_VERSION)

    @property
    def image_size(self) -> int:
        """Side of the pictures in pixels."""
        return self.settings.image_size

    @property
    def vae(self) -> VaeRecord:
        """The autoencoder."""
        return self.settings.vae

    @property
    def content(self) -> str:
        """Hash of what the cache holds: its classes and its shards' bytes."""
        held = [list(self.classes), [shard.xxh3_128 for shard in self.shards.values()]]
        return xxhash.xxh3_128_hexdigest(json.dumps(held).encode())

    @property
    def fingerprint(self) -> str:
        """See `Settings.fingerprint`."""
        return self.settings.fingerprint


def make_manifest(
    settings: Settings,
    classes: Sequence[str],
    shards: dict[int, ShardRecord],
    *,
    complete: bool,
    location: str = "",
    command: str = "",
) -> Manifest:
    """Sum the shards up; the result does not depend on the order in which they were made."""
    ordered = {number: shards[number] for number in sorted(shards)}
    count = sum(shard.rows for shard in ordered.values())
    mean, std = _statistics(list(ordered.values()), settings)
    return Manifest(
        settings=settings,
        classes=tuple(classes),
        complete=complete,
        count=count,
        skipped=sum(shard.pictures - shard.rows for shard in ordered.values()),
        mean=mean,
        std=std,
        shards=ordered,
        location=location,
        command=command,
    )


def _statistics(shards: list[ShardRecord], settings: Settings) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, exact sums of the shards' float64 sums."""
    channels, height, width = settings.latent_shape
    values = sum(shard.rows for shard in shards) * height * width
    if values == 0:
        return [0.0] * channels, [1.0] * channels
    means, deviations = [], []
    for channel in range(channels):
        mean = math.fsum(shard.sums[channel] for shard in shards) / values
        square = math.fsum(shard.sums_of_squares[channel] for shard in shards) / values
        means.append(mean)
        deviations.append(math.sqrt(max(square - mean * mean, 0.0)))
    return means, deviations


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` atomically."""
    value = asdict(manifest)
    value["fingerprint"] = manifest.fingerprint
    value["shards"] = list(value["shards"].values())
    ordered = {key: value.pop(key) for key in ("format_version", "fingerprint")} | value
    write_json(folder / MANIFEST_NAME, ordered)


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json`.

    Raises:
        LiquidgenError: there is none, it is damaged, or a newer program wrote it.
    """
    path = folder / MANIFEST_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_cache(folder) from error
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    version = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{path} has format version {version}; this program reads up to {FORMAT_VERSION}",
            "update liquidgen; nothing was changed",
        )
    try:
        return _parse(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _parse(value: dict[str, Any]) -> Manifest:
    settings = value["settings"]
    vae = VaeRecord(**settings["vae"])
    shards = [ShardRecord(**shard) for shard in value["shards"]]
    known = {entry.name for entry in fields(Manifest)}
    rest = {key: entry for key, entry in value.items() if key in known}
    return Manifest(
        **rest
        | {
            "settings": Settings(**settings | {"vae": vae}),
            "classes": tuple(value["classes"]),
            "shards": {shard_number(shard.file): shard for shard in shards},
        }
    )


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:05d}.safetensors"


def shard_number(name: str) -> int:
    """Number of the shard in the file `name`; ValueError if it is no shard's name."""
    if not is_shard_name(name):
        raise ValueError(f"{name} is no name of a shard")
    return int(name.removeprefix("shard-").removesuffix(".safetensors"))


def is_shard_name(name: str) -> bool:
    """Whether a file of this name is a shard, so that it may be replaced or removed."""
    return re.fullmatch(r"shard-(\d{5}|[1-9]\d{5,})\.safetensors", name) is not None


def _no_cache(folder: Path) -> LiquidgenError:
    if not folder.is_dir():
        return LiquidgenError(
            f"there is no cache {folder}", "make one with `liquidgen cache SOURCE`"
        )
    return LiquidgenError(
        f"{folder} is no cache: it holds no {MANIFEST_NAME}",
        "make one with `liquidgen cache SOURCE`, or name another folder",
    )


def _damaged(path: Path, what: str) -> LiquidgenError:
    return LiquidgenError(
        f"{path} is damaged: {what}",
        "make the cache again: `liquidgen cache SOURCE --overwrite`",
    )
