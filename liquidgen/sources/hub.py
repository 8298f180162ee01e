"""Pictures in tables: data sets on the Hugging Face hub, and parquet files of the same layout.

Rows are read by the `datasets` library with decoding off; pictures are decoded in `pictures`, so one
damaged picture costs one row and not the iteration.
"""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import xxhash
from huggingface_hub import HfApi

from liquidgen.errors import LiquidgenError
from liquidgen.hub import hub_errors_explained
from liquidgen.sources.example import Example, Source, Unreadable
from liquidgen.sources.pictures import PictureFile, read_pictures
from liquidgen.sources.presets import DatasetPreset
from liquidgen.sources.selection import spread

Table = datasets.Dataset | datasets.IterableDataset

IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "png")
ROWS_AT_ONCE = 64
HASHED_AT_ONCE = 1 << 24  # bytes

log = logging.getLogger(__name__)


def open_table(
    preset: DatasetPreset,
    image_size: int,
    split: str | None,
    image_column: str | None,
    label_column: str | None,
    max_images: int | None,
) -> Source:
    """Open a data set on the hub, a parquet file or a folder of parquet files.

    Args:
        preset: where it is and how its columns are called; `repository` may also be a path.
        image_size: side of the pictures to make, in pixels.
        split: splits joined by "+"; None takes the preset's, or "train", or the only one.
        image_column: None takes the preset's, or the one that holds pictures.
        label_column: None takes the preset's, or the only one with class names, if any.
        max_images: take that many, spread evenly, or the first ones of a stream; None takes all.

    Raises:
        LiquidgenError: it cannot be had, or lacks a split or column; says what there is.
    """
    revision = _revision(preset)
    tables = _load(preset, revision)
    splits = _splits(tables, split.split("+") if split else preset.splits, preset.repository)
    table = datasets.concatenate_datasets([tables[name] for name in splits])
    features = _features(table)
    images = _image_column(features, image_column or preset.image_column)
    labels = _label_column(features, label_column or preset.label_column)
    table = table.select_columns([images] if labels is None else [images, labels])
    table = table.cast_column(images, datasets.Image(decode=False))
    classes = () if labels is None else _classes(table, features, labels)
    name = Path(preset.repository).name if _is_local(preset) else preset.repository
    columns = f"image={images}" + (f" label={labels}" if labels else "")
    rows = _Rows(f"{name} split={'+'.join(splits)} {columns}", revision, classes, images, labels)
    if isinstance(table, datasets.IterableDataset):
        return StreamSource(table, rows, image_size, max_images)
    return TableSource(table, rows, image_size, max_images)


class _Rows:
    """What a row means: which column is the picture, which the class."""

    def __init__(
        self, name: str, revision: str, classes: tuple[str, ...], images: str, labels: str | None
    ) -> None:
        self.name, self.revision, self.classes = name, revision, classes
        self.images, self.labels = images, labels
        self.numbers = {name: number for number, name in enumerate(classes)}

    def picture(self, number: int, row: dict[str, Any]) -> PictureFile:
        """The picture of a row; the row's number in the table is its key."""
        value = row[self.images]
        label = self._label(row[self.labels]) if self.labels else -1
        return PictureFile(f"{number:08d}", label, lambda: _bytes(value))

    def _label(self, value: object) -> int:
        if isinstance(value, str):
            return self.numbers.get(value, -1)
        return value if isinstance(value, int) and 0 <= value < len(self.classes) else -1


