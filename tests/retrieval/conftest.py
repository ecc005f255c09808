"""Small collections and embedders: one that needs no network, one real encoder of random weights on disk."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from local_postgres import LocalPostgres, Place
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from genwerk.core.types import Document
from genwerk.retrieval.chunking import Limits, RecursiveChunker
from genwerk.retrieval.index import Index
from genwerk.retrieval.store import FILE_NAME, write_store
from genwerk.retrieval.words import content_words, stem

TOPICS = {
    "bread": "Bread is baked from flour and water. The dough rests for twelve hours. An oven of 250 degrees is hot.",
    "bees": "Bees collect nectar from flowers. A hive holds 40000 bees. The queen never leaves the hive in winter.",
    "trains": "Trains run on rails. The express to Hamburg leaves at 10:30. Tickets must be bought before boarding.",
    "rivers": "Rivers carry water to the sea. The Elbe is 1094 kilometres long. Ships need locks if the level changes.",
    "chess": "Chess is played by two people. The bishop moves along diagonals. Castling is not allowed while in check.",
}


class BagOfStems:
    """An embedder whose likeness is shared words: each stem has a random direction of its own."""

    identity, dimension = "bag-of-stems", 48

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> np.ndarray:
        total = np.full(self.dimension, 1e-3, dtype=np.float32)
        for word in content_words(text):
            seed = int.from_bytes(hashlib.sha256(stem(word.folded).encode()).digest()[:4], "big")
            total += np.random.default_rng(seed).normal(size=self.dimension).astype(np.float32)
        return total / np.linalg.norm(total)


MakeIndex = Callable[..., Index]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """A server of our own; without PostgreSQL's programs the tests that need it are left out."""
    pytest.importorskip("psycopg", reason="no psycopg: pip install 'genwerk[postgres]'")
    server = LocalPostgres.find()
    if server is None:
        pytest.skip("no PostgreSQL: pip install 'genwerk[test]', or Debian's `postgresql`")
    with server.running():
        yield server


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where indexes may be, by name: folders, or schemas of a database."""
    monkeypatch.setenv("GENWERK_CACHE", str(tmp_path / "cache"))
    if request.param == "file":
        return lambda name: tmp_path / name
    server: LocalPostgres = request.getfixturevalue("postgres")
    unique = f"t{secrets.token_hex(6)}"
    return lambda name: server.url(f"{unique}_{name}")


@pytest.fixture
def make_index(tmp_path: Path) -> MakeIndex:
    def make(documents: Sequence[Document], max_chars: int = 120) -> Index:
        chunker = RecursiveChunker(Limits(max_chars=max_chars, min_chars=min(40, max_chars)))
        chunks = [chunk for document in documents for chunk in chunker.chunk(document)]
        texts = {document.id: document.text for document in documents}
        encoder = BagOfStems()
        vectors = encoder.embed([texts[chunk.document_id][chunk.start : chunk.end] for chunk in chunks])
        write_store(tmp_path / FILE_NAME, documents, chunks, vectors, {"embedder": encoder.identity})
        return Index.open(tmp_path)

    return make


@pytest.fixture
def topics() -> list[Document]:
    """Five documents, the one about bees for the group `keepers` only."""
    return [
        Document.create(f"{name}.md", f"# {name.title()}\n\n{text}\n", acl=("keepers",) if name == "bees" else ())
        for name, text in TOPICS.items()
    ]


@pytest.fixture
def encoder() -> BagOfStems:
    return BagOfStems()


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two small layers with a letter-by-letter WordPiece tokenizer and a window of 64 tokens."""
    path = tmp_path_factory.mktemp("encoder")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?#()'"
    vocab = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])}
    for letter in letters:
        vocab[letter] = len(vocab)
        vocab[f"##{letter}"] = len(vocab)
    for word in ("the", "water", "bread", "bees", "##ing"):
        vocab[word] = len(vocab)
    tokenizer = tokenizers.Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_truncation(16)  # as files on the hub have it; it must not be obeyed
    tokenizer.save(str(path / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=80,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64}))
    return path
