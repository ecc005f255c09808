"""Bits per byte: every token once, padding and batching change nothing, a uniform model is known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from genwerk.core.errors import DataError
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.training.validation import HeldOutWindows, evaluate_bits_per_byte, row_nats

VOCAB = 32


@pytest.fixture(scope="module")
def model() -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderConfig(VOCAB, 16, 2, 2, 1, 8, 32, 256)).eval()


def encode(text: str) -> list[int]:
    """One token per character: a to z."""
    return [ord(letter) - ord("a") + 1 for letter in text]


@torch.no_grad()
def by_hand(model: Decoder, ids: list[int], context: int) -> float:
    """Nats of ids[1:], one window at a time, with the logits of all places."""
    nats = 0.0
    for at in range(0, len(ids) - 1, context):
        window = torch.tensor([ids[at : at + context + 1]])
        nats += float(F.cross_entropy(model(window[:, :-1])[0].double(), window[0, 1:], reduction="sum"))
    return nats


@pytest.mark.parametrize("context", [1, 3, 7, 100])
@pytest.mark.parametrize("batch_tokens", [4, 50, 4096])
def test_windows_and_batches_equal_the_sum_by_hand(model: Decoder, context: int, batch_tokens: int) -> None:
    texts = ["hello", "averylongtextthatspansmanywindows", "x", "middling"]
    found = evaluate_bits_per_byte(model, encode, texts, context, start=0, batch_tokens=batch_tokens)
    nats = [by_hand(model, [0, *encode(text)], context) for text in texts]
    assert found.nats == pytest.approx(sum(nats), rel=1e-5)
    assert found.per_document == pytest.approx([n / len(t) / math.log(2) for n, t in zip(nats, texts, strict=True)])
    assert (found.bytes, found.tokens) == (47, 47)


def test_without_a_start_token_the_first_token_counts_as_a_blind_guess(model: Decoder) -> None:
    found = evaluate_bits_per_byte(model, encode, ["hello"], 64)
    assert found.nats == pytest.approx(math.log(VOCAB) + by_hand(model, encode("hello"), 64), rel=1e-5)


def test_a_model_that_knows_nothing_needs_log_v_bits_per_token(model: Decoder) -> None:
    blank = Decoder(model.config)
    torch.nn.init.zeros_(blank.embed_tokens)  # tied: all logits are 0
    found = evaluate_bits_per_byte(blank, encode, ["abc", "defgh"], 4, start=0)
    assert found.value == pytest.approx(math.log2(VOCAB))
    assert found.perplexity == pytest.approx(VOCAB)


def test_no_text_is_refused(model: Decoder) -> None:
    with pytest.raises(DataError, match="no held-out text"):
        evaluate_bits_per_byte(model, encode, [""], 8, start=0)


def test_padding_changes_no_row(model: Decoder) -> None:
    rows = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11, 12]]
    together = row_nats(model, rows)
    assert together == pytest.approx([row_nats(model, [row])[0] for row in rows], rel=1e-5)


@torch.no_grad()
def test_held_out_windows_count_text_and_not_the_ends_of_documents(model: Decoder) -> None:
    ids = np.array([0, *encode("first"), 0, *encode("second"), 0], np.uint16)
    sizes = np.ones(VOCAB, np.uint16)
    sizes[0] = 0
    found = HeldOutWindows(ids, sizes, 5).bits_per_byte(model, batch_tokens=7)
    assert (found.bytes, found.tokens) == (11, 11)
    nats = 0.0
    for at in range(0, len(ids) - 1, 5):
        window = torch.from_numpy(ids[at : at + 6].astype(np.int64))[None]
        each = F.cross_entropy(model(window[:, :-1])[0], window[0, 1:], reduction="none")
        nats += float(each[window[0, 1:] != 0].sum())
    assert found.nats == pytest.approx(nats, rel=1e-5)


def test_a_limit_spreads_the_windows_over_the_whole_stream() -> None:
    windows = HeldOutWindows(np.arange(1001) % 30, np.ones(30, np.uint16), 10, limit=50)
    assert len(windows) == 5
    assert not HeldOutWindows(np.zeros(0, np.uint16), np.ones(30, np.uint16), 10)
