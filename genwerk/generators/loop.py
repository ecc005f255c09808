"""The training loop of every family: each player in turn, then averages, a look for collapse, a checkpoint.

    for player in players:  for _ in range(player.every):  one step of its loss

Chosen:   averages of two widths are followed, and kept at eighths of the run, so that the width of what is used can be
          chosen when all is over (ema.py); where a family with two players collapses, the weights go back to the last
          good average, the learning rates are halved, and that is said; random numbers follow from (seed, step), so a
          killed run ends in the same bytes.
Left out: more than one device.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import AdamW

from genwerk.core.config import Config, Field
from genwerk.core.errors import TrainingError
from genwerk.core.progress import say
from genwerk.core.resident import kept_heap
from genwerk.core.workspace import Step
from genwerk.generators.ema import WIDTHS, Kept, PowerAverage, average_afterwards
from genwerk.generators.examples import Examples
from genwerk.generators.family import Ask, Batch, Family, Player, sample
from genwerk.generators.tripwire import Look, Tripwire
from genwerk.models.weights import read_tensors, write_tensors
from genwerk.training.device import Device, Precision, choose_device
from genwerk.training.gradients import check_finite, clip_gradients
from genwerk.training.muon import MuonWithAdamW
from genwerk.training.optimiser import make_adamw, set_lr
from genwerk.training.plan import plan_steps
from genwerk.training.resume import RunState
from genwerk.training.schedule import cosine_with_warmup
from genwerk.training.seeding import deterministic, generator, seed_step
from genwerk.training.watch import watch_run

__all__ = ["FitConfig", "Fitted", "fit"]

Mover = AdamW | MuonWithAdamW
_TIMES_BACK = 3
_LOOKED_AT = 500
_KEPT = 8


class FitConfig(Config):
    """How long, in which steps, and what is watched; the defaults take some minutes on two cores."""

    steps: int = Field(2000, ge=1, description="steps; ignored when `minutes` is given")
    minutes: float | None = Field(None, gt=0, description="time to train for; turned into steps by timing a few")
    batch: int = Field(64, ge=1, description="examples a player sees in a step")
    warmup: int = Field(100, ge=0, description="steps until the highest learning rate")
    floor: float = Field(0.05, ge=0, le=1, description="part of the learning rate that is left at the end")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 lets all through")
    average: float = Field(0.1, gt=0, lt=0.288, description="width of the average of weights, as a share of the run")
    eval_every: int = Field(250, ge=1, description="steps between losses on held-out examples")
    eval_examples: int = Field(256, ge=0, description="held-out examples in such a loss; 0: none")
    look_every: int = Field(250, ge=1, description="steps between looks for collapse")
    checkpoint_every: int = Field(100, ge=1, description="steps that a kill can cost at most")
    seed: int = Field(0, ge=0, description="initial weights, noise and order of the examples")
    precision: Precision = Field("auto", description="auto is float32 on a CPU and bfloat16 on CUDA")


@dataclass(frozen=True)
class Fitted:
    """What a run leaves beside the network: averages to choose from, and what is worth an entry."""

    kept: tuple[Kept, ...]
    metrics: Mapping[str, float | int | str]


def fit(family: Family, examples: Examples, config: FitConfig, step: Step) -> Fitted:
    """Train `family` on `examples`; the curve is left in `step.out`, and the network holds the average at the end.

    Raises TrainingError where a loss is no longer a number, or where it collapses again and again.
    """
    device = choose_device(config.precision)
    with deterministic(device.where), kept_heap():
        run = _Run(family, examples, config, device, step.scratch / "averages")
        plan = plan_steps(step.scratch, steps=config.steps, minutes=config.minutes, probe=run.probe)
        state = RunState(step.scratch, network=family.network, **run.parts())
        with watch_run("training", step.events, total=plan.steps, done=state.step, unit=examples.unit) as watch:
            while state.step < plan.steps:
                share = cosine_with_warmup(state.step, plan.steps, config.warmup, config.floor)
                with watch.step(config.batch * sum(player.every for player in run.players)):
                    row = run.update(state.step, share)
                state.step += 1
                last = state.step == plan.steps
                more: dict[str, float] = {}
                if run.held_out and (last or state.step % config.eval_every == 0):
                    more |= {"val_loss": run.validate()}
                if run.tripwire is not None and (last or state.step % config.look_every == 0):
                    more |= run.look(state.step)
                if last or state.step % max(1, plan.steps // _KEPT) == 0:
                    run.averages.keep()
                state.curve.add({"step": state.step, **row, **more})
                if last or state.step % config.checkpoint_every == 0:
                    state.save()
                watch.done(state.step, row["loss"], **more)
    kept = run.averages.kept()
    if kept:  # none where it went back at the very end: then the network holds the last good average
        family.network.load_state_dict(average_afterwards(kept, kept[-1].step, config.average))
    state.curve.finish(step.out / "loss.jsonl")
    metrics: dict[str, float | int | str]
    metrics = {"steps": plan.steps, "steps_reason": plan.reason, "precision": device.reason,
               "parameters": sum(p.numel() for p in family.network.parameters()),
               "times_back": run.back.times, f"{examples.unit}_per_second": round(watch.tokens_per_second, 1),
               "seconds": round(watch.seconds, 2), **_results(state.curve.rows)}  # fmt: skip
    return Fitted(kept, metrics)


class _Averages:
    """Followed in every step, and kept now and then, in files of their own: a checkpoint need not hold them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.begin()

    def begin(self) -> None:
        """Anew, from the next step on."""
        self.followed = [PowerAverage(width) for width in WIDTHS]
        self._names: list[str] = []

    def update(self, weights: Mapping[str, torch.Tensor]) -> None:
        for one in self.followed:
            one.update(weights)

    def keep(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for kept in (one.keep() for one in self.followed if one.mean):
            name = f"{kept.width:g}-{kept.step}.safetensors"
            write_tensors(self._folder / name, kept.mean)
            self._names += [name] if name not in self._names else []

    def kept(self) -> tuple[Kept, ...]:
        """All that was kept since the beginning, in order."""
        found = []
        for name in self._names:
            width, step = name.removesuffix(".safetensors").split("-")
            found.append(Kept(int(step), float(width), read_tensors(self._folder / name)))
        return tuple(found)

    def state_dict(self) -> dict[str, Any]:
        now = [{"step": one.step, "width": one.width, "mean": one.mean} for one in (it.keep() for it in self.followed)]
        return {"now": now, "names": self._names}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.followed = [PowerAverage(one["width"], Kept(**one)) for one in state_dict["now"]]
        self._names = list(state_dict["names"])


class _Back:
    """Where to go back to after a collapse, how often that was done, and what is left of the learning rates."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.good = {name: weight.clone() for name, weight in network.state_dict().items()}
        self.times = 0

    @property
    def share(self) -> float:
        return float(0.5**self.times)

    def state_dict(self) -> dict[str, Any]:
        return {"good": self.good, "times": self.times}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.good, self.times = dict(state_dict["good"]), int(state_dict["times"])


class _Run:
    """One step, one validation, one look; `fit` says when."""

    def __init__(self, family: Family, examples: Examples, config: FitConfig, device: Device, kept: Path) -> None:
        self.family, self.examples, self.config, self.device = family, examples, config, device
        family.network.to(device.where).train()
        self.players = list(family.players())
        self.optimisers = [self._optimiser(player) for player in self.players]
        self.averages, self.back = _Averages(kept), _Back(family.network)
        self.held_out = config.eval_examples > 0 and all(player.held_out for player in self.players)
        self.tripwire = self._tripwire() if len(self.players) > 1 else None

    def parts(self) -> dict[str, Any]:
        """What must survive a kill, beside the network."""
        named = {f"optimiser_{player.name}": one for player, one in zip(self.players, self.optimisers, strict=True)}
        return {**named, "averages": self.averages, "back": self.back} | (
            {"tripwire": self.tripwire} if self.tripwire is not None else {}
        )

    def update(self, step: int, share: float) -> dict[str, float]:
        """One step of every player; the losses, of which `loss` is the last one's."""
        row: dict[str, float] = {}
        for number, (player, optimiser) in enumerate(zip(self.players, self.optimisers, strict=True)):
            set_lr(optimiser, player.lr * share * self.back.share)
            for again in range(player.every):
                row |= self._move(player, optimiser, (self.config.seed, step, number, again))
        self.averages.update(self.family.network.state_dict())
        return {**row, "lr": self.players[-1].lr * share * self.back.share}

    def _move(self, player: Player, optimiser: Mover, at: tuple[int, int, int, int]) -> dict[str, float]:
        seed, step, number, again = at
        seed_step(*at)
        turn = step * player.every + again
        batch = self.examples.batch(self.config.batch, seed, number, turn=turn, device=self.device.where)
        for other in self.players:
            other.module.requires_grad_(other is player)
        with self.device.context():
            loss = player.loss(batch)
        loss.value.backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(player.module.parameters(), self.config.clip).norm
        value = float(loss.value.detach())
        check_finite(step + 1, value, norm, player.lr, lr_key="lr")
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        alone = len(self.players) == 1
        named = {"loss": value, "grad_norm": norm} if alone else {f"{player.name}_loss": value, "loss": value}
        return {**named, **loss.parts}

    @torch.no_grad()
    def validate(self) -> float:
        """The loss of held-out examples, the same noise each time."""
        self.family.network.eval()
        seed_step(self.config.seed, 1)
        losses, counts = list[float](), list[int]()
        for start in range(0, len(self._validated), self.config.batch):
            rows = self._validated[start : start + self.config.batch]
            batch = self.examples.batch_of(rows, self.device.where, held_out=True)
            with self.device.context():
                losses.append(float(self.players[0].loss(batch).value) * len(rows))
            counts.append(len(rows))
        self.family.network.train()
        return sum(losses) / sum(counts)

    @cached_property
    def _validated(self) -> list[int]:
        """Held-out rows by chance, in every run the same: the first ones may all be of one class."""
        found: list[int] = generator(0).permutation(self.examples.counts[1])[: self.config.eval_examples].tolist()
        return found

    def look(self, step: int) -> dict[str, float]:
        """Looks at what the average makes; goes back where it collapsed. Raises TrainingError after the third time."""
        assert self.tripwire is not None
        live = {name: weight.clone() for name, weight in self.family.network.state_dict().items()}
        mean = {name: weight.to(live[name]) for name, weight in self.averages.followed[0].mean.items()}
        self.family.network.load_state_dict(mean)
        seen = self.tripwire.look(self._made())
        if not seen.why:
            self.back.good = mean
            self.family.network.load_state_dict(live)
        else:
            self._go_back(step, seen)
        return {**seen.measures(), "times_back": self.back.times}

    def _go_back(self, step: int, seen: Look) -> None:
        self.back.times += 1
        if self.back.times > _TIMES_BACK:
            raise TrainingError(
                f"it collapsed {_TIMES_BACK + 1} times: {seen.why}",
                where=f"step {step}",
                remedy="Lower the learning rates, raise the penalty of the critic, or take more pictures.",
            )
        say(f"step {step}: {seen.why}; back to the last good average, learning rates halved", style="yellow")
        self.family.network.load_state_dict(self.back.good)
        self.averages.begin()
        for player, optimiser in zip(self.players, self.optimisers, strict=True):
            optimiser.load_state_dict(self._optimiser(player).state_dict())  # as if it began here

    def _made(self) -> NDArray[np.float32]:
        real = self._looked_at
        made: NDArray[np.float32] = sample(self.family, Ask(len(real.x), given=real.given)).cpu().numpy()
        return made

    @cached_property
    def _looked_at(self) -> Batch:
        """Real ones, with whose conditions samples are made that are held against them."""
        return self.examples.batch_of(self._rows(), self.device.where)

    def _rows(self) -> list[int]:
        learned = self.examples.counts[0]
        return sorted(generator(self.config.seed, 2).permutation(learned)[: min(_LOOKED_AT, learned)].tolist())

    def _tripwire(self) -> Tripwire:
        return Tripwire(self._looked_at.x.cpu().numpy(), self.examples.labels_of(self._rows()))

    def _optimiser(self, player: Player) -> Mover:
        player.module.requires_grad_()  # another player's turn may have left it without
        if player.optimiser == "muon":
            return MuonWithAdamW(player.module, player.lr, player.weight_decay, player.betas)
        return make_adamw(player.module.parameters(), player.lr, player.weight_decay, player.betas)

    def probe(self) -> float:
        """Seconds of one step with its share of what is done now and then; no weight moves."""
        before = {name: weight.clone() for name, weight in self.family.network.state_dict().items()}
        seconds = [_seconds(lambda: self.update(0, 0.0)) for _ in range(6)]
        share = _seconds(self.validate) / self.config.eval_every if self.held_out else 0.0
        share += _seconds(self._made) / self.config.look_every if self.tripwire is not None else 0.0
        self.family.network.load_state_dict(before)
        self.averages.begin()
        self.optimisers = [self._optimiser(player) for player in self.players]
        return statistics.median(seconds[1:]) + share


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _results(rows: Any) -> dict[str, float]:
    losses = [row["loss"] for row in rows]
    found = {"loss_first": losses[0], "loss_last_50": sum(losses[-50:]) / len(losses[-50:])}
    values = [row["val_loss"] for row in rows if "val_loss" in row]
    covered = [row["coverage"] for row in rows if "coverage" in row]
    return found | ({"val_loss": values[-1]} if values else {}) | ({"coverage": covered[-1]} if covered else {})
