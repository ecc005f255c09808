"""A cross-encoder learns which of some passages answers a query: all weights of an encoder, and a new head.

Sources: Nogueira and Cho (2019), Passage re-ranking with BERT; Gao, Dai and Callan (2021), Rethink training of BERT
rerankers in multi-stage retrieval pipeline, eq. 2 (localised contrastive estimation); Hofstätter et al. (2020),
Improving efficient neural ranking models with cross-architecture knowledge distillation, eq. 3 (margin-MSE).

    L = -ln( exp s_0 / sum_i exp s_i )  +  w · mean_i ( (s_0 - s_i) - (t_0 - t_i) )²

s_i    log-odds of passage i of a list: 0 answers the query, the others were found in its place by the search
t_i    a teacher's log-odds of the same, where the list has them;  w  `teacher_weight`

Chosen:   the head reads the state of [CLS], as BERT's classifier does, so that every library loads the result;
          each step draws `negatives` anew from those of a list; pairs lie one behind the other without padding. The
          loss leaves the head's bias free: at the end it is set so that scores add up to the number of answers.
Left out: dropout, layer-wise learning rates. A pair longer than `max_tokens` is learned by its first window, and how
          many there are is said; the reranker reads all windows.
Try it:   python benchmarks/boolq.py --quick
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
from torch import Tensor
from torch.optim import Optimizer

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import say
from genwerk.core.resident import kept_heap
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.ranking_lists import RankingList, RankingLists, join_lists, load_lists
from genwerk.models.cross_encoder import CrossEncoder, new_cross_encoder, save_cross_encoder
from genwerk.tokenizers.tokenizer import read_tokenizer
from genwerk.training.device import Device, Precision, choose_device
from genwerk.training.gradients import Clipped, accumulate, check_finite, clip_gradients
from genwerk.training.optimiser import make_adamw, set_lr
from genwerk.training.order import LengthSortedOrder
from genwerk.training.plan import plan_steps
from genwerk.training.resume import Parameters, RunState
from genwerk.training.schedule import cosine_with_warmup
from genwerk.training.seeding import deterministic, generator, seed_step
from genwerk.training.watch import watch_run

__all__ = ["RerankerConfig", "listwise_loss", "margin_mse", "train_reranker"]


class RerankerConfig(Config):
    """A cross-encoder from an encoder's body; the defaults take about half an hour on two cores."""

    negatives: int = Field(7, ge=1, description="passages that do not answer, beside the one that does, in a list")
    teacher_weight: float = Field(0.05, ge=0, description="of a teacher's margins, where lists have its scores")
    steps: int = Field(500, ge=1, description="optimiser steps; ignored when `minutes` is given")
    minutes: float | None = Field(None, gt=0, description="time to train for; turned into steps by timing a few")
    batch: int = Field(8, ge=1, description="lists per step")
    micro_tokens: int = Field(
        6144, ge=1, description="tokens computed at once: memory, not the gradient, depends on it"
    )
    lr: float = Field(6e-5, gt=0, description="highest learning rate")
    warmup: int = Field(40, ge=0, description="steps until the highest learning rate")
    floor: float = Field(0.05, ge=0, le=1, description="part of the learning rate that is left at the end")
    weight_decay: float = Field(0.01, ge=0, description="pull of the matrices towards zero")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 lets all through")
    max_tokens: int = Field(256, ge=16, description="of query and passage that are learned from; what is cut is said")
    eval_lists: int = Field(64, ge=0, description="development lists on which the loss is taken before and after")
    checkpoint_every: int = Field(50, ge=1, description="steps that a kill can cost at most")
    seed: int = Field(0, ge=0, description="head, order and draws of negatives")
    precision: Precision = Field("auto", description="auto is float32 on a CPU and bfloat16 on CUDA")


