"""A BERT encoder that turns texts into vectors (all-MiniLM-L6-v2 and its kin).

Sources: Devlin et al. (2019), BERT; Reimers and Gurevych (2019), Sentence-BERT.

    h <- LN(h + O softmax(q k^T / sqrt(D)) v),   h <- LN(h + W2 gelu(W1 h))
    vector = mean of the h of real tokens, scaled to length 1

Chosen:   q, k, v share one product; texts lie one behind the other without padding, and a text's numbers are the same
          to the bit alone and among others (steady_linear.py).
          In training the weights stay as they are, and a gradient goes through the same products.
Left out: dropout, the pooler, relative positions.
Try it:   genwerk run recipes/quickstart.yaml --no-serve
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.core.errors import ModelError
from genwerk.models.arrays import read_json
from genwerk.models.hf_config import TOKENIZER_FILES
from genwerk.models.linear import Linear
from genwerk.models.steady_linear import SteadyLinear
from genwerk.models.weights import read_model_tensors, write_tensors

__all__ = ["Encoder", "EncoderConfig", "embed_tokens", "encoder_tensors", "join_tokens", "load_encoder", "save_encoder"]

_FILES = ("config.json", "sentence_bert_config.json", "modules.json", "1_Pooling/config.json", "vocab.txt")


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

    def check_length(self, tokens: int) -> None:
        """Raise ModelError for a text that has more tokens than there are positions."""
        if tokens > self.max_positions:
            raise ModelError(
                f"a text of {tokens} tokens is longer than the encoder's {self.max_positions} positions",
                remedy="Split the text into smaller chunks.",
            )


class EncoderBlock(nn.Module):
    """One layer of BERT: attention, then the feed-forward part, each followed by its norm."""

    qkv: Linear | SteadyLinear
    out: Linear | SteadyLinear
    up: Linear | SteadyLinear
    down: Linear | SteadyLinear

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

    def forward(self, x: Tensor, runs: Sequence[Run]) -> Tensor:
        """(R, d_model) -> (R, d_model)."""
        qkv = self.qkv(x)
        if not isinstance(self.up, SteadyLinear):
            return self._trained(x, qkv, runs)
        mixed = torch.empty_like(x)
        for run in runs:
            rows = slice(run.start, run.start + run.texts * run.length)
            into = mixed[rows].view(run.texts, run.length, self.n_heads, -1)
            into.copy_(self._attended(qkv[rows], run))
        x = self.attention_norm(x + self.out(mixed))
        return self.norm(x + self.down(self.up(x, gelu=True)))  # type: ignore[no-any-return]

    def _attended(self, qkv: Tensor, run: Run) -> Tensor:
        """Of the rows of one run, (B * T, 3 * d_model) -> (B, T, H, D)."""
        parts = qkv.view(run.texts, run.length, 3, self.n_heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    def _trained(self, x: Tensor, qkv: Tensor, runs: Sequence[Run]) -> Tensor:
        """`forward` after its first product, with weights that are not packed; nothing is written in place."""
        rows = torch.split(qkv, [run.texts * run.length for run in runs])
        attended = [self._attended(part, run).reshape(len(part), -1) for part, run in zip(rows, runs, strict=True)]
        x = self.attention_norm(x + self.out(torch.cat(attended)))
        return self.norm(x + self.down(F.gelu(self.up(x))))  # type: ignore[no-any-return]

    def pack(self) -> None:
        """Bring the weights into the order they are read in; they cannot be changed after."""
        for name in ("qkv", "out", "up", "down"):
            setattr(self, name, SteadyLinear(getattr(self, name)))


class Encoder(nn.Module):
    """Texts one behind the other, without padding: token numbers (R,) to states (R, d_model).

    steady   whether a text's numbers are the same to the bit alone and among others, on one core and on more; found
             out by `pack`.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config, self.steady = config, False
        self.words = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.positions = nn.Parameter(torch.empty(config.max_positions, config.d_model))
        self.types = nn.Parameter(torch.empty(config.n_types, config.d_model))
        self.embedding_norm = nn.LayerNorm(config.d_model, config.norm_eps)
        self.layers = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_layers))

    def forward(self, tokens: Tensor, lengths: Sequence[int], types: Tensor | None = None) -> Tensor:
        """lengths   of the texts, whose sum is R; neighbours of equal length share one attention.
        types     0 or 1 for each token: which text of a pair it is of; None: all are of the first.
        """
        self.config.check_length(max(lengths))
        at = torch.cat([torch.arange(length) for length in lengths]).to(tokens.device)
        kind = self.types[0] if types is None else F.embedding(types, self.types)
        x = self.embedding_norm(F.embedding(tokens, self.words) + (F.embedding(at, self.positions) + kind))
        runs = _runs(lengths)
        for block in self.layers:
            x = block(x, runs)
        return x  # type: ignore[no-any-return]

    def pack(self) -> None:
        """Pack the weights, which are whole from then on, and see whether texts are independent of each other here."""
        for block in self.layers:
            assert isinstance(block, EncoderBlock)
            block.pack()
        self.steady = self._is_steady()

    @torch.inference_mode()
    def _is_steady(self) -> bool:
        """Whether one layer gives the same bits for texts together and for each alone, on all cores and on one."""
        lengths = [40, 17, 17, 9, 2, 1]
        x = torch.randn(sum(lengths), self.config.d_model, generator=torch.Generator().manual_seed(0))
        together, cores = self.layers[0](x, _runs(lengths)), torch.get_num_threads()
        try:
            for some in (cores, 1):
                torch.set_num_threads(some)
                alone = torch.cat([self.layers[0](one, _runs([len(one)])) for one in torch.split(x, lengths)])
                if not torch.equal(together, alone):
                    return False
        finally:
            torch.set_num_threads(cores)
        return True


