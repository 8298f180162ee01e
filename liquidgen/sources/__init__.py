"""Pictures from anywhere, in a fixed order, ready to be encoded: see `open_source`."""

import logging
import re
from pathlib import Path

from liquidgen.errors import LiquidgenError
from liquidgen.preset_files import nearest, preset_names, read_preset, read_preset_file
from liquidgen.sources.example import EditableSource, Example, Source, Unreadable
from liquidgen.sources.presets import DatasetPreset

__all__ = [
    "EditableSource",
    "Example",
    "Source",
    "Unreadable",
    "find_preset",
    "open_source",
    "source_name",
]

BUILT_IN = "abstract"
DEFAULT_SIZE = 256  # pixels
BUILT_IN_SIZE = 64
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Folders of these names say nothing; the one above does.
PLAIN_NAMES = frozenset(
    ["data", "dataset", "images", "image", "img", "imgs", "photos", "pictures", "train"]
)

log = logging.getLogger(__name__)


def find_preset(source: str) -> DatasetPreset | None:
    """The preset that a source names, by its name or as a TOML file; None if it is something else.

    Raises:
        LiquidgenError: the TOML file does not read or says something wrong.
    """
    if source.endswith(".toml"):
        return read_preset_file(Path(source), DatasetPreset)
    if source in preset_names("datasets"):
        return read_preset("datasets", source, DatasetPreset)
    return None


def default_image_size(source: str) -> int:
    """Side of the pictures in pixels, unless the user asks for another."""
    if source == BUILT_IN:
        return BUILT_IN_SIZE
    preset = find_preset(source)
    return preset.image_size if preset else DEFAULT_SIZE


def source_name(source: str) -> str:
    """A short name for folders made from a source: `../tiles/images` -> `tiles`."""
    path = Path(source).resolve() if Path(source).exists() else Path(source)
    name = path.name.removesuffix(".toml").removesuffix(".parquet")
    if name.lower() in PLAIN_NAMES and path.exists():
        name = path.parent.name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "pictures"


def open_source(
    source: str,
    *,
    image_size: int,
    split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    max_images: int | None = None,
) -> Source:
    """Open pictures by what a user types.

    Args:
        source: "abstract"; the name of a preset; a preset's TOML file; a folder of pictures, or of
            one folder a class; a parquet file or a folder of them; or the id of a data set on the
            hub.
        image_size: side of the square pictures to make, in pixels.
        split: splits joined by "+", for tables.
        image_column: column of the pictures, for tables.
        label_column: column of the classes, for tables.
        max_images: the most pictures to take; None for all, or for 2,000 built-in ones.

    Raises:
        LiquidgenError: there is no such source, or it holds no pictures.
    """
    table = {"split": split, "image_column": image_column, "label_column": label_column}
    if source == BUILT_IN:
        _refuse_table_options(source, table)
        from liquidgen.sources.abstract import AbstractPaintings

        return AbstractPaintings(image_size, max_images or 2000)
    path = Path(source)
    preset = find_preset(source)
    if preset is None and path.is_dir() and not _holds_parquet(path):
        _refuse_table_options(source, table)
        from liquidgen.sources.folder import FolderSource

        return FolderSource(path, image_size, max_images)
    if preset is None and not path.exists():
        preset = _hub_set(source)
    if preset is None and path.is_file() and path.suffix != ".parquet":
        raise LiquidgenError(
            f"{source} is a file that holds no data set",
            "give a folder of pictures, a .parquet file, a preset's name or its .toml",
        )
    from liquidgen.sources.hub import open_table

    if preset is None:
        preset = DatasetPreset(repository=source, licence="")
    else:
        log.info("data set %s, licence: %s", preset.repository, preset.licence)
    return open_table(preset, image_size, split, image_column, label_column, max_images)


def _holds_parquet(folder: Path) -> bool:
    """Whether a folder is a table: parquet files and no picture."""
    from liquidgen.sources.folder import has_pictures

    return any(folder.rglob("*.parquet")) and not has_pictures(folder)


def _hub_set(source: str) -> DatasetPreset | None:
    """A set on the hub that no preset knows; refuses what cannot be one."""
    if "/" not in source and not source.endswith(".parquet"):
        names = [BUILT_IN, *preset_names("datasets")]
        raise LiquidgenError(f"there is no preset or folder {source}", nearest(source, names))
    if HUB_ID.fullmatch(source) is None or Path(source).parent.is_dir():
        raise LiquidgenError(
            f"there is no file or folder {source}", "check the path; the folder you are in counts"
        )
    log.info("there is no folder %s here: looking for it on the hub", source)
    return DatasetPreset(
        repository=source,
        licence=f"see https://huggingface.co/datasets/{source}",
    )


def _refuse_table_options(source: str, options: dict[str, str | None]) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise LiquidgenError(
            f"{source} is no table, so {given[0]} means nothing", f"leave {given[0]} out"
        )
