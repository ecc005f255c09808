"""Bits per byte of a decoder on held-out text or tokens: every token is predicted exactly once.

A document (or the token stream) is cut into windows of `context` predictions; a window begins with the last token of
the one before, so no token is skipped and none is counted twice. Windows are read in batches, padded on the right,
which a causal network never sees.

Chosen:   windows do not overlap: one pass over the text; the first tokens of a window have little to go by, the same
          for every model that is compared at the same `context`.
Left out: a sliding window (up to `context` times as dear).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genwerk.core.errors import DataError
from genwerk.metrics.language import bits_per_byte, perplexity
from genwerk.models.decoder import Decoder

__all__ = ["BitsPerByte", "HeldOutWindows", "evaluate_bits_per_byte", "pad_right", "row_nats", "token_nats"]

_ROWS_AT_ONCE = 1024  # rows of logits in memory at a time: 200 MB with a vocabulary of 49,152


@dataclass(frozen=True, slots=True)
class BitsPerByte:
    """Bits per byte over `bytes` bytes spelt by `tokens` tokens; `per_document` in the order of the texts."""

    value: float
    bytes: int
    tokens: int
    nats: float
    per_document: tuple[float, ...] = ()

    @property
    def perplexity(self) -> float:
        """Per token; only comparable between models with the same tokenizer."""
        return perplexity(self.nats, self.tokens)


def evaluate_bits_per_byte(
    model: Decoder,
    encode: Callable[[str], Sequence[int]],
    texts: Sequence[str],
    context: int,
    *,
    start: int | None = None,
    batch_tokens: int = 2048,
) -> BitsPerByte:
    """Bits per byte of `model` on whole `texts`; bytes are those of the texts in UTF-8.

    start   token that stands before every document (end of text or beginning of text); without one the first token
            of a document is charged as if all tokens were equally likely.
    Raises DataError when the texts are empty.
    """
    encoded = [list(encode(text)) for text in texts]
    sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    if not sum(map(len, encoded)) or not sum(sizes):
        raise DataError("there is no held-out text to evaluate on", remedy="Raise `data.holdout`, or add documents.")
    nats = np.zeros(len(texts), np.float64)
    windows: list[tuple[int, list[int]]] = []
    for document, ids in enumerate(encoded):
        if start is None and ids:
            nats[document] += float(np.log(model.config.vocab_size))
        ids = ids if start is None else [start, *ids]
        windows += [(document, ids[at : at + context + 1]) for at in range(0, len(ids) - 1, context)]
    for group in _grouped(windows, batch_tokens):
        scores = row_nats(model, [window for _, window in group])
        np.add.at(nats, [document for document, _ in group], scores)
    each = tuple(bits_per_byte(float(n), size) if size else 0.0 for n, size in zip(nats, sizes, strict=True))
    total = float(nats.sum())
    return BitsPerByte(bits_per_byte(total, sum(sizes)), sum(sizes), sum(map(len, encoded)), total, each)


class HeldOutWindows:
    """Evenly spread windows of a token stream, kept fixed through a run.

    tokens        (N,) token ids of the held-out documents, one after the other
    token_bytes   (V,) bytes of text that each token spells; 0 for tokens that spell none (end of text): these are
                  read but not counted
    limit         about how many tokens to predict at most; 0 means all
    """

    def __init__(self, tokens: np.ndarray, token_bytes: np.ndarray, context: int, limit: int = 0) -> None:
        ids = np.asarray(tokens, np.int64)
        starts = list(range(0, max(len(ids) - 1, 0), context))
        keep = len(starts) if limit == 0 else min(len(starts), max(1, limit // context))
        chosen = [starts[i * len(starts) // keep] for i in range(keep)] if keep else []
        self._windows = [ids[at : at + context + 1].tolist() for at in chosen]
        self._bytes = token_bytes

    def __len__(self) -> int:
        return len(self._windows)

    def bits_per_byte(self, model: Decoder, *, batch_tokens: int = 4096) -> BitsPerByte:
        """Bits per byte of `model` on the windows. Raises ValueError when there are none."""
        nats, n_bytes, n_tokens = 0.0, 0, 0
        for group in _grouped([(0, window) for window in self._windows], batch_tokens):
            tokens, lengths = pad_right([window for _, window in group], model.device)
            targets = tokens[:, 1:]
            size = torch.from_numpy(self._bytes[targets.cpu().numpy()].astype(np.int64)).to(model.device)
            size *= torch.arange(targets.shape[1], device=model.device) < (lengths - 1)[:, None]
            nats += float((token_nats(model, tokens[:, :-1], targets, size > 0)).sum())
            n_bytes, n_tokens = n_bytes + int(size.sum()), n_tokens + int((size > 0).sum())
        return BitsPerByte(bits_per_byte(nats, n_bytes), n_bytes, n_tokens, nats)


def row_nats(model: Decoder, rows: Sequence[Sequence[int]]) -> list[float]:
    """-ln p of tokens 1.. of every row given the ones before, summed per row."""
    tokens, lengths = pad_right(rows, model.device)
    wanted = torch.arange(tokens.shape[1] - 1, device=model.device) < (lengths - 1)[:, None]  # (B, T - 1)
    nats = torch.zeros(wanted.shape, dtype=torch.float64, device=model.device)
    nats[wanted] = token_nats(model, tokens[:, :-1], tokens[:, 1:], wanted)
    return [float(value) for value in nats.sum(1)]


@torch.no_grad()
def token_nats(model: Decoder, inputs: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
    """-ln p of the targets where `wanted`, in float64, in row-major order: (B, T), (B, T), (B, T) -> (N,)."""
    hidden, labels = model.hidden(inputs)[wanted], targets[wanted]  # (N, D), (N,)
    parts = [
        F.cross_entropy(model.logits(hidden[rows]), labels[rows], reduction="none")
        for rows in (slice(at, at + _ROWS_AT_ONCE) for at in range(0, len(labels), _ROWS_AT_ONCE))
    ]
    return torch.cat(parts).double() if parts else torch.zeros(0, dtype=torch.float64, device=inputs.device)


def pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, T) tokens padded on the right with 0, and (B,) lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.zeros((len(rows), int(lengths.max())), dtype=torch.int64)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return tokens.to(device), lengths.to(device)


def _grouped(windows: Sequence[tuple[int, list[int]]], batch_tokens: int) -> list[list[tuple[int, list[int]]]]:
    """Windows of like length together, at most `batch_tokens` tokens in a group."""
    groups: list[list[tuple[int, list[int]]]] = []
    for window in sorted(windows, key=lambda item: len(item[1])):
        if groups and len(window[1]) * (len(groups[-1]) + 1) <= batch_tokens:
            groups[-1].append(window)
        else:
            groups.append([window])
    return groups
