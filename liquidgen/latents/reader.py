"""Reading a cache: memory-mapped, a batch is one gather, nothing is opened per sample."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from liquidgen.errors import LiquidgenError
from liquidgen.latents.manifest import Manifest, ShardRecord, read_manifest
from liquidgen.latents.shard import DTYPES, ShardError, check_shard

ORPHANED = "`liquidgen cache` with the source it was made from"


class LatentCache:
    """The latents of a finished cache, open for reading. Make one with `LatentCache.open`.

    Attributes:
        manifest: what made the cache and what it holds.
        labels: class of each latent, int64 [N]; -1 for none.
    """

    def __init__(self, manifest: Manifest, latents: list[torch.Tensor], labels: torch.Tensor):
        self.manifest = manifest
        self.labels = labels  # [N]
        self._latents = latents  # one [n, C, H, W] a shard, mapped
        rows = torch.tensor([part.shape[0] for part in latents])
        self._ends = rows.cumsum(0)  # [shards], first index beyond each shard
        self._starts = self._ends - rows

    @classmethod
    def open(cls, path: str | Path, verify: bool = False) -> "LatentCache":
        """Open a cache, checking sizes and headers before anything is mapped.

        Args:
            path: the folder with `manifest.json`.
            verify: also read every shard and compare its hash.

        Raises:
            LiquidgenError: there is no finished cache, or a shard is missing, of another size,
                made with other settings or, with `verify`, changed; names file and remedy.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        _refuse_unfinished(folder, manifest)
        for file, problem in damaged_shards(folder, manifest, contents=verify):
            raise LiquidgenError(f"{file}: {problem}", f"repair it: run {repair_command(manifest)}")
        parts = [_map(folder / shard.file, shard, manifest) for shard in manifest.shards.values()]
        return cls(manifest, [part[0] for part in parts], torch.cat([part[1] for part in parts]))

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        return self.manifest.settings.latent_shape

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gather latents.

        Args:
            indices: int64 [B], each in 0..len - 1, in any order, repeats allowed.

        Returns:
            The latents as they were stored (posterior mean, unscaled), float32 [B, C, H, W], and
            their labels, int64 [B].

        Raises:
            IndexError: an index is out of range.
        """
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(f"indices must lie in 0..{len(self) - 1}")
        owners = torch.bucketize(indices, self._ends, right=True)  # [B], shard of each
        order = owners.argsort(stable=True)
        latents = torch.empty(len(indices), *self.shape)
        for shard, count in zip(*torch.unique(owners, return_counts=True), strict=True):
            places, order = order[: int(count)], order[int(count) :]
            rows = indices[places] - self._starts[shard]
            latents[places] = self._latents[int(shard)][rows].float()
        return latents, self.labels[indices]


def damaged_shards(
    folder: Path, manifest: Manifest, *, contents: bool
) -> Iterator[tuple[Path, str]]:
    """Yield file and fault of every shard that is not as the manifest says.

    Args:
        folder: the cache.
        manifest: of the cache.
        contents: read all shards and compare hashes; otherwise only sizes and headers.
    """
    for record in manifest.shards.values():
        try:
            check_shard(folder / record.file, record, manifest.fingerprint, contents=contents)
        except ShardError as error:
            yield folder / record.file, str(error)


def repair_command(manifest: Manifest) -> str:
    """What to run to make missing and damaged shards again."""
    return f"`{manifest.command}`" if manifest.command else ORPHANED


def _refuse_unfinished(folder: Path, manifest: Manifest) -> None:
    hint = f"finish it: run {repair_command(manifest)}"
    if not manifest.complete:
        raise LiquidgenError(
            f"the cache {folder} is not finished: it holds {manifest.count} latents so far", hint
        )
    if manifest.count == 0:
        raise LiquidgenError(f"the cache {folder} holds no latents", hint)


def _map(path: Path, record: ShardRecord, manifest: Manifest) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and labels of a shard that has been checked; the latents stay on the disk."""
    with safe_open(path, framework="pt") as shard:
        latents, labels = shard.get_tensor("latents"), shard.get_tensor("labels")
    shape = (record.rows, *manifest.settings.latent_shape)
    expected = DTYPES[manifest.settings.dtype]
    if latents.shape != shape or latents.dtype != expected or labels.shape != (record.rows,):
        raise LiquidgenError(
            f"{path}: it holds {latents.dtype} {list(latents.shape)}, not {expected} {list(shape)}",
            f"repair it: run {repair_command(manifest)}",
        )
    return latents, labels.clone()
