"""Pretraining: a decoder learns from scratch to predict the next token of the documents.

Source: Radford et al. (2019), Language Models are Unsupervised Multitask Learners; loop shape as in nanoGPT
(Karpathy, 2022).

    L = 1/N sum_t -ln p( x_{t+1} | x_1 .. x_t )        over N = batch_tokens positions per step

Chosen:   windows of `context` tokens at random places of the shard, drawn anew from (seed, step), so that a killed run
          goes on exactly; AdamW, linear warm-up, cosine; validation in bits per byte on fixed held-out windows.
Left out: EMA of the weights, Muon, packing with document masks, more than one device.
Try it:   genwerk run recipes/quickstart.yaml --no-serve
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor
from torch.optim import Optimizer

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import say
from genwerk.core.resident import kept_heap
from genwerk.core.workspace import Artifact, Step
from genwerk.data.shards import TokenDataset
from genwerk.models.decoder import Decoder
from genwerk.models.dial import derive
from genwerk.models.huggingface import save_decoder
from genwerk.training.device import Device, Precision, choose_device
from genwerk.training.gradients import Clipped, accumulate, check_finite, clip_gradients
from genwerk.training.optimiser import make_adamw, set_lr
from genwerk.training.plan import plan_steps
from genwerk.training.resume import Parameters, RunState
from genwerk.training.schedule import cosine_with_warmup
from genwerk.training.seeding import deterministic, generator, seed_step
from genwerk.training.validation import HeldOutWindows
from genwerk.training.watch import watch_run

__all__ = ["PretrainConfig", "pretrain"]

Batch = tuple[Tensor, Tensor]


class PretrainConfig(Config):
    """A small decoder from scratch; the defaults take about a minute on two cores."""

    depth: int = Field(4, ge=1, description="layers; width and heads follow from it")
    steps: int = Field(400, ge=1, description="optimiser steps; ignored when `minutes` is given")
    minutes: float | None = Field(None, gt=0, description="time to train for; turned into steps by timing a few")
    batch_tokens: int = Field(512, ge=1, description="tokens per step: small, because a short run needs many steps")
    context: int = Field(128, ge=2, description="tokens the network sees at once in training")
    accumulation: int = Field(1, ge=1, description="micro-batches per step: the same gradient in less memory")
    lr: float = Field(1.5e-3, gt=0, description="highest learning rate")
    warmup: int = Field(30, ge=0, description="steps until the highest learning rate")
    floor: float = Field(0.1, ge=0, le=1, description="part of the learning rate that is left at the end")
    weight_decay: float = Field(0.1, ge=0, description="pull of the matrices towards zero")
    betas: tuple[float, float] = Field((0.9, 0.95), description="memory of AdamW's two running means")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 lets all through")
    eval_every: int = Field(80, ge=1, description="steps between validations")
    eval_tokens: int = Field(8192, ge=0, description="held-out tokens per validation; 0 takes all")
    checkpoint_every: int = Field(80, ge=1, description="steps that a kill can cost at most")
    seed: int = Field(0, ge=0, description="initial weights and order of the data")
    precision: Precision = Field("auto", description="auto is float32 on a CPU and bfloat16 on CUDA")

    @model_validator(mode="after")
    def _fits(self) -> PretrainConfig:
        rows = self.batch_tokens // self.context
        if rows < self.accumulation:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} holds {rows} windows of context {self.context}, "
                f"but accumulation asks for {self.accumulation}"
            )
        return self


def pretrain(
    config: PretrainConfig, step: Step, tokens: Artifact, tokenizer: Artifact
) -> Mapping[str, float | int | str]:
    """Train a decoder on a tokens artifact and write it as a Hugging Face directory with `loss.jsonl`.

    Killed and started again it goes on from `step.scratch` and ends in the same files. Raises DataError when there
    are fewer tokens than one batch, TrainingError when the loss is no longer a number.
    """
    shards = Shards.open(tokens.path, config)
    device = choose_device(config.precision)
    shape, reasons = derive(config.depth, shards.vocab_size)
    for reason in reasons:
        say(f"{reason.name} = {reason.value}: {reason.why}", style="dim")
    with deterministic(device.where), kept_heap():
        seed_step(config.seed)
        model = Decoder(replace(shape, max_positions=max(shape.max_positions, config.context))).to(device.where).train()
        optimiser = make_adamw(model.parameters(), config.lr, config.weight_decay, config.betas)
        run = _Run(config, shards, model, device)
        plan = plan_steps(step.scratch, steps=config.steps, minutes=config.minutes, probe=run.probe)
        state = RunState(step.scratch, parameters=Parameters(model.parameters()), optimiser=optimiser)
        if state.step == 0 and shards.held_out:
            state.curve.add({"step": 0, "tokens": 0, "val_bits_per_byte": run.validate()})
        with watch_run("pretraining", step.events, total=plan.steps, done=state.step) as watch:
            while state.step < plan.steps:
                lr = config.lr * cosine_with_warmup(state.step, plan.steps, config.warmup, config.floor)
                with watch.step(run.batch_tokens):
                    loss, clipped = run.update(optimiser, state.step, lr)
                state.step, state.tokens = state.step + 1, state.tokens + run.batch_tokens
                row = {"step": state.step, "loss": loss, "lr": lr, "grad_norm": clipped.norm, "tokens": state.tokens}
                row |= {"clipped": True} if clipped.clipped else {}
                last = state.step == plan.steps
                value = {}
                if shards.held_out and (last or state.step % config.eval_every == 0):
                    value = {"val_bits_per_byte": run.validate()}
                state.curve.add(row | value)
                if last or state.step % config.checkpoint_every == 0:
                    state.save()
                watch.done(state.step, loss, **value)
    save_decoder(model, step.out, tokenizer.path)
    state.curve.finish(step.out / "loss.jsonl")
    write_json(step.out / "documents.json", _documents(tokens.path))
    return {**_results(state), "parameters": sum(p.numel() for p in model.parameters()), "precision": device.reason,
            "steps": plan.steps, "steps_reason": plan.reason,
            "seconds": round(watch.seconds, 2), "tokens_per_second": round(watch.tokens_per_second, 1)}  # fmt: skip


@dataclass(frozen=True)
class Shards:
    """The tokens of one artifact: what is trained on, and the windows that are validated on."""

    train: TokenDataset
    held_out: HeldOutWindows
    vocab_size: int

    @classmethod
    def open(cls, path: Path, config: PretrainConfig) -> Shards:
        """Raises DataError when there are fewer training tokens than one batch takes."""
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        train = TokenDataset(path / "train.bin")
        if len(train) < config.batch_tokens + 1:
            raise DataError(
                f"the documents give {len(train):,} tokens to train on, fewer than one batch of "
                f"{config.batch_tokens:,} and the token after it",
                where=str(path / "train.bin"),
                remedy="Add documents, or lower `batch_tokens`.",
            )
        sizes = np.load(path / "token_bytes.npy")
        windows = HeldOutWindows(TokenDataset(path / "heldout.bin").tokens, sizes, config.context, config.eval_tokens)
        if not windows:
            say("No document is held out: this run has a training loss but no validation.", style="yellow")
        return cls(train, windows, int(meta["vocab_size"]))


class _Run:
    """One step, one validation, one timing; the loop above says when."""

    def __init__(self, config: PretrainConfig, shards: Shards, model: Decoder, device: Device) -> None:
        self.config, self.shards, self.model, self.device = config, shards, model, device
        self.rows = config.batch_tokens // config.context
        self.batch_tokens = self.rows * config.context

    def micro_batches(self, step: int) -> Iterator[Batch]:
        """The batch of `step`, a pure function of (seed, step), cut into `accumulation` parts."""
        x, y = self.shards.train.sample_batch(self.rows, self.config.context, generator(self.config.seed, step))
        pairs = zip(*(np.array_split(part, self.config.accumulation) for part in (x, y)), strict=True)
        for inputs, targets in pairs:
            yield (
                torch.from_numpy(inputs.copy()).to(self.device.where),
                torch.from_numpy(targets.copy()).to(self.device.where),
            )

    def loss(self, batch: Batch) -> Tensor:
        """Summed over the tokens of a micro-batch, in nats."""
        inputs, targets = batch  # (B, T) each
        with self.device.context():
            logits = self.model(inputs)  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")

    def update(self, optimiser: Optimizer, step: int, lr: float) -> tuple[float, Clipped]:
        """One optimiser step; returns the loss before it and the gradient's norm."""
        seed_step(self.config.seed, step)
        set_lr(optimiser, lr)
        loss = accumulate(list(self.micro_batches(step)), self.loss, self.batch_tokens)
        clipped = clip_gradients(self.model.parameters(), self.config.clip)
        check_finite(step + 1, loss, clipped.norm, lr)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss, clipped

    def validate(self) -> float:
        """Bits per byte on the held-out windows."""
        self.model.eval()
        with self.device.context():
            value = self.shards.held_out.bits_per_byte(self.model).value
        self.model.train()
        return value

    def probe(self) -> float:
        """Seconds of one step with its share of a validation.

        Timed with learning rate 0 on an optimiser of its own, so that no weight moves.
        """
        optimiser = make_adamw(self.model.parameters(), 0.0)
        seconds = [_seconds(lambda: self.update(optimiser, 0, 0.0)) for _ in range(5)]
        validation = _seconds(self.validate) / self.config.eval_every if self.shards.held_out else 0.0
        return statistics.median(seconds[1:]) + validation


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _documents(tokens: Path) -> dict[str, list[dict[str, str]]]:
    splits = json.loads((tokens / "documents.json").read_text(encoding="utf-8"))
    return {"trained_on": splits["train"], "validated_on": splits["heldout"]}


def _results(state: RunState) -> dict[str, float]:
    losses = [row["loss"] for row in state.curve.rows if "loss" in row]
    values = [row["val_bits_per_byte"] for row in state.curve.rows if "val_bits_per_byte" in row]
    tail = losses[-20:]
    found = {"loss_first": losses[0], "loss_last_20": sum(tail) / len(tail), "tokens": state.tokens}
    return found | ({"bits_per_byte_before": values[0], "bits_per_byte": values[-1]} if values else {})
