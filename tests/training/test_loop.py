"""Training goes on exactly where it stopped, without the VAE, and learns."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from liquidgen.errors import LiquidgenError
from liquidgen.latents import LatentCache
from liquidgen.model_folder import load_model
from liquidgen.training.config import TrainConfig, make_config
from liquidgen.training.loop import Hooks, Step, Trainer, train

ConfigMaker = Callable[..., TrainConfig]


@pytest.fixture
def config(cache: Path, tmp_path: Path) -> ConfigMaker:
    def make(run: str = "run", **values: Any) -> TrainConfig:
        settings = {"size": "XS", "steps": 8, "batch_size": 10, "lr": 1e-3, "warmup_steps": 4}
        settings |= {"device": "cpu", "save_every": 0, "sample_every": 0}
        return make_config(data=cache, out=tmp_path / run, **settings | values)

    return make


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


def stop_at(step: int) -> Hooks:
    """Hooks that end a run as a crash would, right after a step."""

    def crash(done: Step) -> None:
        if done.step == step:
            raise Crash

    return Hooks(on_step=crash)


class Crash(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("lr_schedule", ["constant", "cosine"])
def test_a_resumed_run_gives_the_losses_of_an_unbroken_one_bit_for_bit(
    config: ConfigMaker, lr_schedule: str
) -> None:
    whole = config("whole", lr_schedule=lr_schedule)
    train(whole)
    broken = config("broken", lr_schedule=lr_schedule, save_every=3)
    for step in (4, 7):
        with pytest.raises(Crash):
            train(broken, stop_at(step))
    train(broken)
    assert losses(broken.out) == losses(whole.out)
    weights = [
        load_model(run.out / "model", "cpu")[0].state_dict().values() for run in (whole, broken)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_finished_run_is_left_alone_and_more_steps_go_on(config: ConfigMaker) -> None:
    train(config())
    first = losses(config().out)
    seen: list[Step] = []
    result = train(config(), Hooks(on_step=seen.append))
    assert (result.step, seen) == (8, [])
    train(config(steps=10))
    assert losses(config().out)[:8] == first
    assert len(losses(config().out)) == 10


def test_the_vae_is_not_in_memory_while_training_steps_run(config: ConfigMaker) -> None:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    from liquidgen.vae import Vae

    def autoencoders() -> list[object]:
        kinds = (AutoencoderKL, AutoencoderTiny, Vae)
        return [thing for thing in gc.get_objects() if isinstance(thing, kinds)]

    before = {id(thing) for thing in autoencoders()}  # of other tests' fixtures
    found: list[object] = []

    def look(step: Step) -> None:
        found.extend(thing for thing in autoencoders() if id(thing) not in before)

    drawn: list[int] = []

    def draw(backbone: object, facts: Any) -> None:
        from liquidgen.generate import load_matching_vae

        load_matching_vae(facts, None, "cpu")
        drawn.append(facts.steps)

    train(config(sample_every=2), Hooks(on_step=look, draw_samples=draw))
    assert drawn == [2, 4, 6, 8]
    assert not found


def test_the_loss_falls(config: ConfigMaker) -> None:
    settings = config(steps=50, batch_size=32, lr=2e-3, warmup_steps=10)
    train(settings)
    curve = losses(settings.out)
    assert sum(curve[-10:]) < 0.75 * sum(curve[:10])


def test_the_average_is_warmed_up_so_that_a_short_run_is_not_ruined(config: ConfigMaker) -> None:
    settings = config(steps=40, lr=2e-3)
    trainer = Trainer(settings, LatentCache.open(settings.data))
    start = [parameter.detach().clone() for parameter in trainer.parameters]
    for _ in range(40):
        trainer.step()

    def distance(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
        return sum(float((a - b).square().sum()) for a, b in zip(one, other, strict=True)) ** 0.5

    now = [parameter.detach() for parameter in trainer.parameters]
    assert distance(trainer.ema.shadow_params, now) < 0.5 * distance(start, now)


def test_saving_swaps_the_average_in_and_out(config: ConfigMaker) -> None:
    settings = config()
    trainer = Trainer(settings, LatentCache.open(settings.data))
    for _ in range(3):
        trainer.step()
    before = [parameter.detach().clone() for parameter in trainer.parameters]
    trainer.save()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True))
    saved = load_model(settings.out / "model", "cpu")[0].parameters()
    assert all(torch.equal(a, b) for a, b in zip(saved, trainer.ema.shadow_params, strict=True))


def test_a_model_lost_to_a_kill_right_after_the_checkpoint_is_written_by_the_rerun(
    config: ConfigMaker,
) -> None:
    train(config(steps=2))
    weights = config().out / "model" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    for lost in (weights, weights.with_name("liquidgen.json")):
        lost.unlink()
        train(config(steps=2))
        assert weights.read_bytes() == before
        assert load_model(weights.parent, "cpu")[1].steps == 2


def test_steps_that_are_not_finite_are_skipped_counted_and_then_stop_the_run(
    config: ConfigMaker,
) -> None:
    settings = config(steps=100)
    trainer = Trainer(settings, LatentCache.open(settings.data))
    before = [parameter.detach().clone() for parameter in trainer.parameters]
    trainer.std = trainer.std * float("nan")
    step = trainer.step()
    assert step.skipped
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True))
    for _ in range(18):
        assert trainer.step().skipped
    with pytest.raises(LiquidgenError, match="20 times in a row"):
        trainer.step()


def test_a_run_of_other_settings_is_refused_with_both_values(config: ConfigMaker) -> None:
    train(config())
    with pytest.raises(LiquidgenError, match=r"lr: 0\.001 -> 0\.002"):
        train(config(lr=2e-3))
    with pytest.raises(LiquidgenError, match="size: XS -> S"):
        train(config(size="S"))


def test_a_run_on_another_cache_is_refused(config: ConfigMaker, tmp_path: Path) -> None:
    from liquidgen.encode import encode_source
    from liquidgen.sources import open_source
    from liquidgen.vae import load_vae

    train(config(steps=1))
    other = tmp_path / "other"
    pictures = open_source("abstract", image_size=16, max_images=16)
    encode_source(pictures, load_vae("pixels"), other, image_size=16, dtype="fp32")
    with pytest.raises(LiquidgenError, match="cache: "):
        train(config(steps=1).model_copy(update={"data": other}))


def test_a_run_on_a_cache_whose_pictures_changed_is_refused(
    config: ConfigMaker, tmp_path: Path
) -> None:
    from liquidgen.encode import encode_source
    from liquidgen.sources import open_source
    from liquidgen.vae import load_vae

    for pictures in (16, 24):
        source = open_source("abstract", image_size=16, max_images=pictures)
        encode_source(source, load_vae("pixels"), tmp_path / "grown", image_size=16)
        settings = config(steps=1).model_copy(update={"data": tmp_path / "grown"})
        if pictures == 16:
            train(settings)
    with pytest.raises(LiquidgenError, match=r"16 pictures -> .* 24"):
        train(settings)


def test_a_truncated_model_is_refused_and_written_anew_by_the_rerun(config: ConfigMaker) -> None:
    train(config(steps=2))
    weights = config().out / "model" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-10])
    with pytest.raises(LiquidgenError, match="not what was saved"):
        load_model(weights.parent, "cpu")
    train(config(steps=2))
    assert weights.read_bytes() == before


def test_more_steps_of_a_cosine_go_on_along_the_longer_cosine(config: ConfigMaker) -> None:
    train(config(lr_schedule="cosine", steps=6, warmup_steps=2))
    train(config(lr_schedule="cosine", steps=12, warmup_steps=2))
    train(config("whole", lr_schedule="cosine", steps=12, warmup_steps=2))

    def rates(run: Path) -> list[float]:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["lr"] for line in lines]

    assert rates(config().out)[6:] == rates(config("whole").out)[6:]


def test_a_batch_larger_than_the_cache_is_refused(config: ConfigMaker) -> None:
    with pytest.raises(LiquidgenError, match="--batch-size 49"):
        train(config(batch_size=49))


@pytest.mark.parametrize(
    ("option", "value"),
    [("steps", 0), ("lr", float("nan")), ("lr", -1.0), ("ema", 1.0), ("cfg_dropout", 1.5)],
)
def test_a_setting_out_of_range_is_named(config: ConfigMaker, option: str, value: float) -> None:
    with pytest.raises(LiquidgenError, match="--" + option.replace("_", "-")):
        config(**{option: value})
