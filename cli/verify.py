"""`liquidgen verify`: read a cache back and compare it with its hashes."""

from pathlib import Path
from typing import Annotated

import typer

from liquidgen.errors import LiquidgenError

from .output import print_json, say


def verify(
    cache: Annotated[Path, typer.Argument(help="The folder of a cache.")],
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read every shard of a cache back and compare it with its hash."""
    from liquidgen.latents.manifest import read_manifest
    from liquidgen.latents.reader import damaged_shards, repair_command

    manifest = read_manifest(cache)
    damaged = list(damaged_shards(cache, manifest, contents=True))
    if json:
        print_json(
            {
                "cache": str(cache),
                "count": manifest.count,
                "shards": len(manifest.shards),
                "complete": manifest.complete,
                "damaged": [{"file": str(file), "problem": problem} for file, problem in damaged],
            }
        )
    for file, problem in damaged[1:]:
        say(f"{file}: {problem}")
    if damaged:
        file, problem = damaged[0]
        raise LiquidgenError(
            f"{len(damaged)} of {len(manifest.shards)} shards are damaged; {file}: {problem}",
            f"make only them again: run {repair_command(manifest)}",
        )
    if not manifest.complete:
        raise LiquidgenError(
            f"{cache} is not finished: it holds {manifest.count} latents so far, all whole",
            f"finish it: run {repair_command(manifest)}",
        )
    say(f"{cache}: {manifest.count} latents in {len(manifest.shards)} shards, all whole")
