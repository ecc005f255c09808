"""Scores equal the reference whatever the company, and a long text is read whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from genwerk.core.errors import ModelError, RequestError
from genwerk.models.cross_encoder import load_cross_encoder
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.reranking import Reranker, VectorScorer
from genwerk.tokenizers.tokenizer import read_tokenizer

TEXTS = ["Bread and water.", "the bees", "", "water " * 9, "Trains leave at 10:30!"]


@pytest.fixture
def cross_encoder_dir(tiny_encoder_dir: Path, tmp_path: Path) -> Path:
    """The tiny encoder's tokenizer beside a BERT with one output, of random weights."""
    tokenizer = tokenizers.Tokenizer.from_file(str(tiny_encoder_dir / "tokenizer.json"))
    ids = [tokenizer.token_to_id(word) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=list(zip(("[CLS]", "[SEP]"), ids, strict=True)),
    )  # fmt: skip
    tokenizer.no_truncation()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=48, initializer_range=0.3, num_labels=1,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


@torch.inference_mode()
def reference(path: Path, ids: list[int], types: list[int]) -> float:
    model = transformers.BertForSequenceClassification.from_pretrained(path).eval()
    return float(model(torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits.sigmoid())


def test_scores_equal_transformers_one_by_one(cross_encoder_dir: Path) -> None:
    reranker = Reranker.load(cross_encoder_dir)
    scores = reranker.score("what is bread", TEXTS).scores
    assert scores.dtype == np.float32 and scores.shape == (5,)
    tokenizer = tokenizers.Tokenizer.from_file(str(cross_encoder_dir / "tokenizer.json"))
    for text, score in zip(TEXTS, scores, strict=True):
        pair = tokenizer.encode("what is bread", text)
        assert abs(reference(cross_encoder_dir, pair.ids, pair.type_ids) - score) < 1e-5
        alone = reranker.score("what is bread", [text])
        assert alone.scores == score and alone.tokens == len(pair.ids)
    assert reranker.score("bread", []).scores.shape == (0,)


def test_the_best_window_of_a_long_text_counts(cross_encoder_dir: Path) -> None:
    reranker = Reranker.load(cross_encoder_dir)
    long = "bread water bees trains " * 20
    tokenizer = tokenizers.Tokenizer.from_file(str(cross_encoder_dir / "tokenizer.json"))
    query, read = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("bread", long))
    room = reranker.window - len(query) - 3
    assert len(read) > 2 * room
    windows = [read[start : start + room] for start in range(0, len(read), room)]
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    expected = max(
        reference(cross_encoder_dir, [cls, *query, sep, *part, sep], [0] * (len(query) + 2) + [1] * (len(part) + 1))
        for part in windows
    )
    assert abs(reranker.score("bread", [long]).scores[0] - expected) < 1e-5


@pytest.mark.parametrize("words", [60, 25])
def test_a_query_that_takes_more_than_half_of_the_window_is_refused(cross_encoder_dir: Path, words: int) -> None:
    reranker = Reranker.load(cross_encoder_dir)
    assert reranker.window == 48 and len(reranker.score("bread " * 24, ["water"] * 2).scores) == 2
    with pytest.raises(RequestError, match=f"the query has {words} tokens, more than 24") as raised:
        reranker.score("bread " * words, ["water"])
    assert (raised.value.param, raised.value.code) == ("query", "context_length_exceeded")


def test_what_the_library_raises_is_not_taken_for_a_long_query(
    cross_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = read_tokenizer(cross_encoder_dir)
    reranker = Reranker(load_cross_encoder(cross_encoder_dir), tokenizer, name="tiny")
    assert tokenizer.truncation is None  # the caller's own stays as it was
    assert len(tokenizer.encode("bread " * 100).ids) > reranker.window

    class Broken:
        def encode_batch(self, pairs: list[tuple[str, str]]) -> list[tokenizers.Encoding]:
            raise Exception("a panic in the library")

    monkeypatch.setattr(reranker, "_tokenizer", Broken())
    with pytest.raises(Exception, match="a panic in the library"):
        reranker.score("bread", ["water"])


def test_a_query_and_its_texts_are_read_once(cross_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker, asked = Reranker.load(cross_encoder_dir), list[int]()

    class Watched:
        def encode_batch(self, pairs: list[tuple[str, str]]) -> list[tokenizers.Encoding]:
            asked.append(len(pairs))
            return tokenizer.encode_batch(pairs)

    tokenizer = reranker._tokenizer
    monkeypatch.setattr(reranker, "_tokenizer", Watched())
    assert reranker.score("what is bread", TEXTS).tokens > 0
    assert asked == [len(TEXTS)]


def test_an_embedder_scores_by_likeness(tiny_encoder_dir: Path) -> None:
    embedder = Embedder.load(tiny_encoder_dir)
    found = VectorScorer(embedder).score("the bees", TEXTS)
    assert found.scores[1] == pytest.approx(1, abs=1e-5) and int(found.scores.argmax()) == 1
    assert [VectorScorer(embedder).score("the bees", [text]).scores[0] for text in TEXTS] == found.scores.tolist()
    assert found.tokens == sum(embedder.count_tokens(["the bees", *TEXTS]))


def test_an_embedding_model_is_no_reranker(tiny_encoder_dir: Path) -> None:
    with pytest.raises(ModelError, match="no classifier"):
        Reranker.load(tiny_encoder_dir)