def train_reranker(
    config: RerankerConfig, step: Step, encoder: Source | Artifact, *lists: Artifact
) -> Mapping[str, float | int | str]:
    """Train a cross-encoder on ranking lists, from the weights of `encoder`.

    Writes a Hugging Face directory with `loss.jsonl` and `documents.json`. Killed and started again it goes on from
    `step.scratch` and ends in the same files. Raises DataError when there is no list to learn from, TrainingError when
    the loss is no longer a number.
    """
    device = choose_device(config.precision)
    found = join_lists([load_lists(artifact.path) for artifact in lists])
    with deterministic(device.where), kept_heap():
        seed_step(config.seed)
        model = new_cross_encoder(encoder.path).to(device.where)
        run = _Run(config, Pairs.make(found, config, encoder.path), model, device)
        optimiser = make_adamw(model.parameters(), config.lr, config.weight_decay)
        plan = plan_steps(step.scratch, steps=config.steps, minutes=config.minutes, probe=run.probe)
        state = RunState(step.scratch, parameters=Parameters(model.parameters()), optimiser=optimiser)
        if state.step == 0 and run.pairs.held_out:
            state.curve.add({"step": 0, "tokens": 0, **run.validate().row})
        with watch_run("training the reranker", step.events, total=plan.steps, done=state.step) as watch:
            while state.step < plan.steps:
                lr = config.lr * cosine_with_warmup(state.step, plan.steps, config.warmup, config.floor)
                drawn = run.lists(state.step)
                size = sum(len(pair.tokens) for one in drawn for pair in one.pairs)
                with watch.step(size):
                    loss, clipped = run.update(optimiser, state.step, drawn, lr)
                state.step, state.tokens = state.step + 1, state.tokens + size
                row = {"step": state.step, "loss": loss, "lr": lr, "grad_norm": clipped.norm, "tokens": state.tokens}
                row |= {"clipped": True} if clipped.clipped else {}
                last = state.step == plan.steps
                value = run.validate(settle=True).row if last and run.pairs.held_out else {}
                state.curve.add(row | value)
                if last or state.step % config.checkpoint_every == 0:
                    state.save()
                watch.done(state.step, loss, **value)
    save_cross_encoder(model, step.out, encoder.path, window=config.max_tokens)
    state.curve.finish(step.out / "loss.jsonl")
    write_json(step.out / "documents.json", run.documents(found, plan.steps))
    return {**_results(state), **run.pairs.counts, "parameters": sum(p.numel() for p in model.parameters()),
            "precision": device.reason, "steps": plan.steps, "steps_reason": plan.reason,
            "seconds": round(watch.seconds, 2), "tokens_per_second": round(watch.tokens_per_second, 1)}  # fmt: skip


