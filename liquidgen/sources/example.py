"""What every source of pictures yields."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True)
class Example:
    """One picture, ready to be resized and encoded.

    Attributes:
        key: names the picture within its source: a relative path, or a row number.
        image: RGB, 8 bits a channel, upright.
        label: index into the source's `classes`; -1 when it has none.
        caption: a text that describes the picture, where the source has one.
    """

    key: str
    image: Image.Image
    label: int = -1
    caption: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be used, and why."""

    key: str
    reason: str


class Source(Protocol):
    """Pictures in a fixed order: picture i is the same picture at every call.

    Attributes:
        id: what the pictures are, such as a folder's name or a hub id.
        revision: changes when the pictures change, as far as the source can tell cheaply.
        classes: names of the classes that labels index; empty when there are none.
    """

    id: str
    revision: str
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of pictures; TypeError for a stream of unknown length."""
        ...

    def examples(self, start: int, stop: int) -> Iterator[Example | Unreadable]:
        """Yield pictures start, ..., stop - 1, fewer where the source ends earlier."""
        ...
