"""A training that is killed after some of its steps and started again, beside one that never was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from picture_world import step_in

from genwerk.generators.examples import Examples
from genwerk.generators.family import Family
from genwerk.generators.loop import FitConfig, fit
from genwerk.training.curve import LossCurve


class Struck(BaseException):
    """Stands for a kill."""


def hashes(family: Family, examples: Examples, config: FitConfig, folder: Path) -> dict[str, str]:
    """Of all that a training leaves: weights, averages that were kept, the curve."""
    step = step_in(folder)
    fitted = fit(family, examples, config, step)
    left = {key: value.numpy().tobytes() for key, value in family.network.state_dict().items()}
    for one in fitted.kept:
        left |= {f"{one.step} {one.width} {key}": weight.numpy().tobytes() for key, weight in one.mean.items()}
    left["curve"] = (step.out / "loss.jsonl").read_bytes()
    return {key: hashlib.sha256(value).hexdigest() for key, value in left.items()}


def strike_after(step: int, patch: pytest.MonkeyPatch) -> None:
    """Let the next training die once this step is in its curve."""
    original = LossCurve.add

    def strike(curve: LossCurve, row: dict[str, float]) -> None:
        original(curve, row)
        if row["step"] == step:
            raise Struck

    patch.setattr(LossCurve, "add", strike)


def both(
    make: Sequence[Family], examples: Examples, config: FitConfig, folder: Path, blows: Sequence[int]
) -> tuple[dict[str, str], dict[str, str]]:
    """What is left of a calm training, and of one killed after each of `blows`; make: a family for each run."""
    families = iter(make)
    calm = hashes(next(families), examples, config, folder / "calm")
    for blow in blows:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Struck):
            strike_after(blow, patch)
            hashes(next(families), examples, config, folder / "struck")
    return calm, hashes(next(families), examples, config, folder / "struck")
