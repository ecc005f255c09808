"""Supervised fine-tuning: a chat model learns to answer as examples answer, through a low-rank adapter.

Source: Ouyang et al. (2022), InstructGPT, section 3.5 (supervised stage); Hu et al. (2021), LoRA; the loss on answers
only as in Taori et al. (2023), Alpaca.

    L = 1/N sum_{t in answers} -ln p( x_t | x_1 .. x_{t-1} )

N         answer tokens in the whole batch, so that a long answer weighs as much as its tokens
answers   what the assistant says, with the token that ends its turn (examples.py)

Chosen:   the base is frozen, so no gradient is computed for its weights, nor for the input of the first layer; hidden
          states are computed at all places but logits (a third of the network's arithmetic) at answer tokens only;
          batches hold chats of like length; a chat that is too long is left out and counted, never cut.
Left out: packing several chats into one row, training the embeddings, NEFTune noise.
Try it:   genwerk run recipes/quickstart.yaml --no-serve
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from genwerk.alignment.examples import AnswerBatch, EncodedChat, collate, encode_example
from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import say, track
from genwerk.core.resident import kept_heap
from genwerk.core.types import Document
from genwerk.core.workspace import Artifact, Step
from genwerk.data.chat_examples import ChatExample, make_chat_examples
from genwerk.data.documents import load_documents
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder
from genwerk.models.lora import LoraConfig, adapter_parameters, add_adapter, save_adapter
from genwerk.tokenizers.tokenizer import Tokenizer
from genwerk.training.device import Device, Precision, choose_device
from genwerk.training.gradients import Clipped, accumulate, check_finite, clip_gradients
from genwerk.training.optimiser import make_adamw, set_lr
from genwerk.training.order import LengthSortedOrder
from genwerk.training.plan import plan_steps
from genwerk.training.resume import Parameters, RunState
from genwerk.training.schedule import cosine_with_warmup
from genwerk.training.seeding import deterministic, seed_step
from genwerk.training.tokenise import seen
from genwerk.training.watch import watch_run

__all__ = ["SFTConfig", "answer_loss", "train_sft"]

_NAME = "sft"
_TARGETS: tuple[str, ...] = LoraConfig.model_fields["targets"].default


class SFTConfig(Config):
    """LoRA on chats made from the documents; the defaults take about two minutes on two cores."""

    rank: int = Field(16, ge=1, description="rank of the adapter")
    alpha: float = Field(32.0, gt=0, description="the adapter's product is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's input dropped in training")
    targets: tuple[str, ...] = Field(_TARGETS, min_length=1, description="which weights are adapted")
    steps: int = Field(28, ge=1, description="optimiser steps; ignored when `minutes` is given")
    minutes: float | None = Field(None, gt=0, description="time to tune for; turned into steps by timing a few")
    batch: int = Field(4, ge=1, description="chats per step")
    micro_tokens: int = Field(
        1024, ge=1, description="tokens computed at once: memory, not the gradient, depends on it"
    )
    lr: float = Field(5e-4, gt=0, description="highest learning rate; adapters take more than whole networks")
    warmup: int = Field(4, ge=0, description="steps until the highest learning rate")
    floor: float = Field(0.1, ge=0, le=1, description="part of the learning rate that is left at the end")
    weight_decay: float = Field(0.0, ge=0, description="pull of the adapter towards zero")
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 lets all through")
    max_tokens: int = Field(448, ge=8, description="longer chats are left out and counted")
    max_examples: int = Field(1000, ge=1, description="chats made from the documents at most")
    eval_examples: int = Field(8, ge=0, description="held-out chats on which the loss is taken before and after")
    checkpoint_every: int = Field(5, ge=1, description="steps that a kill can cost at most")
    seed: int = Field(0, ge=0, description="initial adapter, chats and their order")
    precision: Precision = Field("auto", description="auto is float32 on a CPU and bfloat16 on CUDA")


def train_sft(config: SFTConfig, step: Step, base: Artifact, dataset: Artifact) -> Mapping[str, float | int | str]:
    """Tune an adapter for the model of `base` on chats made from the documents of `dataset`.

    Writes a peft adapter directory with `loss.jsonl` and `documents.json`. Killed and started again it goes on from
    `step.scratch` and ends in the same files. Raises DataError when no chat can be made, TrainingError when the loss
    is no longer a number.
    """
    documents = load_documents(dataset.path)
    device = choose_device(config.precision)
    model = load_decoder(base.path).to(device.where)
    longest = min(config.max_tokens, model.config.max_positions)
    examples = Examples.make(documents, Tokenizer.load(base.path), config, longest, where=str(dataset))
    add_adapter(model, _NAME, config_of_adapter(config), seed=config.seed)
    run = _Run(config, examples, model, device)
    with deterministic(device.where), kept_heap():
        optimiser = make_adamw(run.parameters, config.lr, config.weight_decay)
        plan = plan_steps(step.scratch, steps=config.steps, minutes=config.minutes, probe=run.probe)
        state = RunState(step.scratch, parameters=Parameters(run.parameters), optimiser=optimiser)
        if state.step == 0 and examples.held_out:
            state.curve.add({"step": 0, "tokens": 0, "val_loss": run.validate()})
        with watch_run("tuning", step.events, total=plan.steps, done=state.step) as watch:
            while state.step < plan.steps:
                lr = config.lr * cosine_with_warmup(state.step, plan.steps, config.warmup, config.floor)
                chats = run.chats(state.step)
                with watch.step(sum(map(len, chats))):
                    loss, clipped = run.update(optimiser, state.step, chats, lr)
                state.step, state.tokens = state.step + 1, state.tokens + sum(map(len, chats))
                row = {"step": state.step, "loss": loss, "lr": lr, "grad_norm": clipped.norm, "tokens": state.tokens}
                row |= {"clipped": True} if clipped.clipped else {}
                last = state.step == plan.steps
                value = {"val_loss": run.validate()} if last and examples.held_out else {}
                state.curve.add(row | value)
                if last or state.step % config.checkpoint_every == 0:
                    state.save()
                watch.done(state.step, loss, **value)
    save_adapter(model, _NAME, step.out, _name_of(base))
    state.curve.finish(step.out / "loss.jsonl")
    write_json(step.out / "documents.json", run.documents(documents, plan.steps))
    return {**_results(state), **examples.counts, "adapter_parameters": sum(p.numel() for p in run.parameters),
            "precision": device.reason, "steps": plan.steps, "steps_reason": plan.reason,
            "seconds": round(watch.seconds, 2), "tokens_per_second": round(watch.tokens_per_second, 1)}  # fmt: skip


def answer_loss(model: Decoder, batch: AnswerBatch) -> Tensor:
    """-ln p summed over the answer tokens of a batch, in nats; logits are computed at their places only."""
    hidden = model.hidden(batch.inputs).flatten(0, 1)  # (B * T, D)
    return F.cross_entropy(model.logits(hidden.index_select(0, batch.rows)), batch.targets, reduction="sum")


def config_of_adapter(config: SFTConfig) -> LoraConfig:
    """The part of the config that shapes the adapter."""
    return LoraConfig(rank=config.rank, alpha=config.alpha, dropout=config.dropout, targets=config.targets)


@dataclass(frozen=True)
class Examples:
    """Encoded chats: what is learned, and what is only measured. `counts` says how many were left out and why."""

    train: tuple[EncodedChat, ...]
    held_out: tuple[EncodedChat, ...]
    counts: Mapping[str, int]

    @classmethod
    def make(
        cls, documents: Sequence[Document], tokenizer: Tokenizer, config: SFTConfig, longest: int, *, where: str
    ) -> Examples:
        """Chats of `documents` of at most `longest` tokens. Raises DataError when none is left to learn from."""
        made = make_chat_examples(documents, seed=config.seed, limit=config.max_examples)
        train = _encode(tokenizer, [example for example in made if example.split == "train"])
        kept = tuple(chat for chat in train if len(chat) <= longest)
        dropped = len(train) - len(kept)
        if dropped:
            say(f"{dropped} of {len(train)} chats are longer than {longest} tokens and are left out.")
        if not kept:
            reason = f"all {dropped} chats are longer than {longest} tokens" if dropped else "there are none"
            raise DataError(
                f"no chat can be made from the documents to tune on: {reason}",
                where=where,
                remedy="Raise `max_tokens`, add documents with running text, or leave out `tune`.",
            )
        others = _encode(tokenizer, [e for e in made if e.split == "heldout"][: 2 * config.eval_examples])
        held_out = tuple(chat for chat in others if len(chat) <= longest)[: config.eval_examples]
        counts = {"examples": len(kept), "examples_too_long": dropped, "examples_held_out": len(held_out)}
        return cls(kept, held_out, counts)


class _Run:
    """One step, one validation, one timing; the loop above says when."""

    def __init__(self, config: SFTConfig, examples: Examples, model: Decoder, device: Device) -> None:
        self.config, self.examples, self.model, self.device = config, examples, model.train(), device
        self.parameters = adapter_parameters(model, _NAME)
        self._order = LengthSortedOrder([len(chat) for chat in examples.train], config.batch, config.seed)

    def chats(self, step: int) -> list[EncodedChat]:
        """The chats of `step`, the longest first."""
        return [self.examples.train[index] for index in self._order.at(step)]

    def loss(self, batch: AnswerBatch) -> Tensor:
        """Summed over the answer tokens of a micro-batch, in nats."""
        with self.device.context():
            return answer_loss(self.model, batch)

    def update(self, optimiser: Optimizer, step: int, chats: Sequence[EncodedChat], lr: float) -> tuple[float, Clipped]:
        """One optimiser step; returns the loss before it and the gradient's norm."""
        seed_step(self.config.seed, step)
        set_lr(optimiser, lr)
        batches = [collate(part, self.device.where) for part in cut(chats, self.config.micro_tokens)]
        loss = accumulate(batches, self.loss, sum(batch.n_answers for batch in batches))
        clipped = clip_gradients(self.parameters, self.config.clip)
        check_finite(step + 1, loss, clipped.norm, lr)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss, clipped

    def validate(self) -> float:
        """Nats per answer token of the held-out chats."""
        self.model.eval()
        nats, count = 0.0, 0
        chats = sorted(self.examples.held_out, key=len, reverse=True)
        with track("held-out answers", total=len(chats), unit="chats") as bar, self.device.context():
            for part in cut(chats, self.config.micro_tokens):
                nats += answer_nats(self.model, part)
                count += sum(chat.n_answers for chat in part)
                bar.advance(len(part))
        self.model.train()
        return nats / count

    def probe(self) -> float:
        """Seconds of a typical step.

        Timed with learning rate 0 on an optimiser of its own, so that no weight moves; the time of each step is scaled
        to the average length of the chats, since batches differ in length.
        """
        optimiser = make_adamw(self.parameters, 0.0)
        per_token = []
        for step in range(4):
            chats = self.chats(step)
            started = time.perf_counter()
            self.update(optimiser, step, chats, 0.0)
            per_token.append((time.perf_counter() - started) / sum(map(len, chats)))
        typical = sum(map(len, self.examples.train)) / len(self.examples.train) * self.config.batch
        return statistics.median(per_token[1:]) * typical

    def documents(self, documents: Sequence[Document], steps: int) -> dict[str, list[dict[str, str]]]:
        """Which documents the adapter saw, and which it was only measured on."""
        learned = {chat.document_id for step in range(steps) for chat in self.chats(step)}
        measured = {chat.document_id for chat in self.examples.held_out}
        return {
            "trained_on": seen(document for document in documents if document.id in learned),
            "validated_on": seen(document for document in documents if document.id in measured),
        }


