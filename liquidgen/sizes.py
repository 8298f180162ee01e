"""The sizes of the backbone, as TOML in presets/sizes/."""

import torch
from pydantic import BaseModel, ConfigDict, Field

from liquidgen.backbones.liquidgen import LiquidGen
from liquidgen.errors import LiquidgenError
from liquidgen.preset_files import preset_names, read_preset


class SizePreset(BaseModel):
    """A size of the network.

    Attributes:
        width: channels D, a multiple of 8.
        depth: blocks N, even.
        note: one line for the list of presets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(ge=8, multiple_of=8)
    depth: int = Field(ge=2, multiple_of=2)
    note: str = ""


def read_size(name: str) -> SizePreset:
    """The preset of a size.

    Raises:
        LiquidgenError: there is none of that name.
    """
    names = preset_names("sizes")
    if name not in names:
        raise LiquidgenError(f"--size {name}: there is no such size", f"give {', '.join(names)}")
    return read_preset("sizes", name, SizePreset)


def build_backbone(size: str, sample_size: int, in_channels: int, num_classes: int) -> LiquidGen:
    """A freshly initialised network of a preset's size; the arguments are those of `LiquidGen`."""
    preset = read_size(size)
    return LiquidGen(
        sample_size=sample_size,
        in_channels=in_channels,
        width=preset.width,
        depth=preset.depth,
        num_classes=num_classes,
    )


def count_parameters(size: str) -> int:
    """Parameters of a size for 256 px FLUX latents without classes, counted on the model itself."""
    with torch.device("meta"):
        backbone = build_backbone(size, sample_size=32, in_channels=16, num_classes=0)
    return sum(parameter.numel() for parameter in backbone.parameters())