class Run(NamedTuple):
    """Neighbouring texts of one length, from row `start` on."""

    start: int
    texts: int
    length: int


def _runs(lengths: Sequence[int]) -> list[Run]:
    runs, start = [], 0
    for length, group in groupby(lengths):
        runs.append(Run(start, len(list(group)), length))
        start += runs[-1].texts * length
    return runs


@torch.inference_mode()
def embed_tokens(encoder: Encoder, sequences: Sequence[Sequence[int]]) -> Tensor:
    """One vector of length 1 per token sequence: (N, d_model) float32. Mean over tokens, then L2 normalised.

    All are computed together; it is fastest where sequences of equal length are neighbours. Raises ModelError for one
    that is empty or longer than the encoder's positions.
    """
    tokens, lengths = join_tokens(sequences)
    states: Tensor = encoder(tokens, lengths)
    return F.normalize(torch.stack([part.mean(0) for part in torch.split(states, lengths)]).float(), dim=-1)


def join_tokens(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
    """All tokens one behind the other, and the length of each sequence. Raises ModelError for an empty one."""
    lengths = [len(sequence) for sequence in sequences]
    if not lengths or min(lengths) == 0:
        raise ModelError("an empty token sequence has no vector", remedy="Encode with special tokens, or leave it out.")
    return torch.tensor([token for sequence in sequences for token in sequence]), lengths


def load_encoder(
    path: Path,
    tensors: Mapping[str, Tensor] | None = None,
    *,
    config: EncoderConfig | None = None,
    trainable: bool = False,
) -> Encoder:
    """Read a Hugging Face directory of a BERT encoder. Raises ModelError for missing or unsupported files.

    tensors     of its files, and `config`, where they have been read already
    trainable   leave the weights unpacked, so that they can change; a text's numbers may then differ in company
    """
    config = config or _config(read_json(path / "config.json"), path)
    encoder = Encoder(config)
    tensors = read_model_tensors(path) if tensors is None else tensors
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""
    fill_slots(((prefix + name, slot) for name, slot in _slots(encoder)), tensors, path)
    if trainable:
        return encoder
    encoder.requires_grad_(False).pack()
    return encoder.eval()


def encoder_tensors(encoder: Encoder) -> dict[str, Tensor]:
    """The weights of a trainable encoder by their names on disk, on the CPU."""
    return {name: slot.cpu().contiguous() for name, slot in _slots(encoder)}


def save_encoder(encoder: Encoder, path: Path, files: Path) -> None:
    """Write a directory that `load_encoder` reads: the weights, and all else from the directory `files`."""
    path.mkdir(parents=True, exist_ok=True)
    for name in (*TOKENIZER_FILES, *_FILES):
        if (files / name).is_file():
            (path / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(files / name, path / name)
    write_tensors(path / "model.safetensors", encoder_tensors(encoder))


def fill_slots(slots: Iterable[tuple[str, Tensor]], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy what the file holds into (name on disk, view into the weight). Raises ModelError for what does not fit."""
    for name, slot in slots:
        found = tensors.get(name)
        if found is None or found.shape != slot.shape:
            got = "is missing" if found is None else f"is {tuple(found.shape)}"
            raise ModelError(
                f"weight {name} {got}, config.json asks for {tuple(slot.shape)}",
                where=str(path / "model.safetensors"),
                remedy="config.json and the weights must be of one model.",
            )
        slot.copy_(found)


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
        assert isinstance(block.qkv, Linear)
        for part, rows in block.qkv.rows.items():
            yield f"{at}.attention.self.{part}.weight", block.qkv.weight.detach()[rows]
            assert block.qkv.bias is not None
            yield f"{at}.attention.self.{part}.bias", block.qkv.bias.detach()[rows]
        yield from _both(f"{at}.attention.output.dense", block.out)
        yield from _both(f"{at}.attention.output.LayerNorm", block.attention_norm)
        yield from _both(f"{at}.intermediate.dense", block.up)
        yield from _both(f"{at}.output.dense", block.down)
        yield from _both(f"{at}.output.LayerNorm", block.norm)


def _both(name: str, module: Linear | SteadyLinear | nn.LayerNorm) -> Iterator[tuple[str, Tensor]]:
    assert not isinstance(module, SteadyLinear)
    yield f"{name}.weight", module.weight.detach()
    if module.bias is not None:
        yield f"{name}.bias", module.bias.detach()
