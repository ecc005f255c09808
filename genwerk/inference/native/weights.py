"""All weights of a decoder, packed; and kept on disk, so that the next start maps them instead of packing again.

Names are `3.qkv.data` (layer, matrix, part), `3.expert-5.down.data`, `3.attention_norm`, `unembed.data`, `final_norm`.
A kept file lies in the cache folder under a name made of the model's files and of the code that packs; beside it stands
a hash of it, and a file that does not match is said to be damaged and made again. Mapping one needs no PyTorch.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.atomic import write_text
from genwerk.core.cache import cache_directory
from genwerk.core.hashing import sha256_pieces
from genwerk.core.progress import say
from genwerk.inference.model_files import stamp
from genwerk.inference.native.layout import PANEL, head_size
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.models.arrays import LINE, Array, map_arrays, write_arrays
from genwerk.models.decoder_config import DecoderConfig

__all__ = ["MATRICES", "PackedWeights", "check_shape", "kept_weights"]

MATRICES = ("qkv", "out", "gate_up", "down")
_MOST_HEAD = 256
_MOST_INPUTS = 2**17  # 128 · 127 times as many are the largest sum below 2^31
_KEPT = 4  # files in the cache folder; the longest unused goes first
_CODE = ("packed_decoder.py", "pack.py", "layout.py")  # what decides how a model is packed


def check_shape(config: DecoderConfig) -> None:
    """Raise NativeUnavailableError for a network that the kernels do not know."""
    if head_size(config) > _MOST_HEAD:
        raise NativeUnavailableError(f"the native kernels' heads hold {_MOST_HEAD} at most, not {config.head_dim}")
    if max(config.d_model, config.d_ff, config.n_heads * head_size(config)) > _MOST_INPUTS:
        raise NativeUnavailableError(f"the native kernels' sums of bytes hold {_MOST_INPUTS:,} inputs at most")
    if config.sinks > PANEL:
        raise NativeUnavailableError(f"the native kernels keep {PANEL} sinks at most, not {config.sinks}")


@dataclass(frozen=True)
class PackedWeights:
    """precision: see pack.py. The arrays must not be changed: they may be a file."""

    config: DecoderConfig
    precision: str
    arrays: Mapping[str, Array]


def kept_weights(
    directory: Path, config: DecoderConfig, precision: str, make: Callable[[], PackedWeights]
) -> PackedWeights:
    """The packed weights of a model directory: from the cache folder, or what `make` gives, put there."""
    file = cache_directory() / "packed" / f"{_identity(directory, precision)}.safetensors"
    seal = file.with_suffix(".seal")
    if file.exists() and seal.exists():
        if sha256_pieces(file) == seal.read_text().strip():
            file.touch()
            return PackedWeights(config, precision, map_arrays(file))
        say(f"{file} is damaged and is made again", style="yellow")
    packed = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:  # two processes may do this at once
        made = Path(scratch) / file.name
        write_arrays(made, packed.arrays)
        write_text(seal, sha256_pieces(made))
        arrays = map_arrays(made)
        made.replace(file)
    for old in sorted(file.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
        old.with_suffix(".seal").unlink(missing_ok=True)
    return PackedWeights(config, precision, arrays)


def _identity(directory: Path, precision: str) -> str:
    """Of the model's files by their stamps, of the code that packs, and of where arrays begin."""
    stamps = [stamp(file) for file in sorted([*directory.glob("*.safetensors"), directory / "config.json"])]
    code = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _CODE]
    return hashlib.sha256("\n".join([precision, str(LINE), *stamps, *code]).encode()).hexdigest()[:24]
