"""A file of e5: what is written is read, the encoder equals transformers, and damage is told from another version."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from genwerk.core.errors import ModelError
from genwerk.models.e5_file import is_e5_file, read_e5
from genwerk.models.encoder import embed_tokens, load_encoder

PIECES = {"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -4.0, "▁grün": -5.0, "er": -3.0, "▁Tee": -5.0, "e": -6.0, "1": -6.0, "/": -7.0}  # fmt: skip  # noqa: E501
PARTS = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm", "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
TABLES = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}


def short_names(layers: int) -> dict[str, str]:
    """Name in the file → name on the hub."""
    names = {f"emb.{short}": f"embeddings.{name}.weight" for short, name in TABLES.items()}
    names |= {f"emb.ln.{end[0]}": f"embeddings.LayerNorm.{end}" for end in ("weight", "bias")}
    for layer in range(layers):
        for short, name in PARTS.items():
            names |= {f"l{layer}.{short}.{end[0]}": f"encoder.layer.{layer}.{name}.{end}" for end in ("weight", "bias")}
    return names


def write_e5(path: Path, model: BertModel) -> None:
    """`model` in the file's layout; what is rounded to 4 bits is rounded in `model` too."""
    config, held = model.config, model.state_dict()
    texts = [piece.encode() for piece in PIECES]
    sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size,
             config.vocab_size, config.max_position_embeddings, config.type_vocab_size)  # fmt: skip
    head = struct.pack("<4sI7ifi", b"E5S1", 1, *sizes, config.layer_norm_eps, 32)
    head += struct.pack("<5iQ", len(texts), 0, 2, 1, 3, sum(map(len, texts)))
    head += np.cumsum([0, *map(len, texts)], dtype=np.uint32).tobytes()
    head += np.array(list(PIECES.values()), dtype=np.float32).tobytes() + b"".join(texts) + struct.pack("<iI", 0, 0)
    names = short_names(config.num_hidden_layers)
    data, entries = b"", []
    for short, name in names.items():
        values = held[name].numpy()
        packed = short == "emb.word" or (short.startswith("l") and short.endswith(".w") and "ln" not in short)
        if packed:
            blocks = gguf.quantize(values, gguf.GGMLQuantizationType.Q4_0)
            held[name].copy_(torch.from_numpy(gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q4_0)))
            values = blocks
        entries.append((short, int(packed), held[name].numel(), len(data), values.nbytes))
        data += values.tobytes()
    table = sum(2 + len(short) + 21 for short, *_ in entries) + 4
    start = len(head) + table + (-(len(head) + table)) % 4
    lines = [
        struct.pack("<H", len(short)) + short.encode() + struct.pack("<BIQQ", kind, count, start + at, size)
        for short, kind, count, at, size in entries
    ]
    head += struct.pack("<I", len(entries)) + b"".join(lines)
    path.write_bytes(head + b"\0" * (start - len(head)) + data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BertModel]:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(PIECES), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=96, max_position_embeddings=40)  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("e5") / "small.bin"
    write_e5(path, model)
    return path, model


def test_parity_with_transformers(made: tuple[Path, BertModel]) -> None:
    path, model = made
    file = read_e5(path)
    assert is_e5_file(path) and file.config.max_tokens == 40
    encoder = load_encoder(path, file.tensors(), config=file.config)
    tokens = [0, 5, 6, 7, 2]
    states = model(torch.tensor([tokens])).last_hidden_state[0]
    theirs = torch.nn.functional.normalize(states.mean(0), dim=-1)
    assert (embed_tokens(encoder, [tokens])[0] - theirs).abs().max() < 1e-5


def test_texts_are_cut_into_pieces(made: tuple[Path, BertModel]) -> None:
    tokenizer = read_e5(made[0]).tokenizer()
    assert tokenizer.encode("grüner  Tee").tokens == ["<s>", "▁grün", "er", "▁Tee", "</s>"]
    assert tokenizer.encode("gru\u0308n\tTee\x07").tokens == ["<s>", "▁grün", "▁Tee", "</s>"]
    assert tokenizer.encode("１").ids == [0, 4, 9, 2]
    assert tokenizer.encode("?").tokens[1:-1] == ["▁", "?"] and tokenizer.encode("?").ids[2] == 3


@pytest.mark.parametrize(("at", "value", "told"), [(4, b"\x02", "version 2"), (64, b"\xff\xff\xff", "no whole file")])
def test_another_version_and_damage_are_told(
    made: tuple[Path, BertModel], tmp_path: Path, at: int, value: bytes, told: str
) -> None:
    data = made[0].read_bytes()
    broken = tmp_path / "broken.bin"
    broken.write_bytes(data[:at] + value + data[at + len(value) :])
    with pytest.raises(ModelError, match=told):
        read_e5(broken)


def test_other_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"GGUF")
    assert not is_e5_file(tmp_path / "a.bin") and not is_e5_file(tmp_path)
