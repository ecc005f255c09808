"""Embeddings equal the reference, whatever the batch, and nothing is cut in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertModel

from genwerk.core.errors import ModelError
from genwerk.retrieval.embedding import Embedder, plan_batches

TEXTS = ["Bread and water.", "", "the bees", "x" * 40, "Trains leave at 10:30!", "  \n\n ", "grün 👩‍👩‍👧"]


def reference(path: Path, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        states = BertModel.from_pretrained(path, add_pooling_layer=False).eval()(torch.tensor([ids])).last_hidden_state
    return torch.nn.functional.normalize(states.mean(1), dim=-1)[0].numpy()


def test_parity_with_transformers_one_by_one(tiny_encoder_dir: Path) -> None:
    embedder = Embedder.load(tiny_encoder_dir)
    vectors = embedder.embed(TEXTS)
    for ids, vector in zip(embedder.tokenize(TEXTS), vectors, strict=True):
        assert np.abs(reference(tiny_encoder_dir, ids) - vector).max() < 1e-5


def test_vectors_have_length_one_and_the_order_of_the_texts(tiny_encoder_dir: Path) -> None:
    embedder = Embedder.load(tiny_encoder_dir)
    texts = [f"{'water ' * (n % 9)}{n}" for n in range(70)]
    vectors = embedder.embed(texts)
    assert vectors.shape == (70, 32) and vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert np.abs(embedder.embed([texts[33]])[0] - vectors[33]).max() < 1e-5
    assert embedder.embed(texts).tobytes() == vectors.tobytes()
    assert embedder.embed([]).shape == (0, 32)


def test_a_text_longer_than_the_window_is_embedded_whole(tiny_encoder_dir: Path) -> None:
    embedder = Embedder.load(tiny_encoder_dir)
    long = "bread " * 100 + "zebra"
    assert embedder.count_tokens([long])[0] > embedder.window
    vector = embedder.embed([long, "short"])[0]
    assert abs(np.linalg.norm(vector) - 1) < 1e-5
    assert np.abs(vector - embedder.embed(["bread " * 100 + "quilt"])[0]).max() > 1e-4  # its end counts
    inner, room = embedder.tokenize([long])[0][1:-1], embedder.window - 2
    parts = [inner[start : start + room] for start in range(0, len(inner), room)]
    mean = sum(len(part) * reference(tiny_encoder_dir, [2, *part, 3]) for part in parts)
    assert np.abs(vector - mean / np.linalg.norm(mean)).max() < 1e-5


def test_batches_hold_each_text_once_longest_first() -> None:
    batches = plan_batches([3, 9, 9, 1, 5], 2)
    assert batches == [[1, 2], [4, 0], [3]]


def test_identity_changes_with_the_weights(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    for file in tiny_encoder_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert Embedder.load(tmp_path).identity == Embedder.load(tiny_encoder_dir).identity
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert Embedder.load(tmp_path).identity != Embedder.load(tiny_encoder_dir).identity


def test_a_broken_tokenizer_is_named(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    for file in tiny_encoder_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Embedder.load(tmp_path)


def test_minilm_equals_transformers(minilm_dir: Path) -> None:
    texts = ["What does the with statement do?", "A mapping of names to values.", "Bienen sammeln Nektar. " * 6]
    tokenizer, model = AutoTokenizer.from_pretrained(minilm_dir), AutoModel.from_pretrained(minilm_dir).eval()
    ours = Embedder.load(minilm_dir, "float32").embed(texts)
    for text, vector in zip(texts, ours, strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        theirs = torch.nn.functional.normalize(states.mean(1), dim=-1)[0].numpy()
        assert np.abs(theirs - vector).max() < 1e-5
