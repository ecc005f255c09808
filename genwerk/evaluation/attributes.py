"""What attribute arithmetic does: how many get the attribute as more of it is added, and how far the rest moves.

    moved     held-out pictures without the attribute, k times the direction further
    has       share that a classifier of features takes for having it; it learned on real pictures, of equal halves
    rest      |P (f(x_k) - f(x_0))| / mean |f(x) - f(y)|

f         features of features.py; x_0 the picture at k = 0, x and y two held-out ones
P         takes away the direction in which the classifier tells the attribute
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from genwerk.core.artifact import Artifact
from genwerk.core.atomic import write_json, write_text
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.workspace import Step
from genwerk.data.pictures import PictureSet, load_pictures
from genwerk.evaluation.grids import grid, save_picture
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.plots import attribute_sweep
from genwerk.evaluation.scored import Exhibit, Scored
from genwerk.generators.attributes import Direction, learn_direction, marked, move
from genwerk.generators.family import Ask, Family, sample
from genwerk.generators.features import load_features, see
from genwerk.generators.inversion import invert
from genwerk.generators.picture_examples import to_numbers
from genwerk.generators.storage import Stored, load_family
from genwerk.metrics.bootstrap import Interval, interval
from genwerk.training.seeding import generator as random_of

__all__ = ["AttributeConfig", "score_attribute"]

_SHOWN = 10  # pictures in the grid
_LIMITS = (
    "Whether a picture has the attribute is said by a classifier of features that learned on these pictures alone.",
)


class AttributeConfig(Config):
    """Which attribute, and how much of it is added."""

    word: str = Field(min_length=1, description="a class, or a word of the pictures' texts")
    among: str = Field("", description="only pictures with this word, on both sides")
    amounts: tuple[float, ...] = Field((0.0, 0.5, 1.0, 1.5, 2.0), min_length=2, description="k, from 0 on")
    n: int = Field(100, ge=2, description="held-out pictures without it that are moved; fewer where there are")
    most: int = Field(300, ge=5, description="pictures with it, and without, whose mean codes make the direction")
    steps: int | None = Field(None, ge=1, description="of the solver, each way; none: the family's own")
    seed: int = Field(0, ge=0, description="which pictures are moved")


@dataclass(frozen=True)
class _Judge:
    """Tells from features (N, D) whether a picture has the attribute."""

    model: Pipeline
    told: float

    def has(self, features: NDArray[np.float64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.model.predict(features).astype(bool)
        return found

    def rest(self, apart: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) lengths of differences of features without what the attribute is told by."""
        axis = self.model[1].coef_[0] / self.model[0].scale_
        axis = axis / np.linalg.norm(axis)
        found: NDArray[np.float64] = np.linalg.norm(apart - np.outer(apart @ axis, axis), axis=1)
        return found


