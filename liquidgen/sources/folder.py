"""Pictures in a folder; the folders right below it are the classes."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import xxhash

from liquidgen.errors import LiquidgenError
from liquidgen.sources.example import Example, Unreadable
from liquidgen.sources.pictures import THREADS, PictureFile, read_pictures
from liquidgen.sources.selection import spread

SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("avif", "bmp", "gif", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm"),
        *("pgm", "png", "ppm", "tga", "tif", "tiff", "webp"),
    )
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    key: str  # path below the folder, with "/"
    label: int
    size: int  # bytes
    changed: int  # time of the last change, in ns


class FolderSource:
    """The pictures of a folder and of all folders in it, in the order of their paths.

    With folders in it, each folder right below is a class, and pictures beside them have none.
    Hidden files, hidden folders and files that are no pictures by their suffix are left alone.

    Args:
        folder: where the pictures are; read, never written.
        image_size: side of the pictures to make, in pixels.
        max_images: take that many, spread evenly over the folder so that all classes are among
            them; None takes all.

    Raises:
        LiquidgenError: there is no picture.
    """

    revision = ""

    def __init__(self, folder: Path, image_size: int, max_images: int | None = None) -> None:
        self.folder = folder
        self.image_size = image_size
        self.id = f"folder {folder.resolve().name}"
        self.location = str(folder.resolve())
        found = _find(folder)
        if not found:
            raise _no_pictures(folder)
        self.classes = _classes(found)
        chosen = spread(len(found), max_images)
        labels = {name: label for label, name in enumerate(self.classes)}
        self.files = [_describe(folder, found[index], labels) for index in chosen]

    def __len__(self) -> int:
        return len(self.files)

    def examples(self, start: int, stop: int) -> Iterator[Example | Unreadable]:
        """Yield pictures start, ..., stop - 1 in the order of their paths."""
        files = self.files[start:stop]
        return read_pictures(
            (
                PictureFile(file.key, file.label, (self.folder / file.key).read_bytes)
                for file in files
            ),
            self.image_size,
        )

    def stamp(self, start: int, stop: int) -> str:
        """Hash names, classes, sizes and times of change; no file is opened."""
        files = self.files[start:stop]
        return _hash([[file.key, file.label, file.size, file.changed] for file in files])

    def content(self, start: int, stop: int) -> str:
        """Hash names, classes and bytes, so that a copied or touched file counts as the same."""
        files = self.files[start:stop]
        with ThreadPoolExecutor(THREADS) as pool:
            hashes = list(pool.map(_hash_file, (self.folder / file.key for file in files)))
        pairs = zip(files, hashes, strict=True)
        return _hash([[file.key, file.label, of_bytes] for file, of_bytes in pairs])


def has_pictures(folder: Path) -> bool:
    """Whether a folder holds at least one file with the suffix of a picture."""
    return any(True for _ in _walk(folder, SUFFIXES))


def _find(folder: Path) -> list[str]:
    return sorted(_walk(folder, SUFFIXES))


def _walk(folder: Path, suffixes: frozenset[str] | None) -> Iterator[str]:
    """Yield paths below the folder, with "/"; links to folders are followed, each folder once."""
    seen = {folder.resolve()}
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_tell):
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and _first_time(Path(parent, name).resolve(), seen)
        ]
        for name in files:
            hidden = name.startswith(".")
            if not hidden and (suffixes is None or Path(name).suffix.lower() in suffixes):
                yield Path(parent, name).relative_to(folder).as_posix()


def _first_time(folder: Path, seen: set[Path]) -> bool:
    first = folder not in seen
    seen.add(folder)
    return first


def _tell(error: OSError) -> None:
    log.warning("left out %s: %s", error.filename, error.strerror)


def _classes(keys: list[str]) -> tuple[str, ...]:
    return tuple(sorted({key.split("/", 1)[0] for key in keys if "/" in key}))


def _describe(folder: Path, key: str, labels: dict[str, int]) -> _File:
    label = labels[key.split("/", 1)[0]] if "/" in key else -1
    try:
        status = (folder / key).stat()
    except OSError:  # a dangling link: reading it will tell
        return _File(key, label, 0, 0)
    return _File(key, label, status.st_size, status.st_mtime_ns)


def _hash_file(path: Path) -> str:
    try:
        return xxhash.xxh3_128_hexdigest(path.read_bytes())
    except OSError:
        return "unreadable"


def _hash(value: list[list[object]]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(value).encode())


def _no_pictures(folder: Path) -> LiquidgenError:
    others = Counter(Path(key).suffix.lower() or "no suffix" for key in _walk(folder, None))
    there = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(4))
    return LiquidgenError(
        f"no pictures in {folder}: it holds {there or 'no files'}",
        f"put pictures there, in folders named after their classes if they have any; "
        f"known are {' '.join(sorted(SUFFIXES))}",
    )
