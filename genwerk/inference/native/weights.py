"""All weights of a decoder, packed; and kept on disk, so that the next start maps them instead of packing again.

Names are `3.qkv.data` (layer, matrix, part), `3.expert-5.down.data`, `3.attention_norm`, `unembed.data`, `final_norm`.
A kept file lies in the cache folder under a name made of the model's files and of this code; beside it stands its
sha256, and a file that does not match is said to be damaged and made again.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from genwerk.core.assets import cache_directory
from genwerk.core.atomic import write_text
from genwerk.core.hashing import sha256_file
from genwerk.core.progress import say
from genwerk.inference.model_files import stamp
from genwerk.inference.native import pack
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.native.pack import Arrangement, Grid, Packing, fill
from genwerk.models.decoder import Block, Decoder
from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.feed_forward import MLP, Experts
from genwerk.models.huggingface import load_decoder
from genwerk.models.linear import Linear
from genwerk.models.weights import read_tensors, write_tensors

__all__ = ["MATRICES", "PackedWeights", "check_shape", "kept_weights", "matrices", "pack_decoder"]

MATRICES = ("qkv", "out", "gate_up", "down")
_MOST_HEAD = 256
_MOST_INPUTS = 2**17  # 128 · 127 times as many are the largest sum below 2^31
_KEPT = 4  # files in the cache folder; the longest unused goes first


def check_shape(config: DecoderConfig) -> None:
    """Raise NativeUnavailableError for a network that the kernels do not know."""
    if Arrangement(config).head > _MOST_HEAD:
        raise NativeUnavailableError(f"the native kernels' heads hold {_MOST_HEAD} at most, not {config.head_dim}")
    if max(config.d_model, config.d_ff, config.n_heads * Arrangement(config).head) > _MOST_INPUTS:
        raise NativeUnavailableError(f"the native kernels' sums of bytes hold {_MOST_INPUTS:,} inputs at most")
    if config.sinks > pack.PANEL:
        raise NativeUnavailableError(f"the native kernels keep {pack.PANEL} sinks at most, not {config.sinks}")


@dataclass(frozen=True)
class PackedWeights:
    """precision: see pack.py. The tensors must not be changed: they may be a file."""

    config: DecoderConfig
    precision: str
    tensors: Mapping[str, Tensor]


@torch.no_grad()
def pack_decoder(model: Decoder, precision: str, grids: Mapping[str, Grid] | None = None) -> PackedWeights:
    """Pack every weight of `model`, which is not needed after. Raises NativeUnavailableError (see `check_shape`).

    grids  by name, as `3.qkv`, what calibration chose; the others reach from the lowest to the highest weight.
    """
    check_shape(model.config)
    with torch.inference_mode(False):
        return PackedWeights(model.config, precision, dict(_packed(model, precision, grids or {})))


def kept_weights(directory: Path, config: DecoderConfig, precision: str) -> PackedWeights:
    """The packed weights of a model directory, from the cache folder or packed and put there. Raises ModelError."""
    file = cache_directory() / "packed" / f"{_identity(directory, precision)}.safetensors"
    seal = file.with_suffix(".sha256")
    if file.exists() and seal.exists():
        if sha256_file(file) == seal.read_text().strip():
            file.touch()
            return PackedWeights(config, precision, read_tensors(file))
        say(f"{file} is damaged and is made again", style="yellow")
    packed = pack_decoder(load_decoder(directory), precision)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:  # two processes may do this at once
        made = Path(scratch) / file.name
        write_tensors(made, packed.tensors)
        write_text(seal, sha256_file(made))
        made.replace(file)
    for old in sorted(file.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
        old.with_suffix(".sha256").unlink(missing_ok=True)
    return PackedWeights(config, precision, packed.tensors)


def matrices(block: nn.Module) -> dict[str, Linear]:
    """The weights of a `Block` by name: those of MATRICES, or `router` and `expert-5.down` for the last two."""
    assert isinstance(block, Block)
    found = {"qkv": block.self_attn.qkv, "out": block.self_attn.out}
    if isinstance(block.mlp, MLP):
        return found | {"gate_up": block.mlp.gate_up, "down": block.mlp.down}
    assert isinstance(block.mlp, Experts)
    found["router"] = block.mlp.router
    for number, expert in enumerate(block.mlp.experts):
        assert isinstance(expert, MLP)
        found |= {f"expert-{number}.gate_up": expert.gate_up, f"expert-{number}.down": expert.down}
    return found


def _packed(model: Decoder, precision: str, grids: Mapping[str, Grid]) -> Iterator[tuple[str, Tensor]]:
    arrange = Arrangement(model.config)
    for layer, block in enumerate(model.layers):
        assert isinstance(block, Block)
        for name, linear in matrices(block).items():
            weight = arrange.matrix(name, linear.weight.detach())
            bias = None if linear.bias is None else arrange.outputs(name, linear.bias.detach())
            kept = "float32" if name == "router" else precision  # a rounded one would choose other experts
            yield from _named(f"{layer}.{name}", pack.pack(weight, bias, kept, grids.get(f"{layer}.{name}")))
        yield f"{layer}.attention_norm", _vector(block.input_layernorm.weight)
        yield f"{layer}.feed_forward_norm", _vector(block.post_attention_layernorm.weight)
        if (norms := block.self_attn.qk_norm) is not None:
            yield f"{layer}.query_norm", _vector(norms[0], arrange.head)
            yield f"{layer}.key_norm", _vector(norms[1], arrange.head)
    yield "final_norm", _vector(model.norm.weight)
    head = model.embed_tokens if model.lm_head is None else model.lm_head
    wider = "int8" if precision == "int4" else precision  # half bytes cost most where the words are chosen
    yield from _named("unembed", pack.pack(head, None, wider))
    if model.lm_head is not None:
        yield from _named("embed", pack.pack(model.embed_tokens, None, wider))


def _named(name: str, packing: Packing) -> Iterator[tuple[str, Tensor]]:
    for part, tensor in packing._asdict().items():
        if tensor is not None:
            yield f"{name}.{part}", tensor


def _vector(weight: Tensor, multiple: int = pack.PANEL) -> Tensor:
    return fill(weight.detach().float(), 0, multiple).clone()


def _identity(directory: Path, precision: str) -> str:
    """Of the model's files by their stamps, and of the code that packs."""
    stamps = [stamp(file) for file in sorted([*directory.glob("*.safetensors"), directory / "config.json"])]
    code = [Path(module).read_text(encoding="utf-8") for module in (__file__, pack.__file__)]
    return hashlib.sha256("\n".join([precision, *stamps, *code]).encode()).hexdigest()[:24]
