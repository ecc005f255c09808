"""In which precision texts are embedded. An embedder's identity tells it, and with it what an index was made with."""

from __future__ import annotations

from typing import Literal

__all__ = ["Precision", "identity_in", "model_of", "precision_of"]

Precision = Literal["float32", "int16"]
_INT16 = "int16-"


def identity_in(precision: Precision, identity: str) -> str:
    """The identity of a model's vectors, made of that of its files; in float32 they are the same."""
    return _INT16 + identity if precision == "int16" else identity


def precision_of(identity: str) -> Precision:
    """In which precision the vectors of an embedder of this identity were computed."""
    return "int16" if identity.startswith(_INT16) else "float32"


def model_of(identity: str) -> str:
    """The identity of the model's files, in whatever precision it computes."""
    return identity.removeprefix(_INT16)
