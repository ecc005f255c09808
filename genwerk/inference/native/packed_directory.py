"""A model directory whose weights are packed integers alone: written when a model is quantised, mapped when served.

    config.json, tokenizer files     as in any model directory
    packed-int4.safetensors          what the kernels read (weights.py); the name says the precision
    packed-int4.sha256               of that file; one that does not match is refused

PyTorch runs such a directory too, from the values that the integers stand for (packed_decoder.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from genwerk.core.atomic import write_text
from genwerk.core.errors import ModelError
from genwerk.core.hashing import sha256_file
from genwerk.inference.native.layout import TURNED
from genwerk.inference.native.weights import PackedWeights
from genwerk.models.arrays import map_arrays, write_arrays
from genwerk.models.hf_config import TOKENIZER_FILES, read_config

__all__ = ["packed_precision", "read_packed", "write_packed"]

_LAYOUT = "inputs_turned_together"
_BESIDE = ("config.json", "generation_config.json", *TOKENIZER_FILES)


def packed_precision(directory: Path) -> str | None:
    """int8 or int4 where `directory` holds packed weights, else None."""
    return next((file.stem.removeprefix("packed-") for file in sorted(directory.glob("packed-*.safetensors"))), None)


def write_packed(weights: PackedWeights, directory: Path, model: Path) -> None:
    """Write `weights` to `directory`, and beside them the settings and the tokenizer of the directory `model`."""
    for name in _BESIDE:
        if (model / name).exists():
            shutil.copyfile(model / name, directory / name)
    file = directory / f"packed-{weights.precision}.safetensors"
    write_arrays(file, {**weights.arrays, _LAYOUT: np.array(TURNED)})
    write_text(file.with_suffix(".sha256"), sha256_file(file))


def read_packed(directory: Path) -> PackedWeights:
    """Map the packed weights of `directory`. Raises ModelError where they are missing or damaged."""
    precision = packed_precision(directory)
    file = directory / f"packed-{precision}.safetensors"
    seal = file.with_suffix(".sha256")
    if precision is None or not seal.exists() or sha256_file(file) != seal.read_text("utf-8").strip():
        raise ModelError(
            "the packed weights are missing or damaged",
            where=str(file if precision else directory),
            remedy="Quantise the model again: `genwerk quantise`, or run its recipe.",
        )
    arrays = map_arrays(file)
    if int(arrays.pop(_LAYOUT, np.array(0))) != TURNED:
        raise ModelError(
            "the packed weights are laid out as another genwerk did",
            where=str(file),
            remedy="Quantise the model again: `genwerk quantise`, or run its recipe.",
        )
    return PackedWeights(read_config(directory), precision, arrays)
