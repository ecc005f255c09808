"""Distillation of a draft: a small decoder learns to foretell what the served model will say.

Sources: Hinton et al. (2015), Distilling the knowledge in a neural network; Kim and Rush (2016), on the teacher's own
text; Zhou et al. (2023), DistillSpec, for drafts.

    L = 1/N sum_t sum_i p_i ( ln p_i / w - ln q_i ),   w = sum_i p_i        KL( p / w || q ), weighted by w

p_i   the target's probability of the i-th of its K likeliest tokens at place t; 0 where the draft cannot say it
q     the draft's distribution over the words it can say: the W words that the target thinks likeliest in its own texts
N     places of the batch

Chosen:   the target speaks once, as it will be served (adapter, precision), and what it thought is kept (lessons.py),
          so that a step costs what the small network costs. The draft's embeddings begin as the target's in their main
          directions, which a short training could not find. It attends to the last `context` tokens only, so that no
          place in a long prompt is one it was never taught.
Left out: drafts that read the target's hidden states (EAGLE, Medusa); texts of the draft's own (on-policy).
Try it:   genwerk distill smollm2-135m-instruct --docs python:topics
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from genwerk.alignment.lessons import Lessons, Teacher, make_prompts
from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.progress import say
from genwerk.core.resident import kept_heap
from genwerk.core.types import Document
from genwerk.core.workspace import Artifact, Step
from genwerk.data.documents import load_documents
from genwerk.inference.engine import Engine
from genwerk.models.decoder import Decoder
from genwerk.models.dial import derive
from genwerk.models.huggingface import load_decoder, save_decoder
from genwerk.models.shortlist import write_shortlist
from genwerk.training.device import Device, choose_device
from genwerk.training.gradients import Clipped, accumulate, check_finite, clip_gradients
from genwerk.training.optimiser import make_adamw, set_lr
from genwerk.training.order import LengthSortedOrder
from genwerk.training.plan import plan_steps
from genwerk.training.resume import Parameters, RunState
from genwerk.training.schedule import cosine_with_warmup
from genwerk.training.seeding import deterministic, seed_step
from genwerk.training.tokenise import seen
from genwerk.training.watch import watch_run

__all__ = ["DistillConfig", "distill_draft", "distill_loss"]

_ADAPTER = "tuned"


class DistillConfig(Config):
    """A draft for the served model; the defaults take about a quarter of an hour on two cores."""

    depth: int = Field(3, ge=1, description="layers of the draft; width and heads follow from it")
    words: int = Field(8192, ge=32, multiple_of=32, description="words it can say; most of its time goes into choosing")
    texts: int = Field(600, ge=1, description="texts that the target says, on prompts made from the documents")
    own_tokens: int = Field(96, ge=1, description="longest text of the target's own")
    context: int = Field(256, ge=8, description="tokens the draft sees at once, in training and after")
    likeliest: int = Field(16, ge=1, description="of the target's distribution so many tokens are kept")
    temperature: float = Field(0.7, ge=0, le=2, description="of every other text; the rest are greedy")
    steps: int = Field(1500, ge=1, description="optimiser steps; ignored when `minutes` is given")
    minutes: float | None = Field(None, gt=0, description="time to train for; turned into steps by timing a few")
    batch: int = Field(4, ge=1, description="texts per step")
    lr: float = Field(2e-3, gt=0, description="highest learning rate")
    warmup: int = Field(40, ge=0, description="steps until the highest learning rate")
    floor: float = Field(0.05, ge=0, le=1, description="part of the learning rate that is left at the end")
    weight_decay: float = Field(0.05, ge=0, description="pull of the matrices towards zero")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 lets all through")
    eval_texts: int = Field(32, ge=0, description="held-out texts on which is counted what the draft foretells")
    eval_every: int = Field(250, ge=1, description="steps between counts")
    checkpoint_every: int = Field(50, ge=1, description="steps that a kill can cost at most")
    seed: int = Field(0, ge=0, description="prompts, texts and their order")
    engine: str = Field("auto", description="what runs the target, as it is served; a recipe sets it from `serve`")
    precision: str = Field("int8", description="of the target's weights, as they are served; set likewise")


def distill_draft(
    config: DistillConfig, step: Step, base: Artifact, dataset: Artifact, *adapter: Artifact
) -> Mapping[str, float | int | str]:
    """Train a draft for the model of `base`, with its adapter where there is one, on texts made from `dataset`.

    Writes a model directory with `shortlist.json`, `loss.jsonl` and `documents.json`. Killed and started again it goes
    on from `step.scratch` and ends in the same files. Raises DataError when the documents give no prompts.
    """
    documents = load_documents(dataset.path)
    course = Course.make(config, step.scratch, documents, base.path, [item.path for item in adapter])
    device = choose_device()
    with deterministic(device.where), kept_heap():
        seed_step(config.seed)
        model = make_draft(config, load_decoder(base.path)).to(device.where).train()
        optimiser = make_adamw(model.parameters(), config.lr, config.weight_decay)
        run = _Run(config, course, model, device)
        plan = plan_steps(step.scratch, steps=config.steps, minutes=config.minutes, probe=run.probe)
        state = RunState(step.scratch, parameters=Parameters(model.parameters()), optimiser=optimiser)
        if state.step == 0 and len(course.held_out):
            state.curve.add({"step": 0, "tokens": 0, "val_foretold": run.foretold()})
        with watch_run("distilling", step.events, total=plan.steps, done=state.step) as watch:
            while state.step < plan.steps:
                lr = config.lr * cosine_with_warmup(state.step, plan.steps, config.warmup, config.floor)
                rows = run.rows(state.step)
                size = int(course.train.lengths[rows].sum())
                with watch.step(size):
                    loss, clipped = run.update(optimiser, state.step, rows, lr)
                state.step, state.tokens = state.step + 1, state.tokens + size
                row = {"step": state.step, "loss": loss, "lr": lr, "grad_norm": clipped.norm, "tokens": state.tokens}
                row |= {"clipped": True} if clipped.clipped else {}
                last = state.step == plan.steps
                value = {}
                if len(course.held_out) and (last or state.step % config.eval_every == 0):
                    value = {"val_foretold": run.foretold()}
                state.curve.add(row | value)
                if last or state.step % config.checkpoint_every == 0:
                    state.save()
                watch.done(state.step, loss, **value)
    save_decoder(model, step.out, base.path)
    write_shortlist(step.out, course.words)
    state.curve.finish(step.out / "loss.jsonl")
    write_json(step.out / "documents.json", course.documents)
    return {**_results(state), "parameters": sum(p.numel() for p in model.parameters()), "words": len(course.words),
            "texts": len(course.train), "words_cover": course.covered, "steps": plan.steps,
            "steps_reason": plan.reason, "seconds": round(watch.seconds, 2)}  # fmt: skip


def distill_loss(logits: Tensor, likeliest: Tensor, p: Tensor) -> Tensor:
    """KL( p / w || q ) weighted by w and summed over places, in nats.

    logits (N, W) of the draft; likeliest (N, K) which of its words p (N, K) is of; p may be 0, w = p summed over K.
    """
    log_q = logits.log_softmax(-1).gather(1, likeliest)  # (N, K)
    w = p.sum(1, keepdim=True).clamp_min(1e-12)
    return (torch.xlogy(p, p / w) - p * log_q).sum()


def expected_words(lessons: Lessons, vocab_size: int) -> Tensor:
    """(V,) how often the target expects each word in these lessons."""
    there = torch.arange(lessons.tokens.shape[1]) < lessons.lengths[:, None]  # (N, C)
    expected = torch.zeros(vocab_size, dtype=torch.float64)
    return expected.index_add_(0, lessons.likeliest[there].flatten(), lessons.logprobs[there].double().exp().flatten())


def make_draft(config: DistillConfig, target: Decoder) -> Decoder:
    """An untrained draft of `config.depth` layers whose embeddings are the target's in their main directions."""
    whole = target.config
    shape, reasons = derive(config.depth, whole.vocab_size)
    for reason in reasons:
        say(f"{reason.name} = {reason.value}: {reason.why}", style="dim")
    draft = Decoder(
        replace(shape, max_positions=whole.max_positions, sliding_window=config.context, architecture="mistral")
    )
    size = min(shape.d_model, whole.d_model)
    with torch.no_grad():
        centred = target.embed_tokens - target.embed_tokens.mean(0)  # (V, D)
        directions = torch.linalg.eigh(centred.t() @ centred).eigenvectors[:, -size:].flip(1)  # (D, d)
        main = centred @ directions
        draft.embed_tokens[:, :size] = main * (0.02 / main.std())
    return draft


