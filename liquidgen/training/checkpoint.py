"""Checkpoints on disk: a folder of safetensors and JSON, whole or absent.

    checkpoints/step-00001000/
      weights.safetensors    the network
      ema.safetensors        its exponential moving average, by the same names
      optimizer.safetensors  AdamW's moments, as `<parameter>/<state>`
      trainer.json           step, schedule, loss scaler, and the xxh3-128 of the files above

The folder is filled beside its place and renamed, so that a kill leaves either all of it or a `.partial` one, which the
next save sweeps away.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liquidgen.errors import LiquidgenError
from liquidgen.files import TEMPORARY_SUFFIX, file_hash, sync, write_json

FORMAT_VERSION = 1
TENSOR_FILES = ("weights", "ema", "optimizer")

logger = logging.getLogger(__name__)


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write the checkpoint of `step` below `folder` and remove all but the newest `keep`.

    Args:
        folder: the run's `checkpoints` folder, made when absent.
        tensors: for each of `TENSOR_FILES`, its tensors by name.
        state: whatever else is needed to go on, as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for orphan in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        shutil.rmtree(orphan)
    final = folder / f"step-{step:08d}"
    partial = folder / f".{final.name}{TEMPORARY_SUFFIX}"
    partial.mkdir()
    hashes = {}
    for name in TENSOR_FILES:
        path = partial / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in tensors[name].items()}, path)
        sync(path)
        hashes[path.name] = file_hash(path)
    write_json(
        partial / "trainer.json",
        {"format_version": FORMAT_VERSION, "step": step, "files": hashes, **state},
    )
    if final.exists():  # a damaged one of the same step
        shutil.rmtree(final)
    partial.rename(final)
    sync(folder)
    # Later ones can only be damaged ones that were passed over: they do not count.
    up_to_here = [path for path in list_checkpoints(folder) if path.name <= final.name]
    for old in up_to_here[keep:]:
        shutil.rmtree(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted(folder.glob("step-????????"), reverse=True)


def load_newest(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]] | None:
    """(state, tensors) of the newest whole checkpoint; damaged ones are passed over with a warning.

    Raises:
        LiquidgenError: there are checkpoints and every one is damaged, or one is of a newer format.
    """
    checkpoints = list_checkpoints(folder)
    for checkpoint in checkpoints:
        try:
            return _load(checkpoint)
        except (OSError, ValueError, KeyError) as error:
            logger.warning(
                "warning: checkpoint %s is damaged and passed over: %s", checkpoint, error
            )
    if checkpoints:
        raise LiquidgenError(
            f"{folder}: every checkpoint is damaged",
            "restore one from a backup, or train anew with another --out",
        )
    return None


def _load(checkpoint: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    state = json.loads((checkpoint / "trainer.json").read_text(encoding="utf-8"))
    if state["format_version"] > FORMAT_VERSION:
        raise LiquidgenError(
            f"{checkpoint}: made by a newer liquidgen (format {state['format_version']})",
            "update liquidgen: pip install --upgrade liquidgen",
        )
    tensors = {}
    for name in TENSOR_FILES:
        path = checkpoint / f"{name}.safetensors"
        if file_hash(path) != state["files"][path.name]:
            raise ValueError(f"{path.name} is not what was saved")
        tensors[name] = load_file(path)
    return state, tensors


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """The optimizer's state as `<parameter>/<state>` -> tensor."""
    return {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Put back what `optimizer_tensors` gave."""
    optimizer.state.clear()
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        optimizer.state[parameters[name]][key] = value.to(parameters[name].device)
