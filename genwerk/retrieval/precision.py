"""In which precision texts are embedded. An embedder's identity tells it, and with it what an index was made with.

The mark of int8 changes whenever its vectors do, so that those of an index are never mixed with others; an index of an
earlier mark is refused and must be built anew.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["Precision", "identity_in", "precision_of"]

Precision = Literal["float32", "int8"]
_INT8 = "int8.2-"  # 1, written `int8-`: products of bytes; 2: of words


def identity_in(precision: Precision, identity: str) -> str:
    """The identity of a model's vectors, made of that of its files; in float32 they are the same."""
    return _INT8 + identity if precision == "int8" else identity


def precision_of(identity: str) -> Precision:
    """In which precision the vectors of an embedder of this identity were computed, of whatever mark."""
    return "int8" if identity.startswith("int8") else "float32"
