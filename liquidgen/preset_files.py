"""Reading the TOML files in presets/: what a user may edit or add."""

import difflib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from liquidgen.errors import LiquidgenError

Kind = Literal["datasets", "vaes", "sizes"]
Model = TypeVar("Model", bound=BaseModel)


def preset_names(kind: Kind) -> list[str]:
    """Names of the presets of a kind, sorted."""
    entries = files("liquidgen.presets").joinpath(kind).iterdir()
    return sorted(
        entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml")
    )


def read_preset(kind: Kind, name: str, model: type[Model]) -> Model:
    """Read a preset that `preset_names` lists."""
    entry = files("liquidgen.presets").joinpath(kind, f"{name}.toml")
    return parse_preset(entry.read_text(encoding="utf-8"), f"presets/{kind}/{name}.toml", model)


def read_preset_file(path: Path, model: type[Model]) -> Model:
    """Read a preset of the user's own."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LiquidgenError(f"cannot read {path}: {error}", "give a readable TOML file") from error
    return parse_preset(text, str(path), model)


def parse_preset(text: str, name: str, model: type[Model]) -> Model:
    """Parse and validate TOML.

    Raises:
        LiquidgenError: no TOML, or a key is missing, unknown or of another type; names the file
            and the key, and lists the keys there may be.
    """
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise LiquidgenError(f"{name} is not TOML: {error}", "mend that line") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise LiquidgenError(
            f"{name}: {key}: {first['msg']}", f"keys are {', '.join(model.model_fields)}"
        ) from error


def nearest(name: str, names: list[str]) -> str:
    """The names most like a mistyped one, or all of them, for a hint."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(names)}"
