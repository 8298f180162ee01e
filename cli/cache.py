"""`liquidgen cache`: pictures -> latents on the disk, once."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import print_json, say

if TYPE_CHECKING:
    from liquidgen.encode import CacheSummary


class Dtype(StrEnum):
    """Number types of stored latents."""

    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


def cache(
    source: Annotated[
        str,
        typer.Argument(
            help="A preset's name (abstract needs no network), a folder of pictures or of one folder "
            "a class, a .parquet file, a data set's id on the hub, or a preset's .toml."
        ),
    ],
    image_size: Annotated[
        int | None,
        typer.Option(min=16, max=4096, help="Side in pixels.  [default: the preset's, or 256]"),
    ] = None,
    vae: Annotated[
        str, typer.Option(help="Autoencoder: a name, a diffusers folder, or a hub id:subfolder.")
    ] = "flux",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to fill.  [default: ./cache/SOURCE-SIZE-VAE]", file_okay=False),
    ] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Take that many, evenly.")] = None,
    split: Annotated[str | None, typer.Option(help="Splits of a table, joined by +.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of the pictures.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the classes.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="Number type of the latents.")] = Dtype.bf16,
    shard_images: Annotated[int, typer.Option(min=1, help="Pictures a shard.")] = 1024,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures at a time.  [default: by their size]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad picture.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a cache of other settings.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Encode pictures into latents, once; run it again to finish, repair or update a cache."""
    from liquidgen.sources import default_image_size, open_source, source_name
    from liquidgen.vae_files import check_vae_name, vae_short_name

    check_vae_name(vae)
    refuse_ambiguous(source)
    size = image_size or default_image_size(source)
    folder = out or Path("cache") / f"{source_name(source)}-{size}-{vae_short_name(vae)}"
    pictures = open_source(
        source,
        image_size=size,
        split=split,
        image_column=image_column,
        label_column=label_column,
        max_images=max_images,
    )
    say("loading libraries")
    from liquidgen.encode import check_source, encode_source, pick_device
    from liquidgen.vae import load_vae

    check_source(pictures)
    summary = encode_source(
        pictures,
        load_vae(vae, pick_device(device)),
        folder,
        image_size=size,
        dtype=dtype.value,
        shard_images=shard_images,
        max_images=max_images,
        batch_size=batch_size,
        strict=strict,
        overwrite=overwrite,
        command=_command(),
    )
    _report(summary, json)


def refuse_ambiguous(source: str) -> None:
    """A preset's name that a folder here bears as well could mean either.

    Raises:
        LiquidgenError: it does.
    """
    from liquidgen.errors import LiquidgenError
    from liquidgen.preset_files import preset_names
    from liquidgen.sources import BUILT_IN

    if source in (BUILT_IN, *preset_names("datasets")) and Path(source).is_dir():
        raise LiquidgenError(
            f"{source} is a preset and a folder here",
            f"say ./{source} for the folder, or go elsewhere for the preset",
        )


def _command() -> str:
    """What was typed, without what would make a repair start over or speak differently."""
    left_out = ("--overwrite", "--json", "--debug")
    words = [word for word in sys.argv[1:] if word not in left_out]
    return shlex.join(["liquidgen", *words])


def _report(summary: "CacheSummary", json: bool) -> None:
    manifest = summary.manifest
    bytes_used = sum(shard.bytes for shard in manifest.shards.values())
    say(
        f"{summary.folder}: {manifest.count} latents in {len(manifest.shards)} shards, "
        f"{bytes_used / 1e6:.1f} MB, {len(manifest.classes)} classes"
    )
    if manifest.skipped:
        say(f"{manifest.skipped} pictures left out, see {summary.folder / 'skipped.jsonl'}")
    if json:
        print_json(
            {
                "cache": str(summary.folder),
                "count": manifest.count,
                "skipped": manifest.skipped,
                "classes": list(manifest.classes),
                "image_size": manifest.image_size,
                "latent_shape": list(manifest.settings.latent_shape),
                "bytes": bytes_used,
                "shards": len(manifest.shards),
                "shards_made": summary.made,
                "shards_kept": summary.kept,
                "vae": manifest.vae.name,
                "fingerprint": manifest.fingerprint,
            }
        )
