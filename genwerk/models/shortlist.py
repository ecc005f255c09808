"""A shortlist: an output layer that knows only the words most often said.

Sources: Schwenk (2007), Continuous space language models; Zhao et al. (2025), FR-Spec (for drafts).

A small network over a large vocabulary spends most of its arithmetic on choosing the word: with 192 components and
49,152 words nine tenths of it. Where a wrong choice costs nothing but time, as in a draft, the rare words are left out.
The directory stays an ordinary model; `shortlist.json` beside it names the words, and `shorten` leaves the others out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from genwerk.core.atomic import write_json
from genwerk.core.errors import ModelError
from genwerk.models.arrays import read_json
from genwerk.models.decoder import Decoder

__all__ = ["SHORTLIST", "read_shortlist", "shorten", "write_shortlist"]

SHORTLIST = "shortlist.json"
_PANEL = 32  # the kernels compute so many words at a time


def write_shortlist(path: Path, words: Tensor) -> None:
    """Name the words (W,) that the model of a directory may say."""
    write_json(path / SHORTLIST, {"words": words.tolist()}, indent=None)


def read_shortlist(path: Path, vocab_size: int) -> Tensor | None:
    """The words (W,) that the model of a directory may say; None: all. Raises ModelError for a damaged list."""
    if not (path / SHORTLIST).exists():
        return None
    words = read_json(path / SHORTLIST).get("words")
    whole = isinstance(words, list) and all(isinstance(word, int) and 0 <= word < vocab_size for word in words)
    if not whole or not words or len(words) % _PANEL:
        raise ModelError(
            f"{SHORTLIST} does not list a multiple of {_PANEL} words below {vocab_size}",
            where=str(path / SHORTLIST),
            remedy="Distil the draft again.",
        )
    return torch.tensor(words)


def shorten(model: Decoder, words: Tensor) -> Decoder:
    """`model` with logits (..., W) of `words` alone, in their order; what it reads stays the whole vocabulary."""
    head = model.embed_tokens if model.lm_head is None else model.lm_head
    model.lm_head = nn.Parameter(head.detach()[words].clone(), requires_grad=False)
    model.config = replace(model.config, tie_embeddings=False)
    return model
