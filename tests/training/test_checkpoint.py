"""A checkpoint is whole or absent; a damaged one is passed over."""

import json
import logging
from pathlib import Path

import pytest
import torch

from liquidgen.errors import LiquidgenError
from liquidgen.training.checkpoint import list_checkpoints, load_newest, save_checkpoint


def save(folder: Path, step: int, keep: int = 5) -> Path:
    tensors = {
        name: {"a.b": torch.full((3,), float(step))} for name in ("weights", "ema", "optimizer")
    }
    return save_checkpoint(folder, step, tensors, {"schedule": {"last_epoch": step}}, keep)


def test_the_newest_checkpoint_comes_back(tmp_path: Path) -> None:
    save(tmp_path, 2)
    save(tmp_path, 10)
    found = load_newest(tmp_path)
    assert found is not None
    state, tensors = found
    assert (state["step"], state["schedule"]) == (10, {"last_epoch": 10})
    assert tensors["ema"]["a.b"].tolist() == [10, 10, 10]


def test_no_checkpoints_are_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "absent") is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        save(tmp_path, step, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000005", "step-00000004"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted", "no json", "half json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    weights, state = newest / "weights.safetensors", newest / "trainer.json"
    content = bytearray(weights.read_bytes())
    if damage == "truncated":
        weights.write_bytes(content[:-5])
    elif damage == "flipped":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "deleted":
        weights.unlink()
    elif damage == "no json":
        state.unlink()
    else:
        state.write_text(state.read_text()[:20])
    logging.getLogger("liquidgen").propagate = True
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0]["step"] == 1
    assert str(newest) in caplog.text


def test_a_damaged_later_checkpoint_does_not_push_a_good_one_out(tmp_path: Path) -> None:
    save(tmp_path, 2)
    (save(tmp_path, 4) / "trainer.json").unlink()
    save(tmp_path, 3, keep=1)
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0]["step"] == 3


def test_when_all_are_damaged_the_run_does_not_start_over_silently(tmp_path: Path) -> None:
    (save(tmp_path, 1) / "trainer.json").unlink()
    with pytest.raises(LiquidgenError, match="every checkpoint is damaged"):
        load_newest(tmp_path)


def test_what_a_kill_left_half_written_is_swept_away(tmp_path: Path) -> None:
    orphan = tmp_path / ".step-00000003.partial"
    orphan.mkdir()
    (orphan / "weights.safetensors").write_bytes(b"half")
    assert load_newest(tmp_path) is None
    save(tmp_path, 4)
    assert not orphan.exists()


def test_a_checkpoint_of_a_newer_format_is_refused_and_kept(tmp_path: Path) -> None:
    state = save(tmp_path, 1) / "trainer.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"format_version": 99}))
    with pytest.raises(LiquidgenError, match="newer"):
        load_newest(tmp_path)
    assert state.exists()
