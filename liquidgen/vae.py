"""Any diffusers autoencoder behind `encode` and `decode`; the built-in tiny one; identity for pixels.

A latent must depend on its own picture only. Measured on a CPU in float32 (torch 2.13, taef1 and a
small AutoencoderKL, 32 to 256 px): the same picture encoded alone and in a batch differs by up to
3e-6, which changes up to 0.08% of the bfloat16 values; so does 1 thread against 2; and with 2 threads
AutoencoderKL also differs by the place in the batch. Alone on one thread a picture gives the same
bits every time. So on a CPU every picture is encoded and decoded alone on one thread, several
pictures at a time. That is as fast as batches or faster from 128 px on, and costs a small network up
to a quarter of its speed at 64 px and half at 32 px. On a GPU the batch is passed as it is, so give
it the same length every time.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import xxhash

from liquidgen.errors import LiquidgenError
from liquidgen.preset_files import preset_names, read_preset
from liquidgen.vae_files import VaePreset, absolute_name, find_vae

CLASSES = ("AutoencoderKL", "AutoencoderTiny")


class Vae:
    """An autoencoder that turns pictures into latents and back.

    Attributes:
        name: what the user typed.
        source: where the weights came from.
        channels: of a latent.
        factor: pixels a latent position spans along one side.
        scaling_factor: a model sees (latent - shift_factor) * scaling_factor.
        shift_factor: see above.
        weights_hash: xxh3-128 over the tensors cast to bfloat16 in the order of their names, so
            that copies in other files and number types agree.
        device: where it runs.
        alone: whether each picture is encoded alone, whatever batch it comes in.
    """

    def __init__(self, name: str, source: str, model: Any, device: torch.device) -> None:
        self.name, self.source = name, source
        self._model = model
        self.device = device
        self.alone = model is None or device.type == "cpu"
        self._dtype = torch.float32 if model is None else next(model.parameters()).dtype
        self.weights_hash = "" if model is None else hash_weights(model)
        if model is None:
            self.channels, self.factor = 3, 1
            self.scaling_factor, self.shift_factor = 1.0, 0.0
            return
        config = model.config
        self.channels: int = config.latent_channels
        self.factor: int = _factor(config)
        self.scaling_factor = float(config.scaling_factor)
        self.shift_factor = float(config.get("shift_factor") or 0.0)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures -> the mean of their posterior, unscaled.

        Args:
            images: uint8 [B, 3, H, W] on the CPU; H and W multiples of `factor`.

        Returns:
            float32 [B, channels, H / factor, W / factor] on the CPU.
        """
        return self._in_parts(self._encode, images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Unscaled latents -> pictures.

        Args:
            latents: floats [B, channels, h, w].

        Returns:
            uint8 [B, 3, h * factor, w * factor] on the CPU.
        """
        return self._in_parts(self._decode, latents)

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.to(self.device, torch.float32) / 127.5 - 1
        if self._model is None:
            return pixels
        output = self._model.encode(pixels.to(self._dtype))
        latents = output.latents if hasattr(output, "latents") else output.latent_dist.mean
        return latents.float().cpu()

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        values = latents.to(self.device, self._dtype)
        if self._model is not None:
            values = self._model.decode(values).sample
        return ((values.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()

    def _in_parts(
        self, function: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
    ) -> torch.Tensor:
        if self._model is None or not self.alone:
            with torch.inference_mode():
                together = function(batch)
            return together.clone()
        return _each_alone(function, batch)


def _each_alone(
    function: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
) -> torch.Tensor:
    """Apply a function to each row [1, ...] of a batch on one thread, several rows at a time."""

    def alone(row: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return function(row[None])

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "vae", torch.set_num_threads, (1,)) as pool:
            return torch.cat(list(pool.map(alone, batch))).clone()
    finally:
        torch.set_num_threads(threads)


def hash_weights(model: torch.nn.Module) -> str:
    """xxh3-128 over a model's tensors, cast to bfloat16, in the order of their names."""
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().to(torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def load_vae(
    name: str, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> Vae:
    """Load an autoencoder, from safetensors only.

    Args:
        name: a preset's name; a folder in the diffusers layout; or a hub id, with ":subfolder" if
            it lies in one.
        device: where it runs.
        dtype: what it computes in; None for float32, or bfloat16 on a GPU that has it.

    Raises:
        LiquidgenError: there is no such autoencoder, or its weights are incomplete.
    """
    target = torch.device(device)
    if name == "pixels":
        return Vae(name, name, None, target)
    folder, source = find_vae(name)
    name = absolute_name(name)
    model = _load(folder, source).to(target, dtype or _dtype_for(target))
    vae = Vae(name, source, model, target)
    _check_preset(vae)
    return vae


def _load(folder: Path, source: str) -> Any:
    import diffusers

    kind = _class_name(folder, source)
    diffusers.utils.logging.set_verbosity_error()
    try:
        model, report = getattr(diffusers, kind).from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise LiquidgenError(
            f"the autoencoder {source} does not load: {error}",
            "it needs config.json and diffusion_pytorch_model.safetensors that belong together",
        ) from error
    lacking = [*report["missing_keys"], *report["mismatched_keys"], *report["error_msgs"]]
    if lacking:
        raise LiquidgenError(
            f"the autoencoder {source} lacks {len(lacking)} weights, such as {lacking[0]}",
            "copy its safetensors file again: what is missing would be random",
        )
    return model.eval().requires_grad_(False)


def _class_name(folder: Path, source: str) -> str:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LiquidgenError(
            f"{source} is no autoencoder: no config.json with a _class_name",
            "give a diffusers folder, or a hub id with :subfolder, such as OWNER/NAME:vae",
        ) from error
    if kind not in CLASSES:
        raise LiquidgenError(f"{source} is a {kind}", f"--vae takes {' or '.join(CLASSES)}")
    return kind


def _dtype_for(device: torch.device) -> torch.dtype:
    """bfloat16 where the GPU really computes in it: float16 gives NaN in FLUX's autoencoder."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def _factor(config: Any) -> int:
    levels = config.get("down_block_types") or config.get("encoder_block_out_channels")
    return 2 ** (len(levels) - 1)


def _check_preset(vae: Vae) -> None:
    if vae.name not in preset_names("vaes"):
        return
    preset = read_preset("vaes", vae.name, VaePreset)
    if (vae.channels, vae.factor) != (preset.channels, preset.factor):
        raise LiquidgenError(
            f"{vae.source} has {vae.channels} channels and {vae.factor}x, not the preset's "
            f"{preset.channels} and {preset.factor}x",
            f"mend presets/vaes/{vae.name}.toml",
        )
