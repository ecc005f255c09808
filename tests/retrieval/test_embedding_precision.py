"""Vectors in words of 16 bits are those of float32; words before questions and passages."""

from __future__ import annotations

import inspect
import json
import string
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from genwerk.core.errors import WorkspaceError
from genwerk.core.types import Document
from genwerk.inference.native.encoder import NativeEncoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.retrieval import embedding
from genwerk.retrieval.building import LiveIndex
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import Searcher

TEXTS = ["bread and water", "the bees", "bread " * 90, "x", "water 12"]


@pytest.fixture(scope="module")
def wide_encoder_dir(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder, of a width that the kernels read."""
    path = tmp_path_factory.mktemp("wide")
    for name in ("tokenizer.json", "sentence_bert_config.json"):
        (path / name).write_bytes((tiny_encoder_dir / name).read_bytes())
    size = json.loads((tiny_encoder_dir / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    config = BertConfig(vocab_size=size, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=128, max_position_embeddings=80)  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    return path


@pytest.fixture
def paying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers are taken whatever the processor."""
    monkeypatch.setattr(NativeEncoder, "pays", staticmethod(lambda: True))


def test_int16_is_near_float32_and_the_same_embedder(wide_encoder_dir: Path, paying: None) -> None:
    exact, rounded = Embedder.load(wide_encoder_dir, "float32"), Embedder.load(wide_encoder_dir)
    assert (exact.precision, rounded.precision) == ("float32", "int16")
    assert rounded.identity == exact.identity
    assert (exact.embed(TEXTS) * rounded.embed(TEXTS)).sum(-1).min() > 0.9999
    assert rounded.embed(TEXTS).tobytes() == np.concatenate([rounded.embed([one]) for one in TEXTS]).tobytes()


def test_no_real_text_strays(minilm_dir: Path, paying: None) -> None:
    """Single words, signs, code, German and paragraphs: the lowest cosine counts, as one passage is sought."""
    words = sorted(set(" ".join(topics.values()).split()))[::97]
    signs = [*string.printable[::3], "ä", "ß", "€", "中文", "Hallo Welt", "Grüße aus Köln, wo es heute regnet."]
    code = [inspect.getsource(one) for one in (inspect.getdoc, string.capwords, json.dumps)]
    texts = [*words, *signs, *(one[:700] for one in code), *(topics[name][:700] for name in sorted(topics)[::16])]
    exact, rounded = Embedder.load(minilm_dir, "float32"), Embedder.load(minilm_dir, "int16")
    assert (exact.embed(texts) * rounded.embed(texts)).sum(-1).min() > 0.9999


def test_an_index_is_searched_in_either_precision(wide_encoder_dir: Path, tmp_path: Path, paying: None) -> None:
    exact, rounded = Embedder.load(wide_encoder_dir, "float32"), Embedder.load(wide_encoder_dir, "int16")
    documents = [Document.create(f"{place}.txt", text) for place, text in enumerate(TEXTS)]
    assert LiveIndex(tmp_path, rounded).sync(documents).added == len(TEXTS)
    found = [Searcher(Index.open(tmp_path), one).search("the water", 4, arm="dense") for one in (exact, rounded)]
    assert [item.chunk.document_id for item in found[0]] == [item.chunk.document_id for item in found[1]]
    assert [item.score for item in found[0]] == pytest.approx([item.score for item in found[1]], abs=1e-4)
    assert LiveIndex(tmp_path, exact).sync([*documents, Document.create("new.txt", "the hive")]).added == 1


def test_another_embedder_is_refused(wide_encoder_dir: Path, tmp_path: Path) -> None:
    embedder = Embedder.load(wide_encoder_dir)
    now, embedder.identity = embedder.identity, f"int8-{embedder.identity}"
    LiveIndex(tmp_path, embedder)
    index, embedder.identity = Index.open(tmp_path), now
    with pytest.raises(WorkspaceError, match="cannot be compared"):
        Searcher(index, embedder)
    with pytest.raises(WorkspaceError, match="another embedder: int8-"):
        LiveIndex(tmp_path, embedder).sync([Document.create("a.md", "bread")])


def test_where_the_kernels_do_not_pay_it_is_float32(wide_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(embedding, "say", lambda text, style="": said.append(text))
    monkeypatch.setattr(NativeEncoder, "pays", staticmethod(lambda: False))
    assert Embedder.load(wide_encoder_dir).precision == "float32"
    assert said == []


def test_what_the_kernels_cannot_read_is_float32_and_said(
    wide_encoder_dir: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch, paying: None
) -> None:
    def missing(variant: str) -> None:
        raise NativeUnavailableError("there is no C++ compiler")

    said: list[str] = []
    monkeypatch.setattr(embedding, "say", lambda text, style="": said.append(text))
    assert Embedder.load(tiny_encoder_dir).precision == "float32"  # heads of 8 numbers
    monkeypatch.setattr("genwerk.inference.native.encoder.load_library", missing)
    assert Embedder.load(wide_encoder_dir).precision == "float32"
    assert "heads of 16" in said[0]
    assert said[1:] == ["embedding in float32 instead of int16: there is no C++ compiler"]


def test_prompts_stand_before_questions_and_passages(wide_encoder_dir: Path, tmp_path: Path) -> None:
    for file in wide_encoder_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = tmp_path / "config_sentence_transformers.json"
    settings.write_text(json.dumps({"prompts": {"query": "bees ", "document": "water "}}))
    prompted, plain = Embedder.load(tmp_path), Embedder.load(wide_encoder_dir)
    assert prompted.identity != plain.identity
    assert prompted.tokenize(["bread"]) == plain.tokenize(["water bread"])
    assert prompted.count_tokens(["bread"]) == plain.count_tokens(["water bread"])
    assert np.array_equal(prompted.embed(["bread"]), plain.embed(["bees bread"]))
    settings.write_text(json.dumps({"prompts": None}))
    assert Embedder.load(tmp_path).identity == plain.identity
