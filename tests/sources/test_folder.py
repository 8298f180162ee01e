"""A folder of pictures is read in a fixed order, and a change in it is noticed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from making import picture

from liquidgen.errors import LiquidgenError
from liquidgen.sources.example import Example, Unreadable
from liquidgen.sources.folder import FolderSource

MakeFolder = Callable[..., Path]


def entries(source: FolderSource) -> list[Example | Unreadable]:
    return list(source.examples(0, len(source)))


def test_folders_are_classes_and_paths_the_order(make_folder: MakeFolder):
    folder = make_folder(2, ("dogs", "cats"))
    (folder / "cats" / "deep").mkdir()
    picture(9).save(folder / "cats" / "deep" / "x.png")
    source = FolderSource(folder, 16)
    assert source.classes == ("cats", "dogs")
    assert [
        (entry.key, entry.label) for entry in entries(source) if isinstance(entry, Example)
    ] == [
        ("cats/000.png", 0),
        ("cats/001.png", 0),
        ("cats/deep/x.png", 0),
        ("dogs/000.png", 1),
        ("dogs/001.png", 1),
    ]


def test_a_plain_folder_has_no_classes(make_folder: MakeFolder):
    source = FolderSource(make_folder(3, ()), 16)
    assert source.classes == ()
    assert [entry.label for entry in entries(source) if isinstance(entry, Example)] == [-1, -1, -1]


def test_any_part_gives_the_same_pictures_as_the_whole(make_folder: MakeFolder):
    source = FolderSource(make_folder(5), 16)
    whole = entries(source)
    for start, stop in [(0, 3), (3, 10), (7, 8), (8, 99), (10, 12)]:
        keys = [entry.key for entry in source.examples(start, stop)]
        assert keys == [entry.key for entry in whole[start:stop]]


def test_what_is_hidden_or_no_picture_is_left_alone(make_folder: MakeFolder):
    folder = make_folder(1)
    for name in (".hidden.png", "._000.png", "notes.txt", "cats/.x.jpg"):
        shutil.copy(folder / "cats" / "000.png", folder / name)
    (folder / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "cats" / "000.png", folder / ".ipynb_checkpoints" / "000.png")
    assert len(FolderSource(folder, 16)) == 2


def test_links_are_followed_and_loops_end(make_folder: MakeFolder, tmp_path: Path):
    folder = make_folder(1, ("cats",))
    elsewhere = make_folder(1, (), name="elsewhere")
    (folder / "birds").symlink_to(elsewhere)
    (folder / "cats" / "again").symlink_to(folder)
    (folder / "cats" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    source = FolderSource(folder, 16)
    assert source.classes == ("birds", "cats")
    assert [type(entry) for entry in entries(source)] == [Example, Example, Unreadable]


def test_one_name_in_two_folders_is_two_pictures(make_folder: MakeFolder):
    keys = {entry.key for entry in entries(FolderSource(make_folder(1), 16))}
    assert keys == {"cats/000.png", "dogs/000.png"}


def test_max_images_takes_from_every_class(make_folder: MakeFolder):
    source = FolderSource(make_folder(10, ("a", "b", "c")), 16, max_images=6)
    labels = [entry.label for entry in entries(source) if isinstance(entry, Example)]
    assert labels == [0, 0, 1, 1, 2, 2]


def test_an_edit_is_noticed_and_a_touch_is_not(make_folder: MakeFolder):
    folder = make_folder(2)

    def signs() -> tuple[str, str]:
        source = FolderSource(folder, 16)
        return source.stamp(0, 4), source.content(0, 4)

    stamp, content = signs()
    assert signs() == (stamp, content)
    os.utime(folder / "cats" / "000.png", (1, 1))
    touched = signs()
    assert touched[0] != stamp
    assert touched[1] == content
    picture(77).save(folder / "cats" / "000.png")
    edited = signs()
    assert edited[0] not in (stamp, touched[0])
    assert edited[1] != content


def test_a_picture_moved_to_another_class_is_noticed(make_folder: MakeFolder):
    folder = make_folder(2)
    before = FolderSource(folder, 16).content(0, 4)
    (folder / "cats" / "001.png").rename(folder / "dogs" / "002.png")
    assert FolderSource(folder, 16).content(0, 4) != before


@pytest.mark.parametrize("files", [[], ["a.heic", "b.heic", "c.txt"]])
def test_a_folder_without_pictures_is_refused_and_told_what_it_holds(
    tmp_path: Path, files: list[str]
):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(LiquidgenError) as caught:
        FolderSource(tmp_path, 16)
    assert ("2 .heic" in caught.value.message) == bool(files)
    assert ".png" in caught.value.hint


def test_names_of_any_bytes_are_read(tmp_path: Path):
    odd = [b"a\nb.png", "\N{SNAKE}.png".encode(), b"\xff\xfe.png"]
    for number, name in enumerate(odd):
        plain = tmp_path / f"{number}.png"
        picture(number).save(plain)
        plain.rename(tmp_path / os.fsdecode(name))
    assert [type(entry) for entry in entries(FolderSource(tmp_path, 16))] == [Example] * 3
