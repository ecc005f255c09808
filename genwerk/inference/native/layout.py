"""What the kernels read, as ctypes structures: the twin of kernels/{model,words,encoder}.h, field by field."""

from __future__ import annotations

import ctypes

from genwerk.models.decoder_config import DecoderConfig

__all__ = [
    "FORMATS",
    "PANEL",
    "TURNED",
    "Batch",
    "Cache",
    "EncoderLayer",
    "EncoderModel",
    "Expert",
    "Layer",
    "LayerUpdates",
    "Matrix",
    "Model",
    "Texts",
    "Update",
    "WordMatrix",
    "head_size",
]

PANEL = 32  # outputs that lie together, inputs of a group of half bytes, positions of a cache block
TURNED = 64  # inputs that are turned together (pack.py)
FORMATS = {"float32": 0, "int8": 1, "int4": 2, "float16": 3, "bfloat16": 4}

_pointer, _int, _long, _float = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_float


def head_size(config: DecoderConfig) -> int:
    """head_dim, filled up so that vectors of 16 fit and all heads together make whole panels."""
    size = -(-config.head_dim // 16) * 16
    return size if config.n_heads * size % PANEL == 0 else -(-size // PANEL) * PANEL


class Matrix(ctypes.Structure):
    _fields_ = (
        ("format", _int),
        ("outputs", _int),
        ("inputs", _int),
        ("data", _pointer),
        ("scale", _pointer),
        ("bias", _pointer),
    )


class Update(ctypes.Structure):
    _fields_ = (("a", Matrix), ("b", Matrix))


class Expert(ctypes.Structure):
    _fields_ = (("gate_up", Matrix), ("down", Matrix))


class Layer(ctypes.Structure):
    _fields_ = (
        *((name, Matrix) for name in ("qkv", "out", "gate_up", "down")),
        *((name, _pointer) for name in ("attention_norm", "feed_forward_norm", "query_norm", "key_norm")),
        ("router", Matrix),
        ("experts", ctypes.POINTER(Expert)),
        ("window", _int),
    )


class LayerUpdates(ctypes.Structure):
    _fields_ = tuple((name, Update) for name in ("qkv", "out", "gate_up", "down"))


class Model(ctypes.Structure):
    _fields_ = (
        *(
            (name, _int)
            for name in (
                "n_layers",
                "n_heads",
                "n_kv_heads",
                "head",
                "head_dim",
                "d_model",
                "width",
                "hidden",
                "sinks",
                "n_experts",
                "n_chosen",
                "normalise_experts",
            )
        ),
        ("eps", _float),
        ("layers", ctypes.POINTER(Layer)),
        ("final_norm", _pointer),
        ("unembed", Matrix),
        ("embed", ctypes.POINTER(Matrix)),
        ("cos", _pointer),
        ("sin", _pointer),
    )


class Cache(ctypes.Structure):
    _fields_ = (("n_blocks", _long), ("format", _int), ("keys", _pointer), ("values", _pointer))


class Batch(ctypes.Structure):
    _fields_ = (
        ("n_sequences", _int),
        *((name, _pointer) for name in ("tokens", "first", "start", "table", "tables", "adapter")),
        ("n_wanted", _int),
        ("wanted", _pointer),
        ("logits", _pointer),
    )


class WordMatrix(ctypes.Structure):
    _fields_ = (("outputs", _int), ("inputs", _int), ("data", _pointer), ("scale", _pointer), ("bias", _pointer))


class EncoderLayer(ctypes.Structure):
    _fields_ = (
        *((name, WordMatrix) for name in ("qkv", "out", "up", "down")),
        *((name, _pointer) for name in ("attention_weight", "attention_bias", "weight", "bias")),
    )


class EncoderModel(ctypes.Structure):
    _fields_ = (
        *((name, _int) for name in ("n_layers", "n_heads", "head", "width", "hidden")),
        ("eps", _float),
        ("layers", ctypes.POINTER(EncoderLayer)),
        *((name, _pointer) for name in ("words", "positions", "weight", "bias")),
    )


class Texts(ctypes.Structure):
    _fields_ = (("n", _int), ("tokens", _pointer), ("first", _pointer), ("vectors", _pointer))
