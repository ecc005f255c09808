"""An embedder learns a collection's own questions: each query's vector is drawn to the passage that answers it.

Sources: van den Oord, Li and Vinyals (2018), Representation learning with contrastive predictive coding, eq. 4
(InfoNCE); Karpukhin et al. (2020), Dense passage retrieval, section 3.2 (in-batch negatives with one hard one).

    L = -1/B sum_i ln( exp(q_i · p_i / τ) / sum_{j not the same as i} exp(q_i · p_j / τ) )

q_i, p_j   vectors of length 1 of the B queries, and of all passages of the batch: answers, then hard negatives
τ          temperature

Chosen:   all weights are tuned, at a low learning rate; a passage with the text of the query's own answer, or one that
          answers the query in another list, is never a negative of it. The result is another embedder: an index must
          be built with it anew.
Left out: larger batches by caching gradients, learning τ. A text longer than the encoder's window is learned by its
          beginning, and how many there are is said; the embedder reads all of it.
Try it:   python benchmarks/boolq.py --quick --adapt
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import say
from genwerk.core.resident import kept_heap
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.ranking_lists import RankingList, RankingLists, join_lists, load_lists
from genwerk.models.encoder import Encoder, load_encoder, save_encoder
from genwerk.tokenizers.tokenizer import read_tokenizer
from genwerk.training.device import Device, Precision, choose_device
from genwerk.training.gradients import Clipped, accumulate, check_finite, clip_gradients
from genwerk.training.optimiser import make_adamw, set_lr
from genwerk.training.plan import plan_steps
from genwerk.training.resume import Parameters, RunState
from genwerk.training.schedule import cosine_with_warmup
from genwerk.training.seeding import deterministic, generator, seed_step
from genwerk.training.watch import watch_run

__all__ = ["AdaptConfig", "adapt_embedder", "info_nce"]


class AdaptConfig(Config):
    """An encoder tuned on questions about its collection; the defaults take about half an hour on two cores."""

    hard: int = Field(1, ge=0, description="mined passages a query brings into the batch beside its answer")
    temperature: float = Field(0.05, gt=0, description="the lower, the more the likeliest wrong passages weigh")
    steps: int = Field(300, ge=1, description="optimiser steps; ignored when `minutes` is given")
    minutes: float | None = Field(None, gt=0, description="time to tune for; turned into steps by timing a few")
    batch: int = Field(32, ge=2, description="queries per step: each learns against the passages of all")
    lr: float = Field(2e-5, gt=0, description="highest learning rate")
    warmup: int = Field(20, ge=0, description="steps until the highest learning rate")
    floor: float = Field(0.05, ge=0, le=1, description="part of the learning rate that is left at the end")
    weight_decay: float = Field(0.01, ge=0, description="pull of the matrices towards zero")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 lets all through")
    eval_lists: int = Field(128, ge=0, description="development queries on which the loss is taken before and after")
    checkpoint_every: int = Field(50, ge=1, description="steps that a kill can cost at most")
    seed: int = Field(0, ge=0, description="order and draws of negatives")
    precision: Precision = Field("auto", description="auto is float32 on a CPU and bfloat16 on CUDA")


def adapt_embedder(
    config: AdaptConfig, step: Step, encoder: Source | Artifact, *lists: Artifact
) -> Mapping[str, float | int | str]:
    """Tune the encoder on ranking lists.

    Writes a Hugging Face directory with `loss.jsonl` and `documents.json`. Killed and started again it goes on from
    `step.scratch` and ends in the same files. Raises DataError when there is no list to learn from, TrainingError when
    the loss is no longer a number.
    """
    device = choose_device(config.precision)
    found = join_lists([load_lists(artifact.path) for artifact in lists])
    with deterministic(device.where), kept_heap():
        model = load_encoder(encoder.path, trainable=True).to(device.where)
        run = _Run(config, Texts.make(found, config, encoder.path, model.config.max_tokens), model, device)
        optimiser = make_adamw(model.parameters(), config.lr, config.weight_decay)
        plan = plan_steps(step.scratch, steps=config.steps, minutes=config.minutes, probe=run.probe)
        state = RunState(step.scratch, parameters=Parameters(model.parameters()), optimiser=optimiser)
        if state.step == 0 and run.texts.held_out:
            state.curve.add({"step": 0, "tokens": 0, "val_loss": run.validate()})
        with watch_run("adapting the embedder", step.events, total=plan.steps, done=state.step) as watch:
            while state.step < plan.steps:
                lr = config.lr * cosine_with_warmup(state.step, plan.steps, config.warmup, config.floor)
                batch = run.batch(state.step)
                with watch.step(len(batch)):
                    loss, clipped = run.update(optimiser, state.step, batch, lr)
                state.step, state.tokens = state.step + 1, state.tokens + len(batch)
                row = {"step": state.step, "loss": loss, "lr": lr, "grad_norm": clipped.norm, "tokens": state.tokens}
                row |= {"clipped": True} if clipped.clipped else {}
                last = state.step == plan.steps
                value = {"val_loss": run.validate()} if last and run.texts.held_out else {}
                state.curve.add(row | value)
                if last or state.step % config.checkpoint_every == 0:
                    state.save()
                watch.done(state.step, loss, **value)
    save_encoder(model, step.out, encoder.path)
    state.curve.finish(step.out / "loss.jsonl")
    write_json(step.out / "documents.json", run.documents(found, plan.steps))
    return {**_results(state), **run.texts.counts, "parameters": sum(p.numel() for p in model.parameters()),
            "precision": device.reason, "steps": plan.steps, "steps_reason": plan.reason,
            "seconds": round(watch.seconds, 2), "tokens_per_second": round(watch.tokens_per_second, 1)}  # fmt: skip


def info_nce(queries: Tensor, passages: Tensor, temperature: float, same: Tensor | None = None) -> Tensor:
    """Mean over queries (B, D) of -ln softmax at their own passage; passage i of (P, D) with P >= B answers query i.

    same   (B, P) true where a passage is not to be taken for a wrong one, beside the query's own
    """
    logits = queries @ passages.t() / temperature  # (B, P)
    if same is not None:
        own = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(same & ~own, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(queries), device=logits.device))


@dataclass(frozen=True, slots=True)
class Batch:
    """Token sequences of B queries, of their B answers and hard negatives, and which pairs are no negatives (B, P)."""

    queries: Sequence[Sequence[int]]
    passages: Sequence[Sequence[int]]
    same: Tensor

    def __len__(self) -> int:
        return sum(map(len, self.queries)) + sum(map(len, self.passages))


@dataclass(frozen=True)
class Texts:
    """Passages as tokens, lists to learn from and to measure on. `counts` says what was left out or cut.

    answers   query → numbers of all passages that answer it in any list, and of those with the same text
    """

    passages: Sequence[Sequence[int]]
    train: Sequence[RankingList]
    held_out: Sequence[RankingList]
    answers: Mapping[str, frozenset[int]]
    tokenizer: tokenizers.Tokenizer
    counts: Mapping[str, int]

    @classmethod
    def make(cls, found: RankingLists, config: AdaptConfig, encoder: Path, window: int) -> Texts:
        """Raises DataError when there are fewer than two lists to learn from."""
        tokenizer = read_tokenizer(encoder)
        train = found.of("train")
        if len(train) < 2:
            remedy = "Give more documents with titled sections or whole sentences."
            raise DataError(f"{len(train)} lists are too few: a query learns against others' answers", remedy=remedy)
        cut = sum(len(text.ids) > window for text in tokenizer.encode_batch_fast(list(found.passages)))
        if cut:
            say(f"{cut} of {len(found.passages)} passages are longer than {window} tokens; their beginning is learned.")
        tokenizer.enable_truncation(window)
        passages = [text.ids for text in tokenizer.encode_batch_fast(list(found.passages))]
        alike: dict[str, list[int]] = defaultdict(list)
        for number, text in enumerate(found.passages):
            alike[text].append(number)
        answers: dict[str, set[int]] = defaultdict(set)
        for one in found.lists:
            answers[one.query].update(alike[found.passages[one.positive]])
        frozen = {query: frozenset(numbers) for query, numbers in answers.items()}
        counts = {"lists": len(train), "passages_cut": cut}
        return cls(passages, train, found.of("dev")[: config.eval_lists], frozen, tokenizer, counts)

    def batch(self, lists: Sequence[RankingList], hard: Sequence[Sequence[int]]) -> Batch:
        """`hard` are the numbers of each list's passages that come in beside its answer."""
        queries = [text.ids for text in self.tokenizer.encode_batch_fast([one.query for one in lists])]
        numbers = [one.positive for one in lists] + [number for some in hard for number in some]
        same = torch.tensor([[number in self.answers[one.query] for number in numbers] for one in lists])
        return Batch(queries, [self.passages[number] for number in numbers], same)