def score_attribute(
    config: AttributeConfig, step: Step, generator: Artifact, pictures: Artifact, features: Artifact
) -> Mapping[str, float | int | str]:
    """Move held-out pictures, measure, and write report.json, attribute.png, attribute.svg and attribute.json.

    Raises RequestError for an attribute that is not there or too rare; DataError: nothing held out to move.
    """
    stored, network = load_family(generator.path), load_features(features.path)
    train, held_out = load_pictures(pictures.path, "train"), load_pictures(pictures.path, "heldout")
    direction = learn_direction(stored.family, train, config.word, by=stored.by, among=config.among, most=config.most,
                                steps=config.steps, show=True)  # fmt: skip
    seen = [see(network, to_numbers(side.pixels)).features for side in (train, held_out)]
    judge = _judge(config, train, held_out, seen)
    rows = _without(config, held_out)
    made = _moved(config, stored, direction, held_out, rows)  # (amounts, n, C, H, W)
    found = [see(network, x).features for x in made]
    usual = float(pdist(seen[1][rows]).mean())
    zero = int(np.argmin(np.abs(config.amounts)))
    has = [judge.has(one) for one in found]
    rest = [interval((judge.rest(one - found[zero]) / usual).tolist()) for one in found]
    measures = _measures(config, direction, judge, (has[-1], has[zero]), rest[-1])
    report = Scored(
        config.model_dump(mode="json"), measures,
        f"The direction of `{config.word}` from {direction.having} pictures with it and {direction.lacking} without.",
        (Exhibit("attribute.png", f"A row each: a held-out picture, then with {_words(config)} of `{config.word}`."),
         Exhibit("attribute.svg", "Share taken for having the attribute, and how far the rest moves.")),
        limits=_LIMITS,
    )  # fmt: skip
    report.write(step.out)
    _show(step.out, to_numbers(held_out.pixels[rows[:_SHOWN]]), made)
    curves = [float(one.mean()) for one in has], [one.mean for one in rest]
    plot = attribute_sweep(config.amounts, *curves, name="attribute", description=f"{config.word} by amount")
    write_text(step.out / "attribute.svg", plot)
    write_json(step.out / "attribute.json", {"amounts": config.amounts, "has": curves[0], "rest": curves[1]})
    return {one.name: one.value for one in measures}


def _show(out: Path, x: Tensor, made: Tensor) -> None:
    rows = [[one, *column.unbind()] for one, column in zip(x, made.transpose(0, 1), strict=False)]
    save_picture(grid(rows), out / "attribute.png")


def _words(config: AttributeConfig) -> str:
    return ", ".join(f"{amount:g}" for amount in config.amounts) + " times the direction"


def _judge(config: AttributeConfig, train: PictureSet, held_out: PictureSet, seen: list[NDArray[np.float64]]) -> _Judge:
    sides = []
    for pictures, features in zip((train, held_out), seen, strict=True):
        able = _able(pictures, config.among)
        sides.append((features[able], marked(pictures, config.word)[able]))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
    model.fit(*sides[0])
    features, has = sides[1]
    right = model.predict(features) == has
    told = [float(right[side].mean()) for side in (has, ~has) if side.any()]
    return _Judge(model, sum(told) / len(told))


def _able(pictures: PictureSet, among: str) -> NDArray[np.bool_]:
    return marked(pictures, among) if among else np.ones(len(pictures), bool)


def _without(config: AttributeConfig, held_out: PictureSet) -> list[int]:
    rows = np.flatnonzero(~marked(held_out, config.word) & _able(held_out, config.among))
    if len(rows) < 2:
        what = f"{len(rows)} held-out pictures lack `{config.word}`, so none can be given it"
        raise DataError(what, where="attribute", remedy="Choose a wider `among`, or hold out more.")
    chosen: list[int] = random_of(config.seed).permutation(rows)[: config.n].tolist()
    return chosen


def _moved(
    config: AttributeConfig, stored: Stored, direction: Direction, held_out: PictureSet, rows: list[int]
) -> Tensor:
    given = torch.from_numpy(held_out.labels[rows]) if stored.by == "class" else None
    family: Family = stored.family
    ask = Ask(len(rows), given=given, start=to_numbers(held_out.pixels[rows]), steps=config.steps)
    back = invert(family, ask, show=True)
    each = [move(back, direction, torch.full((len(rows),), amount)) for amount in config.amounts]
    return torch.stack([sample(family, one, show=True) for one in each])


def _measures(
    config: AttributeConfig, direction: Direction, judge: _Judge, has: tuple[NDArray[np.bool_], ...], rest: Interval
) -> list[Measure]:
    how = f"`{config.word}` at {config.amounts[-1]:g} times the direction"
    after, before = has
    return [
        Measure.share("attribute.has", int(after.sum()), len(after), how),
        Measure.share("attribute.had", int(before.sum()), len(before), f"`{config.word}` at 0"),
        Measure.mean("attribute.rest", rest, how),
        Measure("attribute.told", judge.told, direction.having + direction.lacking, "on held-out pictures"),
    ]
