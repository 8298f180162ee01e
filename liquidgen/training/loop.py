"""The training loop.

The step number is the whole position: the pictures of a step are a function of (seed, epoch), its noise of (seed, step,
rank). So a run that goes on from a checkpoint needs no replay and gives the losses of an unbroken one.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel

from liquidgen.backbones.layers import ZigzagScan1D
from liquidgen.backbones.liquidgen import LiquidGen
from liquidgen.errors import LiquidgenError
from liquidgen.latents import LatentCache
from liquidgen.model_folder import ModelFacts, holds_model, save_model
from liquidgen.objectives import drop_classes, rectified_flow_loss
from liquidgen.progress import progress
from liquidgen.sizes import build_backbone, read_size
from liquidgen.training.checkpoint import (
    load_newest,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from liquidgen.training.config import TrainConfig
from liquidgen.training.device import StopSignal, keep_freed_memory, make_accelerator
from liquidgen.training.position import batch_rows, step_seed
from liquidgen.training.run import MetricsFile, claim_run

MOST_BAD_STEPS = 20  # in a row


@dataclass(frozen=True)
class Step:
    """What one step gave; a row of metrics.jsonl. `skipped`: not finite, so nothing was learned from it."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    images_per_s: float
    skipped: bool


@dataclass(frozen=True)
class TrainResult:
    """How a run ended; `loss` is the mean of the last steps, at most 100; None when there was none to do."""

    run: Path
    step: int
    loss: float | None
    seconds: float
    parameters: int
    stopped: bool


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to hear of, on the main process.

    Attributes:
        on_step: called after every step.
        draw_samples: called every `sample_every` steps with the network holding its EMA weights.
    """

    on_step: Callable[[Step], None] = lambda step: None
    draw_samples: Callable[[LiquidGen, ModelFacts], None] = lambda backbone, facts: None


def train(config: TrainConfig, hooks: Hooks | None = None) -> TrainResult:
    """Train until `config.steps`, going on from the newest checkpoint in `config.out`.

    SIGINT and SIGTERM end it after the step in progress, with a checkpoint.

    Raises:
        LiquidgenError: the cache, the settings or the run in `config.out` do not fit, or the loss stays not finite.
    """
    hooks = hooks or Hooks()
    begun = time.monotonic()
    cache = LatentCache.open(config.data, verify=True)
    trainer = Trainer(config, cache)
    trainer.resume()
    metrics = MetricsFile(config.out / "metrics.jsonl", trainer.steps_done, trainer.is_main)
    losses: list[float] = []
    shown = progress("training", config.steps, trainer.steps_done, trainer.is_main)
    with metrics, StopSignal(trainer.accelerator) as stop, shown as advance:
        while trainer.steps_done < config.steps and not stop.asked():
            step = trainer.step()
            losses = [*losses[-99:], step.loss]
            metrics.write(step)
            advance(1, f"loss {sum(losses) / len(losses):.4f}")
            if not trainer.is_main:
                continue
            hooks.on_step(step)
            if due(step.step, config.save_every):
                trainer.save()
            if due(step.step, config.sample_every):
                with trainer.ema_weights():
                    hooks.draw_samples(trainer.backbone, trainer.facts())
        if trainer.is_main:
            trainer.save()
        trainer.accelerator.wait_for_everyone()
    return TrainResult(
        run=config.out,
        step=trainer.steps_done,
        loss=sum(losses) / len(losses) if losses else None,
        seconds=time.monotonic() - begun,
        parameters=sum(parameter.numel() for parameter in trainer.parameters),
        stopped=stop.received or trainer.steps_done < config.steps,
    )


class Trainer:
    """The network with its optimizer, schedule and average, at one step of a run."""

    def __init__(self, config: TrainConfig, cache: LatentCache) -> None:
        check_fits(config, cache)
        self.config, self.cache = config, cache
        self.accelerator = make_accelerator(config.device, config.precision)
        self.is_main = self.accelerator.is_main_process
        if self.accelerator.device.type == "cpu":
            keep_freed_memory()
        if self.is_main:
            claim_run(config, cache)
        self.accelerator.wait_for_everyone()

        torch.manual_seed(config.seed)
        channels, height, _ = cache.shape
        self.classes = cache.manifest.classes
        self.backbone = build_backbone(config.size, height, channels, len(self.classes))
        self.names = [name for name, _ in self.backbone.named_parameters()]
        self.parameters = list(self.backbone.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.model = self.accelerator.prepare(self.backbone)
        self.prepared_optimizer = self.accelerator.prepare(self.optimizer)
        self.schedule = get_scheduler(
            "cosine" if config.lr_schedule == "cosine" else "constant_with_warmup",
            self.optimizer,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=config.steps,
        )
        # power 3/4: "for models you plan to train for less" (crowsonkb's notes in EMAModel): 0.994 at step 1,000.
        self.ema = EMAModel(
            self.parameters, decay=config.ema, use_ema_warmup=True, power=3 / 4, foreach=True
        )
        self.mean, self.std = (
            torch.tensor(values, device=self.accelerator.device)[:, None, None]
            for values in (cache.manifest.mean, cache.manifest.std)
        )
        self.steps_done = self.saved_step = 0
        self.bad_steps = 0

    def resume(self) -> None:
        """Take up the newest whole checkpoint, when there is one."""
        found = load_newest(self.config.out / "checkpoints")
        if found is None:
            return
        state, tensors = found
        self.steps_done = self.saved_step = state["step"]
        self.backbone.load_state_dict(tensors["weights"])
        for name, shadow in zip(self.names, self.ema.shadow_params, strict=True):
            shadow.copy_(tensors["ema"][name])
        self.ema.optimization_step = state["step"]
        restore_optimizer(
            self.optimizer, dict(self.backbone.named_parameters()), tensors["optimizer"]
        )
        # The rate of the step to come, by the schedule of now: `steps` may have changed.
        rate = self.config.lr * self.schedule.lr_lambdas[0](state["step"])
        self.schedule.load_state_dict({**state["schedule"], "_last_lr": [rate]})
        self.optimizer.param_groups[0]["lr"] = rate
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def step(self) -> Step:
        """One step of the optimizer."""
        config, accelerator = self.config, self.accelerator
        begun = time.monotonic()
        rank, ranks = accelerator.process_index, accelerator.num_processes
        rows = batch_rows(
            self.steps_done, config.batch_size, len(self.cache), config.seed, rank, ranks
        )
        generator = torch.Generator(accelerator.device)
        generator.manual_seed(step_seed(config.seed, self.steps_done, rank))
        latents, labels = (batch.to(accelerator.device) for batch in self.cache.batch(rows))
        labels = drop_classes(labels, config.cfg_dropout, len(self.classes), generator)
        x0 = (latents - self.mean) / self.std

        with accelerator.autocast():
            loss = rectified_flow_loss(self.model, x0, labels, generator)
        accelerator.backward(loss)
        grad_norm = float(accelerator.clip_grad_norm_(self.parameters, config.max_grad_norm))  # type: ignore[arg-type]
        mean_loss = float(accelerator.reduce(loss.detach(), "mean"))  # type: ignore[arg-type]
        skipped = not (math.isfinite(mean_loss) and math.isfinite(grad_norm))
        if skipped and accelerator.scaler is None:  # a scaler skips by itself
            self.optimizer.zero_grad()
        self.prepared_optimizer.step()
        self.prepared_optimizer.zero_grad()

        lr = float(self.schedule.get_last_lr()[0])
        self.schedule.step()
        self.ema.step(self.parameters)
        self.steps_done += 1
        self._count_bad(skipped)
        speed = config.batch_size * ranks / (time.monotonic() - begun)
        return Step(self.steps_done, mean_loss, lr, grad_norm, speed, skipped)

    def save(self) -> None:
        """Write a checkpoint and the model, each unless that of this step is written."""
        if self.saved_step != self.steps_done:
            self._save_checkpoint()
            self.saved_step = self.steps_done
        model = self.config.out / "model"
        if not holds_model(model, self.steps_done):  # a kill may have come between the two
            with self.ema_weights():
                save_model(model, self.backbone, self.facts())

    def _save_checkpoint(self) -> None:
        tensors = {
            "weights": self.backbone.state_dict(),
            "ema": dict(zip(self.names, self.ema.shadow_params, strict=True)),
            "optimizer": optimizer_tensors(self.optimizer, dict(self.backbone.named_parameters())),
        }
        scaler = self.accelerator.scaler
        state = {
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        folder = self.config.out / "checkpoints"
        save_checkpoint(folder, self.steps_done, tensors, state, self.config.keep)

    @contextmanager
    def ema_weights(self) -> Iterator[None]:
        """The network holds its averaged weights while the block runs."""
        self.ema.store(self.parameters)
        self.ema.copy_to(self.parameters)
        self.backbone.eval()
        try:
            yield
        finally:
            self.backbone.train()
            self.ema.restore(self.parameters)

    def facts(self) -> ModelFacts:
        """What the model in its present state knows besides its weights."""
        manifest = self.cache.manifest
        return ModelFacts(
            steps=self.steps_done,
            image_size=manifest.image_size,
            latent_shape=self.cache.shape,
            classes=tuple(manifest.classes),
            latent_mean=tuple(manifest.mean),
            latent_std=tuple(manifest.std),
            vae=manifest.vae.name,
            vae_hash=manifest.vae.weights_hash,
        )

    def _count_bad(self, skipped: bool) -> None:
        self.bad_steps = self.bad_steps + 1 if skipped else 0
        if self.bad_steps >= MOST_BAD_STEPS:
            raise LiquidgenError(
                f"step {self.steps_done}: loss or gradient not finite {MOST_BAD_STEPS} times in a row",
                f"train anew with --lr below {self.config.lr:g} and another --out, or --precision fp32",
            )


def check_fits(config: TrainConfig, cache: LatentCache) -> None:
    """Check the settings against the cache.

    Raises:
        LiquidgenError: no such size, fewer pictures than a batch, or latents of an odd size or too large.
    """
    read_size(config.size)
    if config.batch_size > len(cache):
        raise LiquidgenError(
            f"--batch-size {config.batch_size}: the cache holds only {len(cache)} pictures",
            f"give --batch-size from 1 to {len(cache)}",
        )
    _, height, width = cache.shape
    if height % 2 or width % 2:
        raise LiquidgenError(
            f"{config.data}: latents of {height}x{width}; the network takes even sizes only",
            "make the cache again with an --image-size that is a multiple of twice the VAE's factor",
        )
    if max(height, width) // 2 > ZigzagScan1D.longest_line:
        raise LiquidgenError(
            f"{config.data}: latents of {height}x{width}; a side may have at most "
            f"{2 * ZigzagScan1D.longest_line}",
            "make the cache again with a smaller --image-size",
        )


def due(step: int, interval: int) -> bool:
    """Whether something done every `interval` steps is due; 0 is never."""
    return interval > 0 and step % interval == 0
