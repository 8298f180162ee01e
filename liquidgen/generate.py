"""From a model's folder to pictures, yielded as they are ready."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from liquidgen.backbones.liquidgen import LiquidGen
from liquidgen.errors import LiquidgenError
from liquidgen.model_folder import ModelFacts, load_model
from liquidgen.preset_files import nearest
from liquidgen.sampling import sample_latents
from liquidgen.vae import Vae, load_vae


@dataclass(frozen=True)
class Picture:
    """A sampled picture; `class_name` is None for an unconditional model."""

    index: int
    seed: int
    class_name: str | None
    image: Image.Image


def generate(
    folder: Path,
    *,
    num: int = 16,
    first: int = 0,
    classes: Sequence[str] = (),
    cfg: float = 4.0,
    steps: int = 50,
    seed: int = 0,
    device: str | torch.device = "cpu",
    vae: str | None = None,
) -> Iterator[Picture]:
    """Sample pictures from the model in `folder`.

    Args:
        folder: a run's `model` folder.
        num: how many pictures, counted from 0.
        first: the first one to make, when those before it are there already.
        classes: names that take turns, by the picture's seed; empty for all classes of the model.
        cfg: guidance scale, at least 0; 1 is none.
        steps: Euler steps, at least 1.
        seed: picture k has the seed `seed + k` and depends on that and `classes` only.
        device: where the network and the VAE run.
        vae: where to load the VAE from, if not from where the training data's came from.

    Raises:
        LiquidgenError: there is no whole model, a class is unknown, or the VAE is another one.
    """
    backbone, facts = load_model(folder, device)
    labels = choose_labels(facts, classes, num, seed)
    latents = denoise(backbone, facts, labels[first:], seed + first, steps, cfg)
    decoder: Vae | None = None
    index = first
    for batch in latents:
        # Loaded once there is something to decode.
        decoder = decoder or load_matching_vae(facts, vae, device)
        for image in decode(decoder, batch):
            yield Picture(index, seed + index, class_name(facts, labels[index]), image)
            index += 1


def denoise(
    backbone: LiquidGen,
    facts: ModelFacts,
    labels: Sequence[int],
    seed: int,
    steps: int,
    cfg: float,
) -> Iterator[Tensor]:
    """Yield latents `[b, C, H, W]` as the VAE knows them, in the order of `labels`."""
    mean, std = (
        torch.tensor(values, device=backbone.device)[:, None, None]
        for values in (facts.latent_mean, facts.latent_std)
    )
    seeds = range(seed, seed + len(labels))
    null_class = len(facts.classes)
    for latents in sample_latents(
        backbone,
        facts.latent_shape,
        labels,
        seeds,
        null_class=null_class,
        steps=steps,
        cfg=cfg,
        device=backbone.device,
    ):
        yield latents * std + mean


def decode(vae: Vae, latents: Tensor) -> list[Image.Image]:
    """Latents `[b, C, H, W]` to pictures."""
    pixels = vae.decode(latents).permute(0, 2, 3, 1)
    return [Image.fromarray(picture.numpy()) for picture in pixels]


def choose_labels(facts: ModelFacts, classes: Sequence[str], num: int, seed: int = 0) -> list[int]:
    """A label for each of `num` pictures; the null class for an unconditional model.

    The classes take turns by the picture's own seed, so that it does not depend on where a call starts.

    Raises:
        LiquidgenError: a class is unknown.
    """
    known = list(facts.classes)
    for name in classes:
        if name not in known:
            hint = (
                nearest(name, known) if known else "this model is unconditional: leave --class away"
            )
            raise LiquidgenError(f"unknown class {name!r}", hint)
    wanted = [known.index(name) for name in classes] or list(range(len(known))) or [0]
    return [wanted[(seed + k) % len(wanted)] for k in range(num)]


def class_name(facts: ModelFacts, label: int) -> str | None:
    """Name of a label; None for the null class."""
    return facts.classes[label] if label < len(facts.classes) else None


def load_matching_vae(facts: ModelFacts, vae: str | None, device: str | torch.device) -> Vae:
    """The VAE whose latents the model makes.

    Raises:
        LiquidgenError: it cannot be loaded, or has other weights.
    """
    loaded = load_vae(vae or facts.vae, device)
    if loaded.weights_hash != facts.vae_hash:
        raise LiquidgenError(
            f"the VAE {vae or facts.vae} has other weights than the one the model was trained with",
            "give the right one with --vae, as a name, a folder or a hub id",
        )
    return loaded
