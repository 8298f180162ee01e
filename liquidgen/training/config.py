"""Settings of a training run: their ranges, their defaults and what may not change when a run goes on."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from liquidgen.errors import LiquidgenError


class TrainConfig(BaseModel):
    """One training run. Saved as `config.json` in the run's folder."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    data: Path
    out: Path
    size: str = "S"
    steps: int = Field(default=100_000, ge=1)
    batch_size: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-4, gt=0, le=1)
    lr_schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = Field(default=500, ge=0)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    max_grad_norm: float = Field(default=2.0, gt=0)
    cfg_dropout: float = Field(default=0.1, ge=0, le=1)
    ema: float = Field(default=0.9999, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    save_every: int = Field(default=1000, ge=0)
    keep: int = Field(default=2, ge=1)
    sample_every: int = Field(default=1000, ge=0)


# Settings that make another run: going on with a different value is refused.
FIXED = (
    "size",
    "batch_size",
    "lr",
    "lr_schedule",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "cfg_dropout",
    "ema",
    "seed",
)


def make_config(**values: Any) -> TrainConfig:
    """A checked configuration.

    Raises:
        LiquidgenError: a value is out of its range; the option and the range are named.
    """
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        option = "--" + name.replace("_", "-")
        raise LiquidgenError(
            f"{option} {first['input']}: it must be {_allowed(name)}",
            "run `liquidgen train --help` to see what each option takes",
        ) from None


BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}


def _allowed(name: str) -> str:
    """The values that a setting takes, in words."""
    schema = TrainConfig.model_json_schema()["properties"][name]
    if "enum" in schema:
        return " or ".join(schema["enum"])
    bounds = [f"{words} {schema[key]}" for key, words in BOUNDS.items() if key in schema]
    return " and ".join(bounds) or f"a {schema['type']}"


def differences(before: dict[str, Any], now: TrainConfig) -> list[str]:
    """What differs in the settings that may not change, each as `name: before -> now`."""
    current = now.model_dump(mode="json")
    return [
        f"{name}: {before.get(name)} -> {current[name]}"
        for name in FIXED
        if before.get(name) != current[name]
    ]
