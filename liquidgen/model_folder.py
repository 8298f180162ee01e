"""The folder a user shares: the network in the diffusers layout and all that sampling needs besides.

model/
  config.json, diffusion_pytorch_model.safetensors   the backbone with its EMA weights
  liquidgen.json                                      classes, latent statistics, VAE, picture size
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save_file

from liquidgen.backbones.liquidgen import LiquidGen
from liquidgen.errors import LiquidgenError
from liquidgen.files import file_hash, sweep_temporaries, write_atomically, write_json

FORMAT_VERSION = 1
FACTS = "liquidgen.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"


class ModelFacts(BaseModel):
    """What a model knows besides its weights.

    Attributes:
        steps: training steps behind the weights.
        image_size: side of the pictures in pixels.
        latent_shape: `(C, H, W)` of one latent.
        classes: their names, in the order of the labels; empty for an unconditional model.
        latent_mean, latent_std: per channel, of the latents as the VAE gives them.
        vae: name or path that loads the VAE again.
        vae_hash: hash of its weights.
        weights_hash: xxh3-128 of the file with the network's weights; filled in by `save_model`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    steps: int
    image_size: int
    latent_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]
    vae: str
    vae_hash: str
    weights_hash: str = ""


def save_model(folder: Path, backbone: LiquidGen, facts: ModelFacts) -> None:
    """Write the model into `folder`, each file atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder)
    weights = {name: value.contiguous() for name, value in backbone.state_dict().items()}
    write_atomically(
        folder / WEIGHTS, lambda path: save_file(weights, path, metadata={"format": "pt"})
    )
    write_json(folder / "config.json", json.loads(backbone.to_json_string()))
    facts = facts.model_copy(update={"weights_hash": file_hash(folder / WEIGHTS)})
    write_json(folder / FACTS, facts.model_dump(mode="json"))


def holds_model(folder: Path, steps: int) -> bool:
    """Whether `folder` holds a whole model of so many training steps."""
    try:
        facts = read_facts(folder)
        return facts.steps == steps and model_hash(folder) == facts.weights_hash
    except LiquidgenError:
        return False


def model_hash(folder: Path) -> str:
    """xxh3-128 of the weights file.

    Raises:
        LiquidgenError: the file cannot be read.
    """
    try:
        return file_hash(folder / WEIGHTS)
    except OSError as error:
        raise _damaged(folder, str(error)) from error


def load_model(folder: Path, device: str | torch.device) -> tuple[LiquidGen, ModelFacts]:
    """Read the model in `folder`, ready for sampling on `device`.

    Raises:
        LiquidgenError: there is none, it is damaged, or it was made by a newer version.
    """
    facts = read_facts(folder)
    if model_hash(folder) != facts.weights_hash:
        raise _damaged(folder, f"{WEIGHTS} is not what was saved")
    try:
        loaded: Any = LiquidGen.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _damaged(folder, str(error)) from error
    backbone, report = loaded
    if report["missing_keys"] or report["unexpected_keys"]:
        raise _damaged(folder, f"weights missing or unknown: {report}")
    return backbone.to(device).eval(), facts


def read_facts(folder: Path) -> ModelFacts:
    """What the model in `folder` knows besides its weights; raises as `load_model` does."""
    path = folder / FACTS
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["format_version"]
        if version > FORMAT_VERSION:
            raise LiquidgenError(
                f"{path}: made by a newer liquidgen (format {version})",
                "update liquidgen: pip install --upgrade liquidgen",
            )
        return ModelFacts(**values)
    except FileNotFoundError:
        raise LiquidgenError(
            f"{folder}: no model here ({FACTS} is missing)",
            "give the folder of a run that has saved a checkpoint, or its `model` folder",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise _damaged(folder, str(error)) from error


def _damaged(folder: Path, reason: str) -> LiquidgenError:
    return LiquidgenError(
        f"{folder}: the model is damaged: {reason}",
        "run the training command again: it writes the model anew",
    )
