"""Where an autoencoder's files are: presets, folders and the hub. Imports nothing heavy."""

import logging
import re
from importlib.resources import files
from pathlib import Path

from huggingface_hub import snapshot_download
from pydantic import BaseModel, ConfigDict

from liquidgen.errors import LiquidgenError
from liquidgen.hub import GatedError, hub_errors_explained
from liquidgen.preset_files import nearest, preset_names, read_preset

log = logging.getLogger(__name__)


class VaePreset(BaseModel):
    """What is known of an autoencoder, as TOML in presets/vaes/.

    Attributes:
        repository: its id on the hub; None when it needs no download.
        subfolder: folder of the repository that holds it; "" for the top.
        package: Python package whose files are the autoencoder, instead of a repository.
        channels: of a latent.
        factor: pixels a latent position spans along one side.
        fallback: preset that holds the same autoencoder, for when this one is gated.
        licence: what is known of it.
        note: one line for the list of presets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str | None = None
    subfolder: str = ""
    package: str | None = None
    channels: int
    factor: int
    fallback: str | None = None
    licence: str
    note: str = ""


def check_vae_name(name: str) -> None:
    """Refuse at once a name that no autoencoder can have.

    Raises:
        LiquidgenError: it is no preset, folder or hub id.
    """
    if name in preset_names("vaes") or Path(name).is_dir():
        return
    if "/" not in name or Path(name).parent.is_dir():
        raise LiquidgenError(
            f"there is no autoencoder {name}", f"--vae: {nearest(name, preset_names('vaes'))}"
        )


def vae_short_name(name: str) -> str:
    """A name for folders: `../vae/taef1` -> `taef1`, `owner/flux:vae` -> `flux`."""
    path = Path(name)
    last = path.resolve().name if path.is_dir() else path.name.partition(":")[0]
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "vae"


def absolute_name(name: str) -> str:
    """What names the autoencoder from any folder: presets and hub ids as they are, folders whole."""
    is_folder = name not in preset_names("vaes") and Path(name).is_dir()
    return str(Path(name).resolve()) if is_folder else name


def find_vae(name: str) -> tuple[Path, str]:
    """The folder of an autoencoder on this machine, after a download if need be, and its source."""
    check_vae_name(name)
    if name not in preset_names("vaes"):
        if Path(name).is_dir():
            return Path(name), name
        repository, _, subfolder = name.partition(":")
        return _download(repository, subfolder), name
    preset = read_preset("vaes", name, VaePreset)
    if preset.package is not None:
        return Path(str(files(preset.package))), preset.package
    assert preset.repository is not None
    try:
        folder = _download(preset.repository, preset.subfolder)
    except GatedError:
        if preset.fallback is None:
            raise
        log.info("%s is gated: using %s, the same autoencoder", name, preset.fallback)
        return find_vae(preset.fallback)
    return folder, f"{preset.repository}:{preset.subfolder}".rstrip(":")


def _download(repository: str, subfolder: str) -> Path:
    prefix = f"{subfolder}/" if subfolder else ""
    with hub_errors_explained(repository, "model"):
        folder = snapshot_download(
            repository, allow_patterns=[f"{prefix}config.json", f"{prefix}*.safetensors"]
        )
    return Path(folder) / subfolder
