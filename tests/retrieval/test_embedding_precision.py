"""Vectors of one precision are never compared with those of the other; words before questions and passages."""

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
from typer.testing import CliRunner

from genwerk.cli import app
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


def test_int16_is_near_float32_and_another_embedder(wide_encoder_dir: Path, paying: None) -> None:
    exact, rounded = Embedder.load(wide_encoder_dir), Embedder.load(wide_encoder_dir, "int16")
    assert rounded.identity == f"int16-{exact.identity}"
    assert (exact.embed(TEXTS) * rounded.embed(TEXTS)).sum(-1).min() > 0.9999
    assert rounded.embed(TEXTS).tobytes() == np.concatenate([rounded.embed([one]) for one in TEXTS]).tobytes()


def test_no_real_text_strays(minilm_dir: Path, paying: None) -> None:
    """Single words, signs, code, German and paragraphs: the lowest cosine counts, as one passage is sought."""
    words = sorted(set(" ".join(topics.values()).split()))[::97]
    signs = [*string.printable[::3], "ä", "ß", "€", "中文", "Hallo Welt", "Grüße aus Köln, wo es heute regnet."]
    code = [inspect.getsource(one) for one in (inspect.getdoc, string.capwords, json.dumps)]
    texts = [*words, *signs, *(one[:700] for one in code), *(topics[name][:700] for name in sorted(topics)[::16])]
    exact, rounded = Embedder.load(minilm_dir), Embedder.load(minilm_dir, "int16")
    assert (exact.embed(texts) * rounded.embed(texts)).sum(-1).min() > 0.9999


def test_an_index_is_searched_in_its_own_precision(wide_encoder_dir: Path, tmp_path: Path, paying: None) -> None:
    live = LiveIndex(tmp_path, Embedder.load(wide_encoder_dir, "int16"))
    assert live.sync([Document.create("bees.txt", "The bees fly from the hive to the water.")]).added == 1
    index = Index.open(tmp_path)
    assert index.precision == "int16"
    Searcher(index, Embedder.load(wide_encoder_dir, index.precision))
    with pytest.raises(WorkspaceError, match="cannot be compared"):
        Searcher(index, Embedder.load(wide_encoder_dir))


def test_an_index_of_an_earlier_precision_is_refused(wide_encoder_dir: Path, tmp_path: Path, paying: None) -> None:
    embedder = Embedder.load(wide_encoder_dir, "int16")
    now, embedder.identity = embedder.identity, embedder.identity.replace("int16-", "int8-")
    LiveIndex(tmp_path, embedder)
    index, embedder.identity = Index.open(tmp_path), now
    with pytest.raises(WorkspaceError, match="cannot be compared"):
        Searcher(index, embedder)
    with pytest.raises(WorkspaceError, match="another embedder: int8-"):
        LiveIndex(tmp_path, embedder).sync([Document.create("a.md", "bread")])


def test_the_command_keeps_the_precision(wide_encoder_dir: Path, tmp_path: Path, paying: None) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Bees\n\nThe bees fly from the hive to the water in summer.\n")
    build = ["index", "build", str(tmp_path / "docs"), "--index", str(tmp_path / "index")]
    chosen = ["--embed", str(wide_encoder_dir), "--precision", "int16"]
    assert CliRunner().invoke(app, [*build, *chosen]).exit_code == 0
    assert Index.open(tmp_path / "index").precision == "int16"
    again = CliRunner().invoke(app, build)
    assert again.exit_code == 0 and "1 unchanged" in again.output
    assert "float32" in str(CliRunner().invoke(app, [*build, "--precision", "float16"]).exception)


def test_without_kernels_it_is_float32_and_said(
    wide_encoder_dir: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch, paying: None
) -> None:
    said: list[str] = []
    monkeypatch.setattr(embedding, "say", lambda text, style="": said.append(text))
    assert not Embedder.load(tiny_encoder_dir, "int16").identity.startswith("int16")  # heads of 8 numbers
    monkeypatch.setattr(NativeEncoder, "pays", staticmethod(lambda: False))
    assert Embedder.load(wide_encoder_dir, "int16").identity == Embedder.load(wide_encoder_dir).identity
    assert ["heads of 16" in said[0], "VNNI" in said[1]] == [True, True]


def test_a_missing_compiler_is_said(wide_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch, paying: None) -> None:
    def missing(variant: str) -> None:
        raise NativeUnavailableError("there is no C++ compiler")

    said: list[str] = []
    monkeypatch.setattr("genwerk.inference.native.encoder.load_library", missing)
    monkeypatch.setattr(embedding, "say", lambda text, style="": said.append(text))
    assert Embedder.load(wide_encoder_dir, "int16").identity == Embedder.load(wide_encoder_dir).identity
    assert said == ["embedding in float32 instead of int16: there is no C++ compiler"]


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
