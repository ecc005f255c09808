"""How well a model predicts documents it was not trained on, and the answers it was tuned to give.

    bits per byte = sum of nats / (sum of bytes * ln 2)       over excerpts of held-out documents
    answer loss   = sum of nats / number of answer tokens     over held-out chat examples, answer tokens only

Chosen:   excerpts are taken from the held-out documents in turn until the budget of characters is spent, so that many
          documents count and the time is bounded; the interval is a bootstrap over documents (over examples for
          answers), because the parts of one document resemble each other. Before and after tuning read the same text.
Left out: a sliding window; perplexity per word. Tuning on answers need not lower the bits of running text.
Try it:   genwerk evaluate
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from genwerk.alignment.examples import collate, encode_example
from genwerk.alignment.sft import answer_loss
from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.core.types import Document
from genwerk.data.chat_examples import ChatExample
from genwerk.evaluation.measures import Measure
from genwerk.metrics.ratio import ratio_interval
from genwerk.models.decoder import Decoder
from genwerk.tokenizers.tokenizer import Tokenizer
from genwerk.training.validation import evaluate_bits_per_byte

__all__ = ["Excerpt", "held_out_excerpts", "measure_answer_loss", "measure_bits_per_byte"]

_AT_ONCE = 4  # excerpts per call: short enough for a bar that moves, long enough to be quick


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a held-out document."""

    document_id: str
    text: str


def held_out_excerpts(
    documents: Iterable[Document], *, characters: int, excerpt_characters: int, seed: int
) -> list[Excerpt]:
    """Excerpts of held-out documents in turn, `characters` in all; the same for the same documents and seed.

    Raises DataError when no document is held out.
    """
    held_out = sorted((item for item in documents if item.metadata.get("split") == "heldout"), key=lambda item: item.id)
    if not held_out:
        raise DataError("no document is held out, so nothing can be evaluated", remedy="Raise `data.holdout`.")
    random.Random(f"{seed}").shuffle(held_out)
    excerpts: list[Excerpt] = []
    start, left = 0, characters
    while left > 0 and any(len(item.text) > start for item in held_out):
        for item in held_out:
            text = item.text[start : start + min(excerpt_characters, left)]
            if left > 0 and text.strip():
                excerpts.append(Excerpt(item.id, text))
                left -= len(text)
        start += excerpt_characters
    return excerpts


def measure_bits_per_byte(
    name: str, model: Decoder, tokenizer: Tokenizer, excerpts: Sequence[Excerpt], *, context: int, what: str
) -> Measure:
    """Bits per byte of `model` as it stands (the caller chooses the adapter), with an interval over documents."""
    start = tokenizer.bos_id if tokenizer.bos_id is not None else min(tokenizer.eos_ids, default=None)
    bits: dict[str, float] = {}
    sizes: dict[str, int] = {}
    with track(f"bits per byte, {what}", total=len(excerpts), unit="excerpts") as bar:
        for at in range(0, len(excerpts), _AT_ONCE):
            group = excerpts[at : at + _AT_ONCE]
            found = evaluate_bits_per_byte(
                model, tokenizer.encode, [excerpt.text for excerpt in group], context, start=start
            )
            for excerpt, each in zip(group, found.per_document, strict=True):
                size = len(excerpt.text.encode("utf-8", "surrogatepass"))
                bits[excerpt.document_id] = bits.get(excerpt.document_id, 0.0) + each * size
                sizes[excerpt.document_id] = sizes.get(excerpt.document_id, 0) + size
            bar.advance(len(group))
    result = ratio_interval(list(bits.values()), list(sizes.values()))
    amount = f"{len(excerpts)} excerpts ({sum(sizes.values()):,} bytes) of held-out documents"
    how = f"{what}; {amount}, {context} tokens of context"
    return Measure(name, result.mean, len(sizes), how, result.low, result.high, "95 % bootstrap over documents")


def measure_answer_loss(
    name: str, model: Decoder, tokenizer: Tokenizer, examples: Sequence[ChatExample], *, what: str
) -> Measure:
    """Nats per answer token of `model` as it stands, given question and passages; interval over examples."""
    nats: list[float] = []
    counts: list[int] = []
    with track(f"answer loss, {what}", total=len(examples), unit="examples") as bar, torch.no_grad():
        for example in examples:
            batch = collate([encode_example(tokenizer, example.messages)], model.device)
            nats.append(float(answer_loss(model, batch)))
            counts.append(batch.n_answers)
            bar.advance()
    result = ratio_interval(nats, counts)
    how = f"{what}; {sum(counts):,} answer tokens of {len(examples)} chat examples made from held-out documents"
    return Measure(name, result.mean, len(examples), how, result.low, result.high, "95 % bootstrap over examples")
