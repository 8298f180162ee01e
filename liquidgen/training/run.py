"""A run's folder: its settings and its metrics."""

import dataclasses
import json
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import liquidgen
from liquidgen.errors import LiquidgenError
from liquidgen.files import sweep_temporaries, write_atomically, write_json
from liquidgen.latents import LatentCache
from liquidgen.training.config import TrainConfig, differences

FORMAT_VERSION = 1


def claim_run(config: TrainConfig, cache: LatentCache) -> None:
    """Write `config.json` into the run's folder, or check that the one there is of the same run.

    Raises:
        LiquidgenError: the folder holds a run of other settings, another cache or a newer format.
    """
    path = config.out / "config.json"
    if path.exists():
        _check_same(path, config, cache)
    config.out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(config.out)
    write_json(
        path,
        {
            "format_version": FORMAT_VERSION,
            "liquidgen_version": liquidgen.__version__,
            "cache_content": cache.manifest.content,
            "cache_count": len(cache),
            **config.model_dump(mode="json"),
        },
    )


def _check_same(path: Path, config: TrainConfig, cache: LatentCache) -> None:
    before = read_run_config(path)
    changed = differences(before, config)
    if before.get("cache_content") != cache.manifest.content:
        was = f"{before.get('data')} with {before.get('cache_count')} pictures"
        changed.append(f"cache: {was} -> {config.data} with {len(cache)}, other in what they hold")
    if changed:
        raise LiquidgenError(
            f"{config.out} holds a run of other settings: {', '.join(changed)}",
            "give the earlier settings to go on with it, or another --out for a new run",
        )


def read_run_config(path: Path) -> dict[str, Any]:
    """The settings in a run's `config.json`.

    Raises:
        LiquidgenError: it is damaged or of a newer format.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        version = settings["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LiquidgenError(
            f"{path} is damaged: {error}", "train with another --out, or restore the file"
        ) from error
    if version > FORMAT_VERSION:
        raise LiquidgenError(
            f"{path}: made by a newer liquidgen (format {version})",
            "update liquidgen: pip install --upgrade liquidgen",
        )
    return settings


class MetricsFile:
    """`metrics.jsonl`, a row a step; rows behind the step a run goes on from are dropped."""

    def __init__(self, path: Path, step: int, writes: bool) -> None:
        self.path, self.step, self.writes = path, step, writes
        self.file: TextIO | None = None

    def __enter__(self) -> "MetricsFile":
        if self.writes:
            kept = "".join(f"{line}\n" for line in self._rows_so_far())
            write_atomically(self.path, lambda path: path.write_text(kept, encoding="utf-8"))
            self.file = self.path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, row: Any) -> None:
        """Append a dataclass as one row."""
        if self.file is not None:
            self.file.write(json.dumps(dataclasses.asdict(row)) + "\n")

    def _rows_so_far(self) -> list[str]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [line for line in lines[: self.step] if line.endswith("}")]