class TableSource:
    """Rows of a table on this machine, which can be read in any order."""

    def __init__(
        self, table: datasets.Dataset, rows: _Rows, image_size: int, max_images: int | None
    ) -> None:
        if len(table) == 0:
            raise LiquidgenError(f"{rows.name} has no rows", "choose another --split")
        self.table, self.rows, self.image_size = table, rows, image_size
        self.id, self.revision, self.classes = rows.name, rows.revision, rows.classes
        self.location = ""
        self.chosen = spread(len(table), max_images)

    def __len__(self) -> int:
        return len(self.chosen)

    def examples(self, start: int, stop: int) -> Iterator[Example | Unreadable]:
        """Yield the pictures of the chosen rows start, ..., stop - 1."""
        return read_pictures(self._pictures(self.chosen[start:stop]), self.image_size)

    def stamp(self, start: int, stop: int) -> str:
        """Which rows are meant; what they hold is told by the revision."""
        return xxhash.xxh3_128_hexdigest(json.dumps(list(self.chosen[start:stop])).encode())

    content = stamp

    def _pictures(self, numbers: Sequence[int]) -> Iterator[PictureFile]:
        for at in range(0, len(numbers), ROWS_AT_ONCE):
            some = list(numbers[at : at + ROWS_AT_ONCE])
            columns = self.table[some]
            for place, number in enumerate(some):
                row = {name: values[place] for name, values in columns.items()}
                yield self.rows.picture(number, row)


class StreamSource:
    """Rows that come over the network one after the other; going back starts again.

    The length is not known. `max_images` takes the first rows and belongs to the revision, for what
    lies beyond it cannot be told from the end.
    """

    def __init__(
        self,
        table: datasets.IterableDataset,
        rows: _Rows,
        image_size: int,
        max_images: int | None,
    ) -> None:
        self.table, self.rows, self.image_size = table, rows, image_size
        self.id, self.classes = rows.name, rows.classes
        self.most = max_images
        self.revision = rows.revision if max_images is None else f"{rows.revision} {max_images=}"
        self.position = 0
        self.stream: Iterator[dict[str, Any]] = iter(table)

    def __len__(self) -> int:
        raise TypeError("a stream has no length")

    def examples(self, start: int, stop: int) -> Iterator[Example | Unreadable]:
        """Yield the pictures of rows start, ..., stop - 1, fewer at the end of the stream."""
        end = stop if self.most is None else min(stop, self.most)
        return read_pictures(self._pictures(start, end), self.image_size)

    def _pictures(self, start: int, stop: int) -> Iterator[PictureFile]:
        if start < self.position:
            self.position, self.stream = 0, iter(self.table)
        while self.position < stop:
            row = next(self.stream, None)
            if row is None:
                return
            number = self.position
            self.position += 1
            if number >= start:
                yield self.rows.picture(number, row)


def _is_local(preset: DatasetPreset) -> bool:
    return Path(preset.repository).exists()


def _revision(preset: DatasetPreset) -> str:
    """The commit that the hub has now, or a hash of the local files."""
    if _is_local(preset):
        return _hash_of_files(Path(preset.repository))
    with hub_errors_explained(preset.repository, "dataset"):
        info = HfApi().dataset_info(preset.repository, revision=preset.revision, timeout=10)
    return str(info.sha)


def _hash_of_files(path: Path) -> str:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    digest = xxhash.xxh3_128()
    for file in files:
        digest.update(file.relative_to(path.parent).as_posix().encode("utf-8", "surrogateescape"))
        with file.open("rb") as opened:
            while block := opened.read(HASHED_AT_ONCE):
                digest.update(block)
    return digest.hexdigest()


def _load(preset: DatasetPreset, revision: str) -> dict[str, Any]:
    """All splits of the set, by name."""
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    if _is_local(preset):
        return _load_local(Path(preset.repository), preset)
    with hub_errors_explained(preset.repository, "dataset"):
        return datasets.load_dataset(
            preset.repository,
            name=preset.config,
            revision=revision,
            data_files=preset.data_files,
            streaming=preset.streaming,
        )  # pyright: ignore[reportReturnType] - a dict, since no split is asked for


def _load_local(path: Path, preset: DatasetPreset) -> dict[str, Any]:
    try:
        if path.is_file():
            return datasets.load_dataset(
                "parquet", data_files={"train": [str(path)]}, streaming=preset.streaming
            )  # pyright: ignore[reportReturnType]
        return datasets.load_dataset(
            str(path), data_files=preset.data_files, streaming=preset.streaming
        )  # pyright: ignore[reportReturnType]
    except Exception as error:
        cause = error.__cause__ or error
        raise LiquidgenError(
            f"{path} does not read as parquet: {type(cause).__name__}: {cause}",
            "give a complete .parquet file, or a folder of them",
        ) from error


