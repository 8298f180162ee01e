"""Bad input: one line what is wrong, one line what to do, exit 1, and nothing left half-made."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import CACHE, PICTURES, STEPS, Workplace
from running import files_in, liquidgen, refuses

TINY = ("--vae", "tiny", "--image-size", "32")


def refuses_in(folder: Path, command: tuple[object, ...], *words: str) -> None:
    """Check that the command fails for people and changes nothing in `folder`."""
    before = files_in(folder)
    refuses(liquidgen(folder, *command, "--json"), *words)
    assert files_in(folder) == before


def test_cache_of_a_missing_folder(tmp_path: Path):
    refuses_in(tmp_path, ("cache", "./pictures", *TINY), "pictures")


def test_cache_of_an_empty_folder(tmp_path: Path):
    (tmp_path / "pictures").mkdir()
    refuses_in(tmp_path, ("cache", "pictures", *TINY), "no pictures in pictures")


def test_cache_of_an_unknown_preset_names_the_nearest(tmp_path: Path):
    refuses_in(tmp_path, ("cache", "cifar", *TINY), "cifar", "did you mean cifar10")


def test_cache_of_a_folder_whose_pictures_are_all_broken(tmp_path: Path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "empty.png").touch()
    (tmp_path / "pictures" / "text.jpg").write_text("no picture")
    refuses_in(tmp_path, ("cache", "pictures", *TINY), "none of the 2 pictures", "empty.png")


def test_cache_with_an_unknown_vae_names_the_nearest(tmp_path: Path):
    refuses_in(tmp_path, ("cache", "abstract", "--vae", "tinny"), "tinny", "did you mean tiny")


def test_train_without_any_cache(tmp_path: Path):
    refuses_in(tmp_path, ("train",), "no cache in cache/", "liquidgen cache")


def test_train_on_a_missing_cache(tmp_path: Path):
    refuses_in(tmp_path, ("train", "--data", "nowhere"), "no cache nowhere", "liquidgen cache")


def test_train_on_a_folder_that_is_no_cache(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    refuses_in(tmp_path, ("train", "--data", "folder"), "folder is no cache", "manifest.json")


def test_train_on_a_cache_without_shards(workplace: Workplace, tmp_path: Path):
    (tmp_path / "cache").mkdir()
    shutil.copy(workplace.cache / "manifest.json", tmp_path / "cache")
    command = ("train", "--size", "XS", "--data", "cache")
    refuses_in(tmp_path, command, "shard-00000.safetensors", "liquidgen cache abstract")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", "0"), ("--steps 0", "at least 1")),
        (("--lr", "-1"), ("--lr -1", "above 0 and at most 1")),
        (("--lr", "nan"), ("--lr nan", "above 0 and at most 1")),
        (("--lr", "inf"), ("--lr inf", "above 0 and at most 1")),
        (("--batch-size", "0"), ("--batch-size 0", "at least 1")),
        (("--batch-size", "65"), ("--batch-size 65", f"only {PICTURES}", f"1 to {PICTURES}")),
        (("--cfg-dropout", "2"), ("--cfg-dropout 2", "at least 0 and at most 1")),
        (("--ema", "1"), ("--ema 1", "at least 0 and below 1")),
        (("--keep", "0"), ("--keep 0", "at least 1")),
        (("--epochs", "0"), ("--epochs 0", "from 1")),
        (("--epochs", "1", "--steps", "1"), ("--epochs", "--steps")),
        (("--size", "XSS"), ("--size XSS", "did you mean XS")),
        (("--device", "tpu"), ("--device tpu", "cpu")),
        (("--precision", "fp8"), ("--precision fp8", "bf16")),
        (("--lr-schedule", "linear"), ("--lr-schedule linear", "cosine")),
    ],
    ids=lambda value: "".join(value) if value[0].startswith("--") else "",
)
def test_train_with_a_value_out_of_range(
    workplace: Workplace, options: tuple[str, ...], words: tuple[str, ...]
):
    command = ("train", "--size", "XS", "--out", "new", *options)
    refuses_in(workplace.folder, command, *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cfg", "nan"), ("--cfg nan", "from 0 to 100")),
        (("--cfg", "-1"), ("--cfg -1", "from 0 to 100")),
        (("--steps", "0"), ("--steps 0", "from 1 to")),
        (("--num", "0"), ("--num 0", "from 1 to")),
        (("--seed", "-1"), ("--seed -1", "from 0 to")),
        (("--device", "tpu"), ("--device tpu", "cpu")),
        (("--class", "999"), ("unknown class '999'", "waves")),
    ],
    ids=lambda value: "".join(value) if value[0].startswith("--") else "",
)
def test_sample_with_a_value_out_of_range(
    workplace: Workplace, options: tuple[str, ...], words: tuple[str, ...]
):
    refuses_in(workplace.folder, ("sample", *options), *words)


def test_sample_without_any_run(tmp_path: Path):
    refuses_in(tmp_path, ("sample",), "no run", "runs/", "liquidgen train")


def test_sample_of_a_missing_run(tmp_path: Path):
    refuses_in(tmp_path, ("sample", "runs/mine"), "there is no run runs/mine")


def test_sample_of_a_run_without_checkpoints(workplace: Workplace, tmp_path: Path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    shutil.copy(workplace.run / "config.json", run)
    refuses_in(tmp_path, ("sample", "runs/mine"), "runs/mine holds no checkpoint yet", "train")


def test_sample_of_a_model_without_its_weights(workplace: Workplace, tmp_path: Path):
    model = tmp_path / "runs" / "mine" / "model"
    model.mkdir(parents=True)
    for name in ("config.json", "liquidgen.json"):
        shutil.copy(workplace.run / "model" / name, model)
    refuses_in(tmp_path, ("sample",), "runs/mine/model", "damaged")


def newer(path: Path) -> None:
    """Make a JSON file look like one of a later version."""
    value = json.loads(path.read_text())
    assert value["format_version"] == 1
    path.write_text(json.dumps(value | {"format_version": 99}))


def test_a_run_of_a_newer_version_is_left_as_it_is(workplace: Workplace, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(workplace.run / "config.json", run)
    newer(run / "config.json")
    command = (*workplace.train, "--out", "run", "--steps", STEPS)
    refuses_in(tmp_path, command, "run/config.json", "format 99", "update liquidgen")


def test_a_checkpoint_of_a_newer_version_is_left_as_it_is(workplace: Workplace, tmp_path: Path):
    checkpoint = f"checkpoints/step-{STEPS:08d}"
    (tmp_path / "run" / checkpoint).mkdir(parents=True)
    for name in ("config.json", f"{checkpoint}/trainer.json"):
        shutil.copy(workplace.run / name, tmp_path / "run" / name)
    newer(tmp_path / "run" / checkpoint / "trainer.json")
    before = files_in(tmp_path)
    done = liquidgen(tmp_path, *workplace.train, "--out", "run", "--steps", STEPS)
    refuses(done, checkpoint, "format 99", "update liquidgen")
    assert files_in(tmp_path).keys() == before.keys()


def test_a_model_of_a_newer_version_is_left_as_it_is(workplace: Workplace, tmp_path: Path):
    shutil.copytree(workplace.run / "model", tmp_path / "model")
    newer(tmp_path / "model" / "liquidgen.json")
    refuses_in(tmp_path, ("sample", "model"), "liquidgen.json", "format 99", "update liquidgen")


def test_a_cache_of_a_newer_version_is_left_as_it_is(workplace: Workplace, tmp_path: Path):
    shutil.copytree(workplace.cache, tmp_path / "cache" / CACHE)
    newer(tmp_path / "cache" / CACHE / "manifest.json")
    refuses_in(tmp_path, ("train",), "manifest.json", "99", "update liquidgen")


@pytest.mark.parametrize(
    "command",
    [
        ("cache",),
        ("train", "--steps", "many"),
        ("train", "--stepps", "10"),
        ("sample", "--num", "1.5"),
        ("paint",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(tmp_path: Path, command: tuple[str, ...]):
    done = liquidgen(tmp_path, *command)
    assert done.code == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_presets_name_that_a_folder_bears_too_is_refused_as_ambiguous(tmp_path: Path):
    (tmp_path / "paintings").mkdir()
    done = liquidgen(tmp_path, "cache", "paintings", "--vae", "pixels")
    assert done.code == 1
    assert "./paintings" in done.stderr.splitlines()[-1]
