"""Presets of data sets: what is known of a set on the hub, as TOML in presets/datasets/."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class DatasetPreset(BaseModel):
    """Where a data set on the hub is and how its columns are called.

    Attributes:
        repository: the set's id on the hub, such as "uoft-cs/cifar10".
        revision: branch, tag or commit; None for the newest.
        config: name of the configuration; None for the only or default one.
        data_files: files of each split, as patterns within the repository; None for the usual.
        splits: splits to use, one after the other; none for "train", or else the first.
        image_column: column that holds the pictures; None for the one that looks like it.
        label_column: column that holds the classes; None for the only one with class names.
        streaming: read rows over the network as they are needed, without a download first.
        image_size: side of the pictures in pixels, unless the user asks for another.
        licence: what is known of it, shown before anything is fetched.
        note: one line for the list of presets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str
    revision: str | None = None
    config: str | None = None
    data_files: dict[str, str | list[str]] | None = None
    splits: list[str] = []
    image_column: str | None = None
    label_column: str | None = None
    streaming: bool = False
    image_size: Annotated[int, Field(ge=16)] = 256
    licence: str
    note: str = ""