def _splits(tables: dict[str, Any], wanted: list[str], name: str) -> list[str]:
    there = list(tables)
    if not wanted:
        wanted = ["train"] if "train" in there else there[:1]
        if len(there) > 1:
            log.info("using split %s of %s (choose by --split)", wanted[0], ", ".join(there))
    missing = [split for split in wanted if split not in there]
    if missing:
        raise LiquidgenError(
            f"{name} has no split {missing[0]}", f"--split takes {', '.join(there)}, joined by +"
        )
    return wanted


def _features(table: Table) -> dict[str, Any]:
    """Column name -> type."""
    features = table.features
    if features is None:
        features = table._resolve_features().features  # pyright: ignore - a stream without a schema
    return dict(features)  # pyright: ignore


def _image_column(features: dict[str, Any], wanted: str | None) -> str:
    pictures = [name for name, kind in features.items() if _holds_pictures(kind)]
    if wanted is None:
        by_name = [name for name in IMAGE_NAMES if name in pictures]
        wanted = (by_name or pictures or [None])[0]
    if wanted in pictures:
        return str(wanted)
    there = ", ".join(f"{name} ({_type_name(kind)})" for name, kind in features.items())
    what = f"no column {wanted} with pictures" if wanted else "no column with pictures"
    raise LiquidgenError(
        f"{what}; there are {there}",
        f"--image-column takes {', '.join(pictures)}" if pictures else "choose another data set",
    )


def _holds_pictures(kind: Any) -> bool:
    if isinstance(kind, datasets.Image):
        return True
    if isinstance(kind, dict):
        return "bytes" in kind
    return isinstance(kind, datasets.Value) and kind.dtype in ("binary", "large_binary")


def _label_column(features: dict[str, Any], wanted: str | None) -> str | None:
    named = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    if wanted is None:
        if len(named) > 1:
            log.info("no classes: --label-column takes %s", ", ".join(named))
        return named[0] if len(named) == 1 else None
    if wanted in features and _holds_labels(features[wanted]):
        return wanted
    there = [name for name, kind in features.items() if _holds_labels(kind)]
    raise LiquidgenError(
        f"no column {wanted} with classes; there are "
        + ", ".join(f"{name} ({_type_name(kind)})" for name, kind in features.items()),
        f"--label-column takes {', '.join(there)}" if there else "leave --label-column out",
    )


def _holds_labels(kind: Any) -> bool:
    if isinstance(kind, datasets.ClassLabel):
        return True
    return isinstance(kind, datasets.Value) and (kind.dtype == "string" or "int" in kind.dtype)


def _type_name(kind: Any) -> str:
    if isinstance(kind, datasets.ClassLabel):
        return f"{len(kind.names)} classes"
    return kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__.lower()


def _classes(table: Table, features: dict[str, Any], labels: str) -> tuple[str, ...]:
    """Class names: declared ones, else the distinct texts, else numbers from 0 to the largest."""
    kind = features[labels]
    if isinstance(kind, datasets.ClassLabel):
        return tuple(kind.names)
    if isinstance(table, datasets.IterableDataset):
        raise LiquidgenError(
            f"column {labels} has no class names, and a stream cannot be searched for them",
            "choose a --label-column with class names, or a preset that does not stream",
        )
    values = [value for value in table.unique(labels) if value is not None]
    if all(isinstance(value, str) for value in values):
        return tuple(sorted(values))
    return tuple(str(number) for number in range(max(values, default=-1) + 1))


def _bytes(value: Any) -> bytes:
    """A picture as the table holds it: bytes, bytes and path, or the path of a local file."""
    if value is None:
        raise ValueError("the row has no picture")
    if isinstance(value, bytes):
        return value
    if value["bytes"] is not None:
        return value["bytes"]
    if value["path"] is None:
        raise ValueError("the row has no picture")
    return Path(value["path"]).read_bytes()