class _Run:
    """One step, one validation, one timing; the loop above says when."""

    def __init__(self, config: AdaptConfig, texts: Texts, model: Encoder, device: Device) -> None:
        self.config, self.texts, self.model, self.device = config, texts, model, device
        self._per_epoch = max(1, len(texts.train) // config.batch)

    def _places(self, step: int) -> list[int]:
        """Which lists `step` takes: a new order in each epoch, of which an incomplete last batch is left over."""
        epoch, place = divmod(step, self._per_epoch)
        order = generator(self.config.seed, epoch).permutation(len(self.texts.train))
        return [int(index) for index in order[place * self.config.batch : (place + 1) * self.config.batch]]

    def batch(self, step: int) -> Batch:
        """The texts of `step`."""
        lists, draw = [self.texts.train[index] for index in self._places(step)], generator(self.config.seed, step, 1)
        return self.texts.batch(
            lists, [self._hard(one, draw.permutation(len(one.negatives)).tolist()) for one in lists]
        )

    def _hard(self, one: RankingList, order: Sequence[int]) -> list[int]:
        return [one.negatives[place] for place in order[: self.config.hard]]

    def vectors(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """(N, D) of length 1; sequences of one length are computed side by side."""
        order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        tokens = torch.tensor([token for place in order for token in sequences[place]])
        lengths = [len(sequences[place]) for place in order]
        with self.device.context():
            states = self.model(tokens.to(self.device.where), lengths)
        means = torch.stack([part.float().mean(0) for part in torch.split(states, lengths)])
        return F.normalize(means, dim=-1).index_select(0, back.to(means.device))

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the queries of a batch."""
        rows = self.vectors([*batch.queries, *batch.passages])
        queries, passages = rows[: len(batch.queries)], rows[len(batch.queries) :]
        return info_nce(queries, passages, self.config.temperature, batch.same.to(rows.device))

    def update(self, optimiser: Optimizer, step: int, batch: Batch, lr: float) -> tuple[float, Clipped]:
        """One optimiser step; returns the loss before it, and the gradient's norm."""
        seed_step(self.config.seed, step)
        set_lr(optimiser, lr)
        loss = accumulate([batch], self.loss, 1)
        clipped = clip_gradients(self.model.parameters(), self.config.clip)
        check_finite(step + 1, loss, clipped.norm, lr)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss, clipped

    @torch.no_grad()
    def validate(self) -> float:
        """Mean loss of development queries, batch by batch, without mined passages."""
        lists, size = self.texts.held_out, self.config.batch
        parts = [lists[start : start + size] for start in range(0, len(lists), size)]
        return statistics.fmean(float(self.loss(self.texts.batch(part, []))) for part in parts)

    def probe(self) -> float:
        """Seconds of a step, timed with learning rate 0 on an optimiser of its own, so that no weight moves."""
        optimiser = make_adamw(self.model.parameters(), 0.0)
        seconds = []
        for step in range(4):
            started = time.perf_counter()
            self.update(optimiser, step, self.batch(step), 0.0)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds[1:])

    def documents(self, found: RankingLists, steps: int) -> dict[str, list[Mapping[str, str]]]:
        """Whose passages were learned as answers, and on whose it was only measured."""
        learned = {self.texts.train[index].document_id for step in range(steps) for index in self._places(step)}
        measured = {one.document_id for one in self.texts.held_out}
        return {"trained_on": found.named(learned), "validated_on": found.named(measured)}


def _results(state: RunState) -> dict[str, float]:
    losses = [row["loss"] for row in state.curve.rows if "loss" in row]
    values = [row["val_loss"] for row in state.curve.rows if "val_loss" in row]
    tail = losses[-20:]
    found = {"loss_first": losses[0], "loss_last_20": sum(tail) / len(tail), "tokens": state.tokens}
    return found | ({"val_loss_before": values[0], "val_loss": values[-1]} if values else {})
