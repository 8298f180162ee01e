"""What every source of pictures yields."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image


@dataclass(frozen=True)
class Example:
    """One picture, ready to be encoded.

    Attributes:
        key: names the picture within its source: a relative path, or a row number.
        image: RGB, 8 bits a channel, upright, square with the side the source was opened for.
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
        revision: names the content; other pictures under the same id have another revision. It is
            "" where the pictures may be edited at any time: see `EditableSource`.
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


@runtime_checkable
class EditableSource(Source, Protocol):
    """A source whose pictures may have changed since the last time, such as a folder.

    Attributes:
        location: where the pictures are now; two sources of one id at two locations may differ.
    """

    location: str

    def stamp(self, start: int, stop: int) -> str:
        """Tell at once, without reading pictures, whether pictures start..stop - 1 may have changed.

        The same stamp means the same pictures; another stamp means nothing yet.
        """
        ...

    def content(self, start: int, stop: int) -> str:
        """Hash what pictures start..stop - 1 hold: the same hash if and only if nothing changed."""
        ...
