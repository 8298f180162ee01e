"""Values of options, checked before anything heavy is loaded."""

import math

from liquidgen.errors import LiquidgenError

DEVICES = ("auto", "cpu", "cuda", "mps")


def check_range(option: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high], and what is no number.

    Raises:
        LiquidgenError: names the option, the value and the range.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise LiquidgenError(
            f"{option} {value}: it must be from {low:g} to {high:g}", f"give {option} in that range"
        )


def check_size(size: str) -> None:
    """Refuse a size that has no preset.

    Raises:
        LiquidgenError: names those most like it.
    """
    from liquidgen.preset_files import nearest, preset_names

    names = preset_names("sizes")
    if size not in names:
        raise LiquidgenError(f"--size {size}: there is no such size", nearest(size, names))


def check_device(device: str) -> str:
    """The torch device that `--device` means.

    Raises:
        LiquidgenError: unknown, or the machine has none.
    """
    if device not in DEVICES:
        raise LiquidgenError(
            f"--device {device}: there is no such device", f"give one of {', '.join(DEVICES)}"
        )
    import torch

    there_is = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name, present in there_is.items() if present), "cpu")
    if not there_is.get(device, True):
        raise LiquidgenError(f"--device {device}: this machine has none", "leave --device away")
    return device