def answer_nats(model: Decoder, chats: Sequence[EncodedChat]) -> float:
    """-ln p summed over the answer tokens of these chats, without a gradient."""
    with torch.no_grad():
        return float(answer_loss(model, collate(chats, model.device)))


def cut(chats: Sequence[EncodedChat], micro_tokens: int) -> Iterator[list[EncodedChat]]:
    """Parts of `chats` (the longest first) that take at most `micro_tokens` tokens each, padding included."""
    part: list[EncodedChat] = []
    for chat in chats:
        if part and len(part[0]) * (len(part) + 1) > micro_tokens:
            yield part
            part = []
        part.append(chat)
    if part:
        yield part


def _encode(tokenizer: Tokenizer, examples: Sequence[ChatExample]) -> list[EncodedChat]:
    with track("reading chats", total=len(examples), unit="chats") as bar:
        chats = []
        for example in examples:
            chats.append(encode_example(tokenizer, example.messages, example.document_id))
            bar.advance()
    return chats


def _name_of(base: Artifact) -> str:
    """The name under which the base is known, never a path of this machine."""
    name = str(base.config.get("name", ""))
    return name if re.fullmatch(r"[\w.-]+", name) else f"{base.kind}-{base.id}"


def _results(state: RunState) -> dict[str, float]:
    losses = [row["loss"] for row in state.curve.rows if "loss" in row]
    values = [row["val_loss"] for row in state.curve.rows if "val_loss" in row]
    tail = losses[-5:]
    found = {"loss_first": losses[0], "loss_last_5": sum(tail) / len(tail), "tokens": state.tokens}
    return found | ({"val_loss_before": values[0], "val_loss": values[-1]} if values else {})