def listwise_loss(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """-ln of the softmax's share of each list's first passage, summed over lists; logits (N,), sizes add up to N."""
    return torch.stack([-part.log_softmax(0)[0] for part in torch.split(logits, list(sizes))]).sum()


def margin_mse(logits: Tensor, scores: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean over a list's others of (own margin - teacher's margin)², summed over lists; NaN scores: no teacher."""
    parts = zip(torch.split(logits, list(sizes)), torch.split(scores, list(sizes)), strict=True)
    each = [((s[0] - s[1:]) - (t[0] - t[1:])).square().mean() for s, t in parts if not t.isnan().any()]
    return torch.stack(each).sum() if each else logits.new_zeros(())


@dataclass(frozen=True, slots=True)
class Pair:
    """Query and passage as one sequence, and of which of the two each token is (0 or 1)."""

    tokens: Sequence[int]
    types: Sequence[int]


@dataclass(frozen=True, slots=True)
class ReadList:
    """The pairs of a list, the answer first, with a teacher's scores or NaN."""

    pairs: Sequence[Pair]
    scores: Sequence[float]

    def __len__(self) -> int:
        return sum(len(pair.tokens) for pair in self.pairs)


@dataclass(frozen=True)
class Pairs:
    """Lists to learn from and to measure on, with the tokenizer that reads them. `counts` says what was left out."""

    passages: Sequence[str]
    train: Sequence[RankingList]
    held_out: Sequence[RankingList]
    lengths: Sequence[int]
    tokenizer: tokenizers.Tokenizer
    counts: Mapping[str, int]

    @classmethod
    def make(cls, found: RankingLists, config: RerankerConfig, encoder: Path) -> Pairs:
        """Raises DataError when no list is left to learn from."""
        tokenizer = read_tokenizer(encoder)
        texts = tokenizer.encode_batch_fast(list(found.passages), add_special_tokens=False)
        sizes = [len(text.ids) for text in texts]
        asked = tokenizer.encode_batch_fast([one.query for one in found.lists], add_special_tokens=False)
        queries = {one.query: len(text.ids) for one, text in zip(found.lists, asked, strict=True)}
        special = tokenizer.num_special_tokens_to_add(True)
        usable = [one for one in found.of("train") if one.negatives and queries[one.query] <= config.max_tokens // 2]
        left_out = len(found.of("train")) - len(usable)
        if not usable:
            what = f"there is no list to learn from: {left_out} have no other passage, or too long a query"
            raise DataError(what, remedy="Give more documents, or raise `max_tokens`.")
        held_out = [one for one in found.of("dev") if one.negatives and queries[one.query] <= config.max_tokens // 2]
        whole = [
            [queries[one.query] + sizes[number] + special for number in (one.positive, *one.negatives)]
            for one in usable
        ]
        cut = sum(length > config.max_tokens for lengths in whole for length in lengths)
        if cut:
            of = sum(map(len, whole))
            say(f"{cut} of {of} pairs are longer than {config.max_tokens} tokens; their first window is learned.")
        lengths = [sum(min(length, config.max_tokens) for length in one) // len(one) for one in whole]
        tokenizer.enable_truncation(config.max_tokens, strategy="only_second")
        counts = {"lists": len(usable), "lists_left_out": left_out, "pairs_cut": cut}
        return cls(found.passages, usable, held_out[: config.eval_lists], lengths, tokenizer, counts)

    def read(self, one: RankingList, chosen: Sequence[int]) -> ReadList:
        """The answer of `one` and its negatives at the places `chosen`."""
        places = [0, *(place + 1 for place in chosen)]
        numbers = (one.positive, *one.negatives)
        found = self.tokenizer.encode_batch([(one.query, self.passages[numbers[place]]) for place in places])
        scores = [float("nan") if one.scores is None else one.scores[place] for place in places]
        return ReadList([Pair(pair.ids, pair.type_ids) for pair in found], scores)


@dataclass(frozen=True, slots=True)
class Held:
    """On development lists: the loss a list, and the share of lists whose answer stands first."""

    loss: float
    first: float

    @property
    def row(self) -> dict[str, float]:
        return {"val_loss": self.loss, "val_first": self.first}


class _Run:
    """One step, one validation, one timing; the loop above says when."""

    def __init__(self, config: RerankerConfig, pairs: Pairs, model: CrossEncoder, device: Device) -> None:
        self.config, self.pairs, self.model, self.device = config, pairs, model, device
        self._order = LengthSortedOrder(pairs.lengths, config.batch, config.seed)

    def lists(self, step: int) -> list[ReadList]:
        """The lists of `step`, each with negatives of its own draw."""
        return [self._drawn(self.pairs.train[index], step, index) for index in self._order.at(step)]

    def _drawn(self, one: RankingList, *keys: int) -> ReadList:
        count = min(self.config.negatives, len(one.negatives))
        return self.pairs.read(one, generator(self.config.seed, *keys).permutation(len(one.negatives))[:count].tolist())

    def logits(self, lists: Sequence[ReadList]) -> Tensor:
        """Log-odds (N,) of all pairs in their order; pairs of one length are computed side by side."""
        pairs = [pair for one in lists for pair in one.pairs]
        order = sorted(range(len(pairs)), key=lambda place: len(pairs[place].tokens))
        tokens = torch.tensor([token for place in order for token in pairs[place].tokens])
        types = torch.tensor([kind for place in order for kind in pairs[place].types])
        lengths = [len(pairs[place].tokens) for place in order]
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        where = self.device.where
        with self.device.context():
            found = self.model.logits(tokens.to(where), lengths, types.to(where))
        return found.float().index_select(0, back.to(where))

    def loss(self, lists: Sequence[ReadList]) -> Tensor:
        """Summed over lists."""
        logits, sizes = self.logits(lists), [len(one.pairs) for one in lists]
        scores = torch.tensor([score for one in lists for score in one.scores], device=logits.device)
        return listwise_loss(logits, sizes) + self.config.teacher_weight * margin_mse(logits, scores, sizes)

    def update(self, optimiser: Optimizer, step: int, lists: Sequence[ReadList], lr: float) -> tuple[float, Clipped]:
        """One optimiser step; returns the loss a list before it, and the gradient's norm."""
        seed_step(self.config.seed, step)
        set_lr(optimiser, lr)
        loss = accumulate(list(cut(lists, self.config.micro_tokens)), self.loss, len(lists))
        clipped = clip_gradients(self.model.parameters(), self.config.clip)
        check_finite(step + 1, loss, clipped.norm, lr)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss, clipped

    @torch.no_grad()
    def validate(self, *, settle: bool = False) -> Held:
        """Loss and order of development lists; settle: also set the head's bias by their scores."""
        found: list[Tensor] = []
        for part in cut([self._drawn(one, 0, 0) for one in self.pairs.held_out], self.config.micro_tokens):
            found += torch.split(self.logits(part).cpu(), [len(one.pairs) for one in part])
        if settle:
            self.model.bias.add_(settled_bias(torch.cat(found), len(found)))
        loss = float(listwise_loss(torch.cat(found), [len(part) for part in found])) / len(found)
        return Held(loss, statistics.fmean(float(part[0] > part[1:].max()) for part in found))

    def probe(self) -> float:
        """Seconds of a typical step, timed with learning rate 0 on an optimiser of its own, so that no weight moves."""
        optimiser = make_adamw(self.model.parameters(), 0.0)
        per_token = []
        for step in range(4):
            started = time.perf_counter()
            lists = self.lists(step)
            self.update(optimiser, step, lists, 0.0)
            per_token.append((time.perf_counter() - started) / sum(map(len, lists)))
        pairs = self.config.batch * (1 + self.config.negatives)
        return statistics.median(per_token[1:]) * statistics.fmean(self.pairs.lengths) * pairs

    def documents(self, found: RankingLists, steps: int) -> dict[str, list[Mapping[str, str]]]:
        """Whose passages were learned as answers, and on whose it was only measured."""
        learned = {self.pairs.train[index].document_id for step in range(steps) for index in self._order.at(step)}
        measured = {one.document_id for one in self.pairs.held_out}
        return {"trained_on": found.named(learned), "validated_on": found.named(measured)}


def settled_bias(logits: Tensor, answers: int) -> float:
    """b for which the sum of σ(logits + b) is `answers`, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        above = float((logits.double() + middle).sigmoid().sum()) > answers
        low, high = (low, middle) if above else (middle, high)
    return (low + high) / 2


def cut(lists: Sequence[ReadList], micro_tokens: int) -> Iterator[list[ReadList]]:
    """Parts of `lists` of at most `micro_tokens` tokens each; a list stays whole."""
    part: list[ReadList] = []
    for one in lists:
        if part and sum(map(len, part)) + len(one) > micro_tokens:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _results(state: RunState) -> dict[str, float]:
    losses = [row["loss"] for row in state.curve.rows if "loss" in row]
    held = [row for row in state.curve.rows if "val_loss" in row]
    tail = losses[-20:]
    found = {"loss_first": losses[0], "loss_last_20": sum(tail) / len(tail), "tokens": state.tokens}
    if not held:
        return found
    before, after = held[0], held[-1]
    return found | {"val_loss_before": before["val_loss"], "val_loss": after["val_loss"],
                    "val_first_before": before["val_first"], "val_first": after["val_first"]}  # fmt: skip
