"""One shard file: safetensors with latents, labels and keys, and a header that says what made it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from liquidgen.files import file_hash, write_atomically
from liquidgen.latents.manifest import Dtype, Settings, ShardRecord

# All of the header is one entry: safetensors writes several in an order that changes from run to run.
HEADER = "liquidgen"
DTYPES: dict[Dtype, torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}


class ShardError(Exception):
    """A shard that is missing, damaged or made by something else; the text says which."""


@dataclass(frozen=True)
class ShardContent:
    """What goes into a shard.

    Attributes:
        latents: [n, C, H, W], of the dtype to store.
        labels: n class indices; -1 for none.
        keys: n names of pictures.
        skipped: key and reason of the pictures that could not be used.
        pictures: those in the shard's range of the source: n + len(skipped).
        content: as in `ShardRecord`.
    """

    latents: torch.Tensor
    labels: Sequence[int]
    keys: Sequence[str]
    skipped: Sequence[tuple[str, str]]
    content: str

    @property
    def pictures(self) -> int:
        return len(self.keys) + len(self.skipped)


def write_shard(path: Path, content: ShardContent, settings: Settings) -> None:
    """Write a shard atomically; the same content gives the same bytes."""
    sums, squares = channel_sums(content.latents)
    header = {
        "fingerprint": settings.fingerprint,
        "content": content.content,
        "pictures": content.pictures,
        "skipped": list(content.skipped),
        "sums": sums,
        "sums_of_squares": squares,
    }
    tensors = {
        "latents": content.latents.contiguous(),
        "labels": torch.tensor(content.labels, dtype=torch.int64),
        "keys": _text_tensor(json.dumps(list(content.keys))),
    }
    data = safetensors.torch.save(tensors, {HEADER: json.dumps(header, sort_keys=True)})
    write_atomically(path, lambda temporary: _write(temporary, data))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def channel_sums(latents: torch.Tensor) -> tuple[list[float], list[float]]:
    """Sum and sum of squares of each channel of latents [n, C, H, W], in float64.

    NumPy adds pairwise on one thread, so the result does not depend on the number of threads.
    """
    values = latents.to(torch.float64).transpose(0, 1).flatten(1).contiguous().numpy()
    return values.sum(axis=1).tolist(), (values * values).sum(axis=1).tolist()


def read_header(path: Path) -> dict[str, Any]:
    """Read what a shard says of itself, after its size and tensor table have been checked.

    Raises:
        ShardError: the file is missing, truncated or no shard.
    """
    try:
        with safe_open(path, framework="pt") as shard:
            metadata = shard.metadata() or {}
        return json.loads(metadata[HEADER])
    except FileNotFoundError as error:
        raise ShardError("it is missing") from error
    except KeyError as error:
        raise ShardError("it is no shard of a cache") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise ShardError(f"it is damaged: {error}") from error


def read_keys(path: Path) -> list[str]:
    """The names of a shard's pictures, row by row."""
    with safe_open(path, framework="pt") as shard:
        return json.loads(shard.get_tensor("keys").numpy().tobytes())


def describe_shard(path: Path, settings: Settings) -> ShardRecord:
    """The record of a shard that is on the disk, hashed by reading it; its stamp is left empty.

    Raises:
        ShardError: it is missing, damaged, or made with other settings.
    """
    header = read_header(path)
    if header["fingerprint"] != settings.fingerprint:
        raise ShardError("other settings made it")
    return ShardRecord(
        file=path.name,
        rows=header["pictures"] - len(header["skipped"]),
        pictures=header["pictures"],
        bytes=path.stat().st_size,
        xxh3_128=file_hash(path),
        content=header["content"],
        stamp="",
        sums=header["sums"],
        sums_of_squares=header["sums_of_squares"],
    )


def check_shard(path: Path, record: ShardRecord, fingerprint: str, *, contents: bool) -> None:
    """Compare a shard with its record.

    Args:
        path: the shard.
        record: what the manifest says of it.
        fingerprint: of the cache's settings.
        contents: read all of it and compare its hash; otherwise only its size and header.

    Raises:
        ShardError: says what is wrong.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ShardError("it is missing") from error
    if size != record.bytes:
        raise ShardError(f"it has {size} bytes instead of {record.bytes}")
    if contents and file_hash(path) != record.xxh3_128:
        raise ShardError("its contents changed: the hash differs")
    if read_header(path)["fingerprint"] != fingerprint:
        raise ShardError("other settings made it: the fingerprint differs")


def _text_tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(text.encode("ascii")), dtype=torch.uint8)
