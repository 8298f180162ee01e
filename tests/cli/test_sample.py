"""`liquidgen sample`: pictures by seed and class, with their settings inside."""

import json
import os
from pathlib import Path

import pytest
from conftest import RUN, STEPS, Workplace
from PIL import Image
from running import Done, files_in, liquidgen, refuses

ODD_NAMES = ("../../escaped", "a/b", "🎨", "line\nbreak", "..", "/etc/passwd", "日本 語", "x" * 300)


def read(path: Path) -> tuple[bytes, dict[str, object]]:
    """Pixels and settings of a PNG."""
    with Image.open(path) as picture:
        assert picture.size == (32, 32)
        return picture.tobytes(), json.loads(picture.info["liquidgen"])


def copy_model(model: Path, to: Path) -> Path:
    """A model of its own without a copy of the weights."""
    to.mkdir(parents=True)
    for path in model.iterdir():
        if path.suffix == ".safetensors":
            os.link(path, to / path.name)
        else:
            (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.fixture(scope="module")
def sampled(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """Four pictures of the newest run, in a folder with an older one."""
    folder = tmp_path_factory.mktemp("sampled")
    copy_model(workplace.run / "model", folder / "runs" / "newest" / "model")
    older = copy_model(workplace.run / "model", folder / "runs" / "older" / "model")
    os.utime(older / "liquidgen.json", (0, 0))
    done = liquidgen(
        folder,
        *("sample", "--class", "waves", "--class", "dots", "--num", 4, "--steps", 2),
        *("--seed", 5, "--device", "cpu", "--json"),
    )
    assert done.code == 0, done.stderr
    return folder, done


def test_the_newest_run_is_taken(sampled: tuple[Path, Done]):
    folder, done = sampled
    assert done.summary["model"] == "newest"
    assert done.summary["out"] == "samples/newest/cfg4-steps2-seed5"
    assert [path.name for path in (folder / "samples").iterdir()] == ["newest"]


def test_the_classes_asked_for_take_turns(sampled: tuple[Path, Done]):
    _, done = sampled
    names = [Path(file).name for file in done.summary["files"]]
    assert names == ["000005-dots.png", "000006-waves.png", "000007-dots.png", "000008-waves.png"]


def test_a_picture_tells_how_it_was_made(sampled: tuple[Path, Done]):
    folder, done = sampled
    told = [read(folder / file)[1] for file in done.summary["files"]]
    hashes = {settings.pop("model_hash") for settings in told}
    assert hashes == {done.summary["model_hash"]}
    shared = {"model": "newest", "model_steps": STEPS, "cfg": 4.0, "steps": 2, "solver": "euler"}
    assert told == [
        shared | {"seed": 5 + k, "class": name}
        for k, name in enumerate(["dots", "waves", "dots", "waves"])
    ]


def test_there_is_a_grid_of_a_column_a_class(sampled: tuple[Path, Done]):
    folder, done = sampled
    with Image.open(folder / done.summary["grid"]) as grid:
        assert 2 * 32 < grid.width < 3 * 32
        assert grid.height > 2 * 32


def test_nothing_else_is_left(sampled: tuple[Path, Done]):
    folder, done = sampled
    files = {path for path in (folder / "samples").rglob("*") if path.is_file()}
    expected = [*done.summary["files"], done.summary["grid"]]
    assert files == {folder / name for name in expected}


def test_picture_k_of_seed_s_is_picture_0_of_seed_s_plus_k(
    sampled: tuple[Path, Done], tmp_path: Path
):
    folder, done = sampled
    alone = liquidgen(
        tmp_path,
        *("sample", folder / "runs" / "newest", "--class", "waves", "--num", 1, "--steps", 2),
        *("--seed", 6, "--device", "cpu", "--out", "alone", "--json"),
    )
    assert alone.code == 0, alone.stderr
    assert alone.summary["files"] == ["alone/000006-waves.png"]
    together = folder / done.summary["files"][1]
    assert (tmp_path / "alone" / "000006-waves.png").read_bytes() == together.read_bytes()


def test_pictures_of_other_seeds_and_classes_differ(sampled: tuple[Path, Done]):
    folder, done = sampled
    pixels = {read(folder / file)[0] for file in done.summary["files"]}
    assert len(pixels) == 4


def test_an_unknown_class_is_answered_with_the_nearest(workplace: Workplace):
    before = files_in(workplace.folder)
    done = liquidgen(workplace.folder, "sample", "--class", "wave", "--json")
    refuses(done, "wave", "did you mean waves")
    assert files_in(workplace.folder) == before


def test_odd_class_names_give_safe_files_that_know_the_true_name(
    workplace: Workplace, tmp_path: Path
):
    model = copy_model(workplace.run / "model", tmp_path / "place" / "shared")
    facts = json.loads((model / "liquidgen.json").read_text())
    (model / "liquidgen.json").write_text(json.dumps(facts | {"classes": ODD_NAMES}))
    done = liquidgen(
        tmp_path / "place", "sample", "shared", "--num", 8, "--steps", 1, "--out", "odd", "--json"
    )
    assert done.code == 0, done.stderr
    assert done.summary["model"] == "shared"
    files = [tmp_path / "place" / file for file in done.summary["files"]]
    assert [file.parent for file in files] == [tmp_path / "place" / "odd"] * 8
    assert all(file.is_file() for file in files)
    assert [read(file)[1]["class"] for file in files] == list(ODD_NAMES)
    assert {path.name for path in tmp_path.iterdir()} == {"place"}


def test_without_json_nothing_is_on_stdout(workplace: Workplace, tmp_path: Path):
    done = liquidgen(tmp_path, "sample", workplace.run, "--num", 1, "--steps", 1)
    assert done.code == 0, done.stderr
    assert done.stdout == ""
    assert f"samples/{RUN}/cfg4-steps1-seed0/grid.png" in done.stderr
    assert (tmp_path / "samples" / RUN / "cfg4-steps1-seed0" / "grid.png").is_file()


def test_image_k_is_image_0_of_a_later_seed_with_the_classes_left_to_the_model(
    workplace: Workplace, tmp_path: Path
):
    common = ("sample", workplace.run, "--steps", 1)
    assert liquidgen(tmp_path, *common, "--num", 2, "--seed", 0, "--out", "many").code == 0
    assert liquidgen(tmp_path, *common, "--num", 1, "--seed", 1, "--out", "one").code == 0
    (one,) = (tmp_path / "one").glob("0*.png")
    assert one.read_bytes() == (tmp_path / "many" / one.name).read_bytes()
