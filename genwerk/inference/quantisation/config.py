"""How a model is rounded for serving, and how much that may cost. No torch here: a recipe is read without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genwerk.core.config import Config, Field

__all__ = ["BOUNDS", "Bounds", "QuantiseConfig"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most that a form may lose: nats per token of KL, and rise of perplexity as a share."""

    kl: float
    rise: float


BOUNDS = {"int8": Bounds(0.008, 0.01), "int4": Bounds(0.06, 0.04)}


class QuantiseConfig(Config):
    """How weights are rounded for serving; the defaults take about two minutes for 135 M parameters on two cores."""

    precision: Literal["int4", "int8"] = Field(
        "int4", description="0.63 bytes per weight instead of int8's 1; int8 is nearer to float32"
    )
    gptq: bool = Field(True, description="later columns make up for earlier errors: a third to an eighth of the KL")
    damping: float = Field(0.01, gt=0, description="share of the mean second moment added to each; more is steadier")
    act_order: bool = Field(False, description="inputs that matter most first; off, as it measured no better here")
    smooth: float | None = Field(0.5, ge=0, le=1, description="SmoothQuant's alpha: half of the KL; null: none")
    windows: int = Field(24, ge=1, description="windows of training documents that are calibrated on")
    length: int = Field(512, ge=8, description="tokens of such a window")
    check_windows: int = Field(8, ge=2, description="windows of held-out documents on which the loss is measured")
    check_length: int = Field(512, ge=8, description="tokens of such a window")
    most_kl: float | None = Field(None, gt=0, description="refused beyond, nats per token; none: 0.06 int4, 0.008 int8")
    most_rise: float | None = Field(None, gt=0, description="of perplexity, refused beyond; none: 0.04 int4, 0.01 int8")
    seed: int = Field(0, ge=0, description="draws the windows")

    @property
    def bounds(self) -> Bounds:
        """What may be lost."""
        usual = BOUNDS[self.precision]
        return Bounds(self.most_kl or usual.kl, self.most_rise or usual.rise)
