"""Tables of the hub's layout: columns, classes, splits, streams and damaged rows."""

import io
from pathlib import Path
from typing import Any

import datasets
import pytest
from making import picture

from liquidgen.errors import LiquidgenError
from liquidgen.sources import open_source
from liquidgen.sources.example import Example, Source, Unreadable

NAMES = ["ant", "bee", "cow"]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def write(path: Path, rows: int, bad: tuple[int, ...] = (), first: int = 0) -> Path:
    """Write a parquet file as the hub holds them; some rows hold damaged pictures."""
    numbers = range(first, first + rows)
    pictures = [{"bytes": b"junk" if n in bad else png(n), "path": f"{n}.png"} for n in numbers]
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "kind": datasets.ClassLabel(names=NAMES),
            "artist": datasets.Value("string"),
            "count": datasets.Value("int64"),
            "size": datasets.Value("float32"),
        }
    )
    table = datasets.Dataset.from_dict(
        {
            "img": pictures,
            "kind": [n % 3 for n in numbers],
            "artist": ["zoe" if n % 2 else "abe" for n in numbers],
            "count": [n % 4 for n in numbers],
            "size": [0.5] * rows,
        },
        features=features,
    )
    path.parent.mkdir(exist_ok=True)
    table.to_parquet(path)
    return path


def entries(source: Source, start: int = 0, stop: int = 1000) -> list[Example | Unreadable]:
    return list(source.examples(start, stop))


def labels(source: Source) -> list[int]:
    return [entry.label for entry in entries(source) if isinstance(entry, Example)]


def test_picture_and_class_columns_are_found(tmp_path: Path):
    source = open_source(str(write(tmp_path / "set.parquet", 7)), image_size=16)
    assert source.classes == tuple(NAMES)
    assert len(source) == 7
    assert labels(source) == [0, 1, 2, 0, 1, 2, 0]


def test_a_damaged_picture_costs_one_row(tmp_path: Path):
    source = open_source(str(write(tmp_path / "set.parquet", 6, bad=(2, 4))), image_size=16)
    kinds = [type(entry) for entry in entries(source)]
    assert kinds == [Example, Example, Unreadable, Example, Unreadable, Example]
    assert [entry.key for entry in entries(source, 2, 4)] == ["00000002", "00000003"]


def test_texts_and_numbers_serve_as_classes(tmp_path: Path):
    path = str(write(tmp_path / "set.parquet", 4))
    by_text = open_source(path, image_size=16, label_column="artist")
    assert by_text.classes == ("abe", "zoe")
    assert labels(by_text) == [0, 1, 0, 1]
    by_number = open_source(path, image_size=16, label_column="count")
    assert by_number.classes == ("0", "1", "2", "3")
    assert labels(by_number) == [0, 1, 2, 3]


def test_max_images_spreads_over_the_table(tmp_path: Path):
    path = str(write(tmp_path / "set.parquet", 9))
    source = open_source(path, image_size=16, max_images=3)
    assert [entry.key for entry in entries(source)] == ["00000000", "00000003", "00000006"]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"image_column": "photo"}, "img (image), kind (3 classes), artist (string)", "takes img"),
        ({"label_column": "size"}, "no column size with classes", "kind, artist, count"),
        ({"split": "dev"}, "no split dev", "takes train"),
    ],
)
def test_what_is_missing_is_answered_by_what_there_is(
    tmp_path: Path, options: dict[str, Any], message: str, hint: str
):
    path = str(write(tmp_path / "set.parquet", 3))
    with pytest.raises(LiquidgenError) as caught:
        open_source(path, image_size=16, **options)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_damaged_parquet_file_is_refused(tmp_path: Path):
    path = write(tmp_path / "set.parquet", 3)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(LiquidgenError, match="does not read as parquet"):
        open_source(str(path), image_size=16)


def test_other_rows_are_another_revision(tmp_path: Path):
    first = open_source(str(write(tmp_path / "set.parquet", 3)), image_size=16).revision
    again = open_source(str(tmp_path / "set.parquet"), image_size=16).revision
    other = open_source(str(write(tmp_path / "set.parquet", 3, first=1)), image_size=16).revision
    assert first == again != other


def test_a_folder_of_parquet_files_has_splits(tmp_path: Path):
    folder = tmp_path / "set"
    write(folder / "train-00000-of-00002.parquet", 3)
    write(folder / "train-00001-of-00002.parquet", 2, first=3)
    write(folder / "test-00000-of-00001.parquet", 4, first=5)
    assert len(open_source(str(folder), image_size=16)) == 5
    assert len(open_source(str(folder), image_size=16, split="test+train")) == 9


PRESET = """
repository = "{folder}"
data_files = {{ train = "full/train/*.parquet", test = "full/test/*.parquet" }}
splits = ["train", "test"]
image_column = "img"
label_column = "kind"
streaming = {streaming}
licence = "CC0"
"""


def write_preset(tmp_path: Path, streaming: bool) -> str:
    """A preset of the layout of a converted set: two configurations, each with splits."""
    folder = tmp_path / "set"
    for config in ("full", "mini"):
        for place, split in enumerate(("train", "test")):
            (folder / config / split).mkdir(parents=True)
            write(folder / config / split / "0000.parquet", 5, bad=(7,), first=5 * place)
    path = tmp_path / "mine.toml"
    path.write_text(PRESET.format(folder=folder, streaming=str(streaming).lower()))
    return str(path)


def test_a_preset_of_ones_own_joins_its_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", "liquidgen"):
        source = open_source(write_preset(tmp_path, streaming=False), image_size=16)
    assert len(source) == 10
    assert labels(source) == [0, 1, 2, 0, 1, 2, 0, 2, 0]
    assert "licence: CC0" in caplog.text


def test_a_stream_gives_what_the_table_gives(tmp_path: Path):
    source = open_source(write_preset(tmp_path, streaming=True), image_size=16)
    with pytest.raises(TypeError):
        len(source)
    keys = [f"{number:08d}" for number in range(10)]
    assert [entry.key for entry in entries(source)] == keys
    for start, stop in [(0, 4), (4, 6), (2, 3), (8, 20), (10, 20)]:  # on, and back
        assert [entry.key for entry in entries(source, start, stop)] == keys[start:stop]
    assert [type(entry) for entry in entries(source)].count(Unreadable) == 1


def test_a_stream_ends_at_max_images(tmp_path: Path):
    preset = write_preset(tmp_path, streaming=True)
    source = open_source(preset, image_size=16, max_images=3)
    assert len(entries(source)) == 3
    assert source.revision != open_source(preset, image_size=16).revision


def test_a_stream_needs_declared_class_names(tmp_path: Path):
    with pytest.raises(LiquidgenError, match="no class names"):
        open_source(write_preset(tmp_path, streaming=True), image_size=16, label_column="artist")


def test_the_real_cifar_file_reads_with_no_other_preparation(shared: Path):
    source = open_source(str(shared / "data/cifar10/train.parquet"), image_size=64, max_images=20)
    assert source.classes[:2] == ("airplane", "automobile")
    assert [type(entry) for entry in entries(source)] == [Example] * 20
