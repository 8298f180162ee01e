"""`liquidgen train`: what it leaves, and that it goes on where it stopped, however it stopped."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from conftest import PICTURES, RUN, STEPS, Workplace
from PIL import Image
from running import count_rows, files_in, interrupt, liquidgen, read_metrics, refuses
from safetensors.torch import load_file

# What a row says that does not depend on the speed of the machine.
REPEATABLE = ("step", "loss", "lr", "grad_norm", "skipped")


def repeatable(run: Path) -> list[list[float]]:
    return [[row[name] for name in REPEATABLE] for row in read_metrics(run)]


def test_the_summary_is_one_json_object_and_the_words_are_on_stderr(workplace: Workplace):
    summary = workplace.trained.summary
    assert summary["run"] == f"runs/{RUN}"
    assert summary["step"] == STEPS
    weights = load_file(workplace.run / "model" / "diffusion_pytorch_model.safetensors")
    assert summary["parameters"] == sum(tensor.numel() for tensor in weights.values())
    assert summary["seconds"] > 0
    assert summary["loss"] > 0
    assert f"{STEPS} steps done" in workplace.trained.stderr
    assert f"training: {STEPS}/{STEPS}" in workplace.trained.stderr


def test_the_run_holds_its_settings(workplace: Workplace):
    settings = json.loads((workplace.run / "config.json").read_text())
    assert settings["format_version"] == 1
    assert (settings["size"], settings["steps"], settings["batch_size"]) == ("XS", STEPS, 8)
    assert settings["cache_count"] == workplace.cached.summary["count"]


def test_the_metrics_have_a_row_for_each_step(workplace: Workplace):
    rows = read_metrics(workplace.run)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert set(rows[0]) == {*REPEATABLE, "images_per_s"}
    assert rows[0]["lr"] < rows[-1]["lr"] == 2e-3
    assert not any(row["skipped"] for row in rows)


def test_the_loss_falls(workplace: Workplace):
    losses = [row["loss"] for row in read_metrics(workplace.run)]
    assert sum(losses[-8:]) < sum(losses[:8])


def test_there_is_a_sample_grid_at_the_interval(workplace: Workplace):
    grids = list((workplace.run / "samples").iterdir())
    assert [grid.name for grid in grids] == ["step-00000020.png"]
    with Image.open(grids[0]) as grid:
        assert grid.width > 8 * 32
        assert grid.height > 4 * 32


def test_there_are_the_newest_checkpoints_and_the_model(workplace: Workplace):
    checkpoints = sorted(path.name for path in (workplace.run / "checkpoints").iterdir())
    assert checkpoints == ["step-00000020", f"step-000000{STEPS}"]
    assert {path.name for path in (workplace.run / "model").iterdir()} == {
        "config.json", "diffusion_pytorch_model.safetensors", "liquidgen.json",
    }  # fmt: skip
    facts = json.loads((workplace.run / "model" / "liquidgen.json").read_text())
    assert facts["steps"] == STEPS
    assert facts["vae"] == "tiny"
    assert facts["classes"] == workplace.cached.summary["classes"]


def test_the_same_command_again_does_nothing_more(workplace: Workplace):
    before = files_in(workplace.run)
    again = liquidgen(
        workplace.folder, *workplace.train, "--steps", STEPS, "--save-every", 10, "--sample-every",
        20, "--json",
    )  # fmt: skip
    assert again.code == 0, again.stderr
    assert again.summary["step"] == STEPS
    assert again.summary["loss"] is None
    after = files_in(workplace.run)
    assert after.keys() == before.keys()
    assert after["metrics.jsonl"] == before["metrics.jsonl"]
    assert after["model/liquidgen.json"] == before["model/liquidgen.json"]


def test_other_settings_are_refused_with_both_values(workplace: Workplace):
    before = files_in(workplace.run)
    other = ("train", "--size", "XS", "--batch-size", 16, "--lr", 0.001, "--device", "cpu")
    done = liquidgen(workplace.folder, *other)
    refuses(done, RUN, "batch_size: 8 -> 16", "lr: 0.002 -> 0.001", "--out")
    assert files_in(workplace.run) == before


@pytest.fixture(scope="module")
def broken_off(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the shared settings, asked to stop, killed later, and then finished."""
    folder = tmp_path_factory.mktemp("broken-off")
    run = folder / "run"
    train = (*workplace.train, "--out", "run", "--save-every", 5, "--sample-every", 0)

    code, words = interrupt(
        folder, signal.SIGTERM, lambda: count_rows(run) >= 2, *train, "--steps", 10_000
    )
    assert code == 130, words
    assert "Traceback" not in words
    assert "stopped" in words
    stopped_at = count_rows(run)
    assert 2 <= stopped_at < STEPS - 9
    assert (run / "checkpoints" / f"step-{stopped_at:08d}").is_dir()

    code, words = interrupt(
        folder, signal.SIGKILL, lambda: count_rows(run) >= stopped_at + 3, *train, "--steps", 10_000
    )
    assert code == -signal.SIGKILL, words
    assert stopped_at + 3 <= count_rows(run) < STEPS

    done = liquidgen(folder, *train, "--steps", STEPS)
    assert done.code == 0, done.stderr
    return run


def test_a_run_stopped_and_killed_has_the_losses_of_an_unbroken_one(
    workplace: Workplace, broken_off: Path
):
    assert repeatable(broken_off) == repeatable(workplace.run)


def test_a_run_stopped_and_killed_ends_in_the_model_of_an_unbroken_one(
    workplace: Workplace, broken_off: Path
):
    weights = "model/diffusion_pytorch_model.safetensors"
    assert (broken_off / weights).read_bytes() == (workplace.run / weights).read_bytes()


def test_no_half_written_files_stay_behind(broken_off: Path):
    assert list(broken_off.rglob("*.partial")) == []


def test_stopping_before_the_first_step_is_a_stop_too(workplace: Workplace, tmp_path: Path):
    config = tmp_path / "run" / "config.json"
    code, words = interrupt(
        tmp_path, signal.SIGTERM, config.exists, *workplace.train, "--out", "run", "--steps", 10_000
    )
    assert code == 130, words
    assert "Traceback" not in words


def test_epochs_are_passes_over_all_pictures_and_a_missing_vae_stops_no_training(
    workplace: Workplace, tmp_path: Path
):
    cache = tmp_path / "cache" / "moved"
    shutil.copytree(workplace.cache, cache)
    manifest = cache / "manifest.json"
    value = json.loads(manifest.read_text())
    value["settings"]["vae"]["name"] = "nobody/nothing"
    manifest.write_text(json.dumps(value))
    done = liquidgen(
        tmp_path, "train", "--size", "XS", "--batch-size", 32, "--epochs", 2, "--sample-every", 3,
        "--device", "cpu", "--json",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.summary["run"] == "runs/moved-liquidgen-XS"
    assert done.summary["step"] == 2 * PICTURES // 32
    assert "no sample grid at step 3" in done.stderr
    assert "nobody/nothing" in done.stderr