@dataclass(frozen=True)
class Course:
    """What is learned, what is only counted on, the words the draft can say, and whose documents these are.

    covered   share of the words the target expects that are among `words`
    """

    train: Lessons
    held_out: Lessons
    words: Tensor
    covered: float
    documents: Mapping[str, list[dict[str, str]]]

    @classmethod
    def make(
        cls, config: DistillConfig, scratch: Path, documents: Sequence[Document], base: Path, adapters: Sequence[Path]
    ) -> Course:
        """Ask the target, or read what it said before the run was killed."""
        given = dict.fromkeys([_ADAPTER], adapters[0]) if adapters else {}
        engine = Engine.load(base, adapters=given, engine=config.engine, precision=config.precision)
        teacher = Teacher(engine, _ADAPTER if given else None, config.context, config.own_tokens, config.likeliest,
                          config.temperature, config.seed)  # fmt: skip
        room, excerpt = engine.max_context - config.own_tokens, config.context // 2
        lessons, named = [], []
        for split, count in (("train", config.texts), ("heldout", config.eval_texts)):
            prompts = make_prompts(
                documents, engine, split=split, count=count, room=room, excerpt=excerpt, seed=config.seed
            )
            lessons.append(teacher.teach(prompts, scratch / "lessons" / split))
            sources = {prompt.document_id for prompt in prompts}
            named.append(seen(document for document in documents if document.id in sources))
        expected = expected_words(lessons[0], engine.runner.config.vocab_size)
        size = min(config.words, len(expected) // 32 * 32)
        words = expected.sort(descending=True, stable=True).indices[:size].sort().values
        covered = float(expected[words].sum() / expected.sum())
        return cls(lessons[0], lessons[1], words, covered, {"trained_on": named[0], "validated_on": named[1]})


class _Run:
    """One step, one count, one timing; the loop above says when."""

    def __init__(self, config: DistillConfig, course: Course, model: Decoder, device: Device) -> None:
        self.config, self.course, self.model, self.device = config, course, model, device
        self.words = course.words.to(device.where)
        self._place = torch.full((model.config.vocab_size,), -1).index_copy(
            0, course.words, torch.arange(len(course.words))
        )
        self._order = LengthSortedOrder(course.train.lengths.tolist(), config.batch, config.seed)

    def rows(self, step: int) -> list[int]:
        """Which lessons `step` takes."""
        return self._order.at(step)

    def logits(self, lessons: Lessons, rows: Sequence[int], wanted: Tensor) -> Tensor:
        """Of the draft's words at the places (R, C) that are `wanted`: (N, W)."""
        length = int(lessons.lengths[rows].max())
        with self.device.context():
            hidden = self.model.hidden(lessons.tokens[rows, :length].to(self.device.where))  # (R, T, d_model)
            known = self.model.embed_tokens.index_select(0, self.words)
            return F.linear(hidden[wanted[:, :length].to(self.device.where)], known).float()

    def loss(self, rows: Sequence[int]) -> Tensor:
        """Summed over the places of some lessons, in nats."""
        lessons = self.course.train
        there = torch.arange(lessons.tokens.shape[1]) < lessons.lengths[rows][:, None]  # (R, C)
        place = self._place[lessons.likeliest[rows][there]]  # (N, K)
        p = lessons.logprobs[rows][there].exp() * (place >= 0)
        logits = self.logits(lessons, rows, there)
        return distill_loss(logits, place.clamp_min(0).to(logits.device), p.to(logits.device))

    def update(self, optimiser: Optimizer, step: int, rows: list[int], lr: float) -> tuple[float, Clipped]:
        """One optimiser step; returns the loss before it and the gradient's norm."""
        seed_step(self.config.seed, step)
        set_lr(optimiser, lr)
        loss = accumulate([rows], self.loss, int(self.course.train.lengths[rows].sum()))
        clipped = clip_gradients(self.model.parameters(), self.config.clip)
        check_finite(step + 1, loss, clipped.norm, lr)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss, clipped

    @torch.no_grad()
    def foretold(self) -> float:
        """Share of the target's own words in the held-out texts where the draft's likeliest word is the target's."""
        self.model.eval()
        lessons, right, count = self.course.held_out, 0, 0
        for start in range(0, len(lessons), self.config.batch):
            rows = list(range(start, min(start + self.config.batch, len(lessons))))
            own = lessons.own[rows]  # (R, C)
            said = self.words[self.logits(lessons, rows, own).argmax(1)].cpu()
            right, count = right + int((said == lessons.likeliest[rows][own][:, 0]).sum()), count + int(own.sum())
        self.model.train()
        return right / max(1, count)

    def probe(self) -> float:
        """Seconds of a step with its share of a count, timed with learning rate 0 so that no weight moves."""
        optimiser = make_adamw(self.model.parameters(), 0.0)
        seconds = [_seconds(partial(self.update, optimiser, n, self.rows(n), 0.0)) for n in range(5)]
        count = _seconds(self.foretold) / self.config.eval_every if len(self.course.held_out) else 0.0
        return statistics.median(seconds[1:]) + count


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _results(state: RunState) -> dict[str, float]:
    losses = [row["loss"] for row in state.curve.rows if "loss" in row]
    counts = [row["val_foretold"] for row in state.curve.rows if "val_foretold" in row]
    tail = losses[-20:]
    found = {"loss_first": losses[0], "loss_last_20": sum(tail) / len(tail), "tokens": state.tokens}
    return found | ({"foretold_before": counts[0], "foretold": counts[-1]} if counts else {})
