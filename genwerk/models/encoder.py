"""A BERT encoder that turns texts into vectors (all-MiniLM-L6-v2 and its kin).

Sources: Devlin et al. (2019), BERT; Reimers and Gurevych (2019), Sentence-BERT.

    h <- LN(h + O softmax(q k^T / sqrt(D)) v),   h <- LN(h + W2 gelu(W1 h))
    vector = mean of the h of real tokens, scaled to length 1

Chosen:   q, k, v share one product; the mask is built once and left out where a batch has no padding.
Left out: dropout, the pooler, relative positions, training.
Try it:   genwerk run recipes/quickstart.yaml --no-serve
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.core.errors import ModelError
from genwerk.models.linear import Linear
from genwerk.models.weights import read_json, read_model_tensors

__all__ = ["Encoder", "EncoderConfig", "embed_tokens", "load_encoder"]


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder. `max_tokens` is the longest input it was made for, [CLS] and [SEP] included."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    max_positions: int
    max_tokens: int
    n_types: int = 2
    norm_eps: float = 1e-12


class EncoderBlock(nn.Module):
    """One layer of BERT: attention, then the feed-forward part, each followed by its norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.d_model
        self.n_heads = config.n_heads
        self.qkv = Linear(size, {"query": size, "key": size, "value": size}, bias=True)
        self.out = Linear(size, {"dense": size}, bias=True)
        self.attention_norm = nn.LayerNorm(size, config.norm_eps)
        self.up = Linear(size, {"dense": config.d_ff}, bias=True)
        self.down = Linear(config.d_ff, {"dense": size}, bias=True)
        self.norm = nn.LayerNorm(size, config.norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model); mask (B, 1, 1, T) is added to the scores."""
        batch, length, size = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.n_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.attention_norm(x + self.out(mixed.transpose(1, 2).reshape(batch, length, size)))
        return self.norm(x + self.down(F.gelu(self.up(x))))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Token numbers (B, T) and a mask (B, T), 1 where a token is real, to states (B, T, d_model)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.positions = nn.Parameter(torch.empty(config.max_positions, config.d_model))
        self.types = nn.Parameter(torch.empty(config.n_types, config.d_model))
        self.embedding_norm = nn.LayerNorm(config.d_model, config.norm_eps)
        self.layers = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_layers))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > self.config.max_positions:
            raise ModelError(
                f"a text of {length} tokens is longer than the encoder's {self.config.max_positions} positions",
                remedy="Split the text into smaller chunks.",
            )
        x = F.embedding(tokens, self.words) + (self.positions[:length] + self.types[0])
        x = self.embedding_norm(x)
        real = mask.bool()
        scores_mask = None
        if not bool(real.all()):
            scores_mask = torch.zeros(real.shape, dtype=x.dtype, device=x.device)
            scores_mask = scores_mask.masked_fill_(~real, torch.finfo(x.dtype).min)[:, None, None, :]
        for block in self.layers:
            x = block(x, scores_mask)
        return x  # type: ignore[no-any-return]


@torch.inference_mode()
def embed_tokens(encoder: Encoder, sequences: Sequence[Sequence[int]]) -> Tensor:
    """One vector of length 1 per token sequence: (N, d_model) float32. Mean over tokens, then L2 normalised.

    All sequences go in one padded batch: give sequences of similar length. Raises ModelError for one that is empty or
    longer than the encoder's positions.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    if not len(lengths) or int(lengths.min()) == 0:
        raise ModelError("an empty token sequence has no vector", remedy="Encode with special tokens, or leave it out.")
    longest = int(lengths.max())
    tokens = torch.zeros(len(sequences), longest, dtype=torch.int64)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = torch.as_tensor(sequence)
    mask = torch.arange(longest) < lengths[:, None]  # (N, T)
    states: Tensor = encoder(tokens, mask)
    pooled = (states * mask[..., None]).sum(1) / lengths[:, None]
    return F.normalize(pooled.float(), dim=-1)


def load_encoder(path: Path) -> Encoder:
    """Read a Hugging Face directory of a BERT encoder. Raises ModelError for missing or unsupported files."""
    values = read_json(path / "config.json")
    config = _config(values, path)
    with torch.device("meta"):
        encoder = Encoder(config)
    encoder = encoder.to_empty(device="cpu")
    tensors = read_model_tensors(path)
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""
    for name, slot in _slots(encoder):
        found = tensors.get(prefix + name)
        if found is None or found.shape != slot.shape:
            got = "is missing" if found is None else f"is {tuple(found.shape)}"
            raise ModelError(
                f"weight {prefix}{name} {got}, config.json asks for {tuple(slot.shape)}",
                where=str(path / "model.safetensors"),
                remedy="config.json and the weights must be of one model.",
            )
        slot.copy_(found)
    return encoder.eval().requires_grad_(False)


def _config(values: Mapping[str, Any], path: Path) -> EncoderConfig:
    where = str(path / "config.json")
    if values.get("model_type") != "bert" or values.get("hidden_act") != "gelu":
        raise ModelError(
            f"model_type {values.get('model_type')!r} with {values.get('hidden_act')!r} is no encoder known here",
            where=where,
            remedy="Supported: bert with gelu, such as all-MiniLM-L6-v2.",
        )
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise ModelError("relative positions are not supported", where=where)
    sentence = path / "sentence_bert_config.json"
    longest = read_json(sentence).get("max_seq_length") if sentence.exists() else None
    try:
        return EncoderConfig(
            vocab_size=int(values["vocab_size"]),
            d_model=int(values["hidden_size"]),
            n_layers=int(values["num_hidden_layers"]),
            n_heads=int(values["num_attention_heads"]),
            d_ff=int(values["intermediate_size"]),
            max_positions=int(values["max_position_embeddings"]),
            max_tokens=min(int(longest or values["max_position_embeddings"]), int(values["max_position_embeddings"])),
            n_types=int(values.get("type_vocab_size", 2)),
            norm_eps=float(values.get("layer_norm_eps", 1e-12)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"config.json has no usable {error}", where=where, remedy="Fetch the model again.") from None


def _slots(encoder: Encoder) -> Iterator[tuple[str, Tensor]]:
    """(name on disk, view into the weight)."""
    yield "embeddings.word_embeddings.weight", encoder.words.detach()
    yield "embeddings.position_embeddings.weight", encoder.positions.detach()
    yield "embeddings.token_type_embeddings.weight", encoder.types.detach()
    yield from _both("embeddings.LayerNorm", encoder.embedding_norm)
    for number, block in enumerate(encoder.layers):
        assert isinstance(block, EncoderBlock)
        at = f"encoder.layer.{number}"
        for part, rows in block.qkv.rows.items():
            yield f"{at}.attention.self.{part}.weight", block.qkv.weight.detach()[rows]
            assert block.qkv.bias is not None
            yield f"{at}.attention.self.{part}.bias", block.qkv.bias.detach()[rows]
        yield from _both(f"{at}.attention.output.dense", block.out)
        yield from _both(f"{at}.attention.output.LayerNorm", block.attention_norm)
        yield from _both(f"{at}.intermediate.dense", block.up)
        yield from _both(f"{at}.output.dense", block.down)
        yield from _both(f"{at}.output.LayerNorm", block.norm)


def _both(name: str, module: Linear | nn.LayerNorm) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", module.weight.detach()
    if module.bias is not None:
        yield f"{name}.bias", module.bias.detach()
