"""What a draft is taught: texts in the target's own words, and at each place what the target thought came next.

    prompt   a chat made from the documents, or an excerpt of one, in turn
    text     the prompt and what the target says to it: greedy, or drawn at `temperature`, in turn
    lesson   the last `context` tokens of the text with the target's K likeliest next tokens and their log-probabilities

Sources: Kim and Rush (2016), Sequence-level knowledge distillation (the teacher's own text); Zhou et al. (2023),
DistillSpec (what a draft is judged by is the target's text).

Pieces of 16 texts are kept in the step's scratch folder, so that a killed run does not ask the target twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.core.types import Document, Sampling
from genwerk.data.chat_examples import make_chat_examples
from genwerk.inference.engine import Engine
from genwerk.models.weights import read_tensors, write_tensors
from genwerk.training.seeding import generator

__all__ = ["Lessons", "Prompt", "Teacher", "make_prompts"]

_PIECE = 16  # texts that are made together


class Prompt(NamedTuple):
    """Tokens of a prompt, and the document it comes from."""

    tokens: list[int]
    document_id: str


@dataclass(frozen=True)
class Lessons:
    """N texts of up to C tokens; behind token t stand the target's K likeliest tokens for place t + 1.

    tokens     (N, C) int64, padded on the right with 0
    lengths    (N,)
    own        (N, C) whether the token after place t is the target's own
    likeliest  (N, C, K) int64, the likeliest first
    logprobs   (N, C, K) float32
    """

    tokens: Tensor
    lengths: Tensor
    own: Tensor
    likeliest: Tensor
    logprobs: Tensor

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Teacher:
    """The target, asked for lessons.

    context, own_tokens   tokens of a lesson, and how many of them the target says at most
    likeliest             K
    temperature           of every other text; the rest are greedy
    """

    engine: Engine
    adapter: str | None
    context: int
    own_tokens: int
    likeliest: int
    temperature: float
    seed: int

    def teach(self, prompts: Sequence[Prompt], kept: Path) -> Lessons:
        """Lessons of all prompts, which may be none, in pieces that are kept in the folder `kept`."""
        kept.mkdir(parents=True, exist_ok=True)
        pieces = []
        with track(f"{kept.name} of the target", total=len(prompts), unit="texts") as bar:
            for start in range(0, max(1, len(prompts)), _PIECE):
                part = prompts[start : start + _PIECE]
                file = kept / f"{start:06d}-{len(part):02d}.safetensors"
                if not file.exists():
                    write_tensors(file, self._lessons(part, start))
                pieces.append(read_tensors(file))
                bar.advance(len(part))
        tokens, lengths, own, likeliest, logprobs = (
            torch.cat([piece[name] for piece in pieces])
            for name in ("tokens", "lengths", "own", "likeliest", "logprobs")
        )
        return Lessons(tokens.long(), lengths.long(), own, likeliest.long(), logprobs.float())

    def _lessons(self, prompts: Sequence[Prompt], start: int) -> dict[str, Tensor]:
        shape = (len(prompts), self.context, self.likeliest)
        tokens, own = torch.zeros(shape[:2], dtype=torch.int32), torch.zeros(shape[:2], dtype=torch.bool)
        lengths = torch.zeros(len(prompts), dtype=torch.int32)
        likeliest, logprobs = torch.zeros(shape, dtype=torch.int32), torch.zeros(shape, dtype=torch.float16)
        for row, (prompt, said) in enumerate(zip(prompts, self._speak(prompts, start), strict=True)):
            text = [*prompt.tokens, *said]
            logits = torch.from_numpy(self.engine.logits(text, self.adapter)[-self.context :])
            best = logits.log_softmax(-1).topk(self.likeliest)
            size = lengths[row] = len(best.values)
            tokens[row, :size] = torch.tensor(text[-self.context :], dtype=torch.int32)
            own[row, max(0, size - len(said) - 1) : size - 1] = True
            likeliest[row, :size], logprobs[row, :size] = best.indices.int(), best.values.clamp_min(-60_000).half()
        return {"tokens": tokens, "lengths": lengths, "own": own, "likeliest": likeliest, "logprobs": logprobs}

    def _speak(self, prompts: Sequence[Prompt], start: int) -> list[list[int]]:
        """What the target says to each prompt, all of them in the same steps."""
        said: list[list[int]] = [[] for _ in prompts]
        streams = {
            row: self.engine.stream_ids(prompt.tokens, self._sampling(start + row), self.adapter)
            for row, prompt in enumerate(prompts)
        }
        while streams:
            for row, stream in list(streams.items()):
                delta = next(stream, None)
                if delta is None:
                    del streams[row]
                elif delta.token is not None:
                    said[row].append(delta.token)
        return said

    def _sampling(self, number: int) -> Sampling:
        temperature = self.temperature if number // 2 % 2 else 0.0
        return Sampling(temperature=temperature, max_tokens=self.own_tokens, seed=self.seed + number)


def make_prompts(
    documents: Sequence[Document], engine: Engine, *, split: str, count: int, room: int, excerpt: int, seed: int
) -> list[Prompt]:
    """Up to `count` prompts from the documents of a split: chats of at most `room` tokens and excerpts in turn.

    Raises DataError where the documents give none.
    """
    chosen = [document for document in documents if document.metadata.get("split", "train") == split]
    sources = [_chats(chosen, engine, room, seed), _excerpts(chosen, engine, count, excerpt, seed)]
    prompts: list[Prompt] = []
    while sources and len(prompts) < count:
        source = sources.pop(0)
        if (prompt := next(source, None)) is not None:
            prompts.append(prompt)
            sources.append(source)
    if split == "train" and not prompts:
        raise DataError("the documents give no prompt to ask the target", remedy="Add documents with running text.")
    return prompts


def _chats(documents: Sequence[Document], engine: Engine, room: int, seed: int) -> Iterator[Prompt]:
    for example in make_chat_examples(documents, seed=seed):
        tokens = engine.tokenizer.encode_chat(example.messages[:-1])
        if len(tokens) <= room:
            yield Prompt(tokens, example.document_id)


def _excerpts(documents: Sequence[Document], engine: Engine, count: int, size: int, seed: int) -> Iterator[Prompt]:
    """`size` tokens from the beginning of a random line of random documents, long ones more often."""
    draw = generator(seed, 1)
    weights = np.array([len(document.text) for document in documents], dtype=np.float64)
    for _ in range(count if documents else 0):
        document = documents[int(draw.choice(len(documents), p=weights / weights.sum()))]
        place = int(draw.integers(0, max(1, len(document.text) - 4 * size)))
        place = document.text.rfind("\n", 0, place + 1) + 1
        tokens = engine.tokenizer.encode(document.text[place : place + 16 * size])[:size]
        if tokens:
            yield Prompt(tokens, document.id)
