"""What a user may type as a source, and what is answered when there is no such thing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from liquidgen.errors import LiquidgenError
from liquidgen.preset_files import preset_names, read_preset
from liquidgen.sources import default_image_size, find_preset, open_source, source_name
from liquidgen.sources.presets import DatasetPreset


@pytest.mark.parametrize("name", preset_names("datasets"))
def test_every_preset_that_ships_is_valid_and_states_its_licence(name: str):
    preset = read_preset("datasets", name, DatasetPreset)
    assert preset.licence
    assert preset.note
    assert "/" in preset.repository


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('licence = "x"', "repository"),
        ('repository = "a/b"\nlicence = "x"\nimage_colum = "img"', "image_colum"),
        ('repository = "a/b"\nlicence = "x"\nimage_size = 3', "image_size"),
        ('repository = "a/b"\nlicence = "x"\nsplits = "train"', "splits"),
        ("repository =", "TOML"),
    ],
)
def test_a_mistake_in_a_preset_is_answered_by_file_key_and_keys(
    tmp_path: Path, text: str, named: str
):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(LiquidgenError) as caught:
        find_preset(str(path))
    assert str(path) in caught.value.message
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("source", "hint"),
    [("abstrct", "abstract"), ("paintngs", "paintings"), ("cifar", "cifar10"), ("qqq", "flowers")],
)
def test_an_unknown_preset_is_answered_by_the_nearest_names(source: str, hint: str):
    with pytest.raises(LiquidgenError, match="no preset or folder") as caught:
        open_source(source, image_size=64)
    assert hint in caught.value.hint


@pytest.mark.parametrize("source", ["./gone", "gone.parquet", "/gone/too", "{tmp}/gone"])
def test_a_missing_folder_is_named(tmp_path: Path, source: str):
    source = source.format(tmp=tmp_path)
    with pytest.raises(LiquidgenError) as caught:
        open_source(source, image_size=64)
    assert source in caught.value.message


def test_a_set_on_the_hub_that_cannot_be_had_is_one_line(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", "liquidgen"), pytest.raises(LiquidgenError) as caught:
        open_source("nobody-here/nothing", image_size=64)
    assert "nobody-here/nothing" in caught.value.message
    assert "looking for it on the hub" in caplog.text


def test_the_built_in_pictures_are_a_source():
    source = open_source("abstract", image_size=32, max_images=5)
    assert len(source) == 5
    assert len(source.classes) >= 8
    assert default_image_size("abstract") == 64


def test_columns_of_a_folder_are_refused(make_folder: Callable[..., Path]):
    with pytest.raises(LiquidgenError, match="--label-column means nothing"):
        open_source(str(make_folder(1)), image_size=32, label_column="style")


def test_names_for_folders_say_what_the_pictures_are(tmp_path: Path):
    (tmp_path / "tiles" / "images").mkdir(parents=True)
    (tmp_path / "my cats \N{CAT}").mkdir()
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.parquet").touch()
    assert source_name(str(tmp_path / "tiles" / "images")) == "tiles"
    assert source_name(str(tmp_path / "tiles")) == "tiles"
    assert source_name(str(tmp_path / "my cats \N{CAT}")) == "my-cats"
    assert source_name(str(tmp_path / "cifar10" / "train.parquet")) == "cifar10"
    assert source_name("huggan/AFHQ") == "AFHQ"
    assert source_name("abstract") == "abstract"
