"""What config.json says of rotary positions: the base, and how frequencies are stretched; read and written.

Older files have rope_theta and rope_scaling, newer ones rope_parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from genwerk.core.errors import ModelError
from genwerk.models.rope import SCALINGS, RopeScaling

__all__ = ["longest_text", "rope_from_hf", "rope_to_hf"]


def rope_from_hf(values: Mapping[str, Any], where: str) -> tuple[float, RopeScaling | None]:
    """Base and scaling. Raises ModelError for a scaling that the network does not have."""
    newer = values.get("rope_parameters") or {}
    settings = newer or values.get("rope_scaling") or {}
    theta = float(newer.get("rope_theta") or values.get("rope_theta") or 10000.0)
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if any(one.get("partial_rotary_factor", 1.0) not in (None, 1.0) for one in (values, settings)):
        raise ModelError("partial rotary embeddings are not supported", where=where)
    if kind == "default":
        return theta, None
    if kind not in SCALINGS:
        reason = " (its frequencies change in the middle of a text)" if kind == "longrope" else ""
        supported = f"Supported: {', '.join(SCALINGS)}."
        raise ModelError(f"rope scaling {kind!r} is not supported{reason}", where=where, remedy=supported)
    try:
        return theta, _scaling(kind, settings, values)
    except (KeyError, TypeError, ValueError) as error:
        what = f"rope scaling {kind!r} has a missing or wrong value: {error}"
        raise ModelError(what, where=where, remedy="Fetch the model directory again.") from None


def _scaling(kind: str, settings: Mapping[str, Any], values: Mapping[str, Any]) -> RopeScaling:
    most = int(values["max_position_embeddings"])
    original = int(
        values.get("original_max_position_embeddings") or settings.get("original_max_position_embeddings") or most
    )
    if kind == "yarn":
        factor = float(settings.get("factor") or most / original)
        return RopeScaling(
            kind,
            factor,
            original_max_positions=original,
            attention_factor=_attention_factor(settings, factor),
            beta_fast=float(settings.get("beta_fast") or 32),
            beta_slow=float(settings.get("beta_slow") or 1),
            truncate=bool(settings.get("truncate", True)),
        )
    factor = float(settings["factor"])
    if kind == "llama3":
        low, high = float(settings["low_freq_factor"]), float(settings["high_freq_factor"])
        return RopeScaling(kind, factor, low, high, original)
    return RopeScaling(kind, factor)


def _attention_factor(settings: Mapping[str, Any], factor: float) -> float:
    """How much larger YaRN makes queries and keys."""
    if (given := settings.get("attention_factor")) is not None:
        return float(given)

    def stretch(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    mscale, of_all = settings.get("mscale"), settings.get("mscale_all_dim")
    return stretch(float(mscale)) / stretch(float(of_all)) if mscale and of_all else stretch(1.0)


def longest_text(values: Mapping[str, Any], scaling: RopeScaling | None) -> int:
    """Positions the model knows. YaRN's factor counts where max_position_embeddings is still the length before it."""
    most = int(values["max_position_embeddings"])
    if scaling is None or scaling.kind != "yarn" or most > scaling.original_max_positions:
        return most
    return int(scaling.original_max_positions * scaling.factor)


def rope_to_hf(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """The value of rope_scaling."""
    if scaling is None:
        return None
    found = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        found |= {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    if scaling.kind == "yarn":
        found |= {
            "attention_factor": scaling.attention_factor,
            "beta_fast": scaling.beta_fast,
            "beta_slow": scaling.beta_slow,
            "truncate": scaling.truncate,
        }
    if scaling.kind in ("llama3", "yarn"):
        found["original_max_position_embeddings"] = scaling.original_max_positions
    return found
