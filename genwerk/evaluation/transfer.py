"""What style transfer is worth, where the true picture in the other style is known: pairs that were held out.

    pairs         held-out pictures with the same text, of two classes; each is brought to the other's style
    pixels        distance to the true picture: the root of the mean square, from 0 to 1; features: Euclidean
    untouched     the same for the picture as it was: what is had for nothing
    redrawn       for the picture after the same way there and back in its own style: what smoothing alone is worth
    random        the same for another real picture of the style: what style alone is worth
    gain          untouched less transferred, pair by pair, with a bootstrap interval

Style is judged by the network that tells the classes apart, likeness in features that tell turns, not classes, apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genwerk.core.artifact import Artifact
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.workspace import Step
from genwerk.data.pictures import PictureSet, load_pictures
from genwerk.evaluation.grids import grid, save_picture
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Exhibit, Scored
from genwerk.generators.family import Ask, sample
from genwerk.generators.features import FeatureNetwork, load_features, see
from genwerk.generators.inversion import invert
from genwerk.generators.picture_examples import to_numbers
from genwerk.generators.storage import load_family
from genwerk.metrics.bootstrap import interval, paired_difference
from genwerk.training.seeding import generator

__all__ = ["TransferConfig", "paired", "score_transfer"]

_SHOWN = 24  # pairs in the grid, in rows of four
_LIMITS = (
    "The true picture is one that another hand drew of the same thing: no transfer can foresee what it added.",
    "Distances of pixels favour what is smooth; the style is judged by a small network that learned on these pictures.",
)


class TransferConfig(Config):
    """How pictures are brought to another class."""

    strength: float = Field(1.0, gt=0, le=1, description="how far back to noise; 1 is the whole way")
    guidance: float = Field(1.0, description="of the way to the other class, how much more than the condition alone")
    steps: int | None = Field(None, ge=1, description="of the solver, each way; none: the family's own")
    n: int = Field(400, ge=2, description="pictures that are transferred; fewer where there are")
    seed: int = Field(0, ge=0, description="which of them, and which real picture each is held against")


@dataclass(frozen=True)
class Pairs:
    """Pictures (N, C, H, W), the same in the other style, both classes (N,), and another of that style."""

    x: Tensor
    truth: Tensor
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    random: Tensor


def score_transfer(
    config: TransferConfig, step: Step, generator: Artifact, pictures: Artifact, features: Artifact, content: Artifact
) -> Mapping[str, float | int | str]:
    """Transfer held-out pictures, measure, and write report.json and transfer.png.

    features, content   networks that tell classes apart, and turns

    Raises DataError without pairs, RequestError for a family without a way back.
    """
    stored, held_out = load_family(generator.path), load_pictures(pictures.path, "heldout")
    pairs = paired(held_out, config.n, config.seed)
    ask = Ask(len(pairs.x), given=torch.from_numpy(pairs.source), start=pairs.x, steps=config.steps,
              strength=config.strength)  # fmt: skip
    back = invert(stored.family, ask, show=True)
    there = replace(back, given=torch.from_numpy(pairs.target), guidance=config.guidance)
    made = sample(stored.family, there, show=True)
    again = sample(stored.family, back, show=True)
    style, alike = load_features(features.path), load_features(content.path)
    measures = [
        *_distances("pixels", [_rms(x, pairs.truth) for x in (made, pairs.x, again, pairs.random)]),
        *_distances("features", _apart(alike, (made, pairs.x, again, pairs.random), pairs.truth)),
        *_style([see(style, x).classes == pairs.target for x in (made, pairs.x, pairs.truth)]),
        *_found(made, pairs),
        _mean("there_and_back", _rms(again, pairs.x)),
    ]
    report = Scored(
        config.model_dump(mode="json"), measures, f"{len(made):,} held-out pictures brought to the other style.",
        (Exhibit("transfer.png", "In threes, not chosen: a held-out picture, in the other style, the true one."),),
        limits=_LIMITS,
    )  # fmt: skip
    report.write(step.out)
    save_picture(grid(in_threes(pairs.x, made, pairs.truth)), step.out / "transfer.png")
    return {one.name: one.value for one in measures}


def paired(pictures: PictureSet, n: int, seed: int) -> Pairs:
    """Up to n pictures with the same text in another class, each way. Raises DataError where there are none.

    A text that two pictures of a class have pairs nothing.
    """
    found = _found_twice(pictures)
    if len(found) < 4:
        what = f"{len(found)} held-out pictures are there in another class, too"
        remedy = "Give pictures of the same thing in several classes the same text, and the same `group`."
        raise DataError(what, where="transfer", remedy=remedy)
    chosen = np.array(found)[generator(seed).permutation(len(found))[:n]]
    others = chosen[:, 1].copy()
    for target in np.unique(chosen[:, 3]):
        own = np.flatnonzero(chosen[:, 3] == target)
        others[own] = np.roll(others[own], 1)
    x, truth, random = (to_numbers(pictures.pixels[some]) for some in (chosen[:, 0], chosen[:, 1], others))
    return Pairs(x, truth, chosen[:, 2], chosen[:, 3], random)


def _found_twice(pictures: PictureSet) -> list[tuple[int, int, int, int]]:
    """Rows of a picture and of its pair, and their classes."""
    about = list(zip(pictures.labels.tolist(), pictures.texts, strict=True))
    times = Counter(about)
    rows = {one: row for row, one in enumerate(about) if one[0] >= 0 and one[1] and times[one] == 1}
    classes = range(len(pictures.classes))
    return [(row, rows[other, text], label, other) for (label, text), row in rows.items()
            for other in classes if other != label and (other, text) in rows]  # fmt: skip


def in_threes(x: Tensor, made: Tensor, truth: Tensor) -> list[list[Tensor]]:
    """Rows of four times a picture, what became of it, the true one, and a gap."""
    gap = torch.full_like(x[0], 238 / 127.5 - 1)
    each = [[one, other, third, gap] for one, other, third in zip(x[:_SHOWN], made, truth, strict=False)]
    return [[tile for three in each[row : row + 4] for tile in three][:-1] for row in range(0, len(each), 4)]


def _rms(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """(N,) of the range from -1 to 1."""
    return ((a - b).double().square().flatten(1).mean(1).sqrt() / 2).numpy()


def _apart(network: FeatureNetwork, several: Sequence[Tensor], truth: Tensor) -> list[NDArray[np.float64]]:
    real = see(network, truth).features
    return [np.linalg.norm(see(network, x).features - real, axis=1) for x in several]


def _distances(name: str, several: Sequence[NDArray[np.float64]]) -> Iterator[Measure]:
    """Of transferred pictures, untouched, redrawn and random ones, (N,) each."""
    for ending, values in zip(("", "_untouched", "_redrawn", "_random"), several, strict=True):
        yield _mean(f"{name}{ending}", values)
    made, untouched, *_ = several
    gain = paired_difference(untouched.tolist(), made.tolist())
    yield Measure.mean(f"transfer.{name}_gain", gain, "untouched less transferred")


def _mean(name: str, values: NDArray[np.float64]) -> Measure:
    return Measure.mean(f"transfer.{name}", interval(values.tolist()), "held-out pairs")


def _style(taken: list[NDArray[np.bool_]]) -> Iterator[Measure]:
    made, untouched, truth = taken
    how = "by the network of features"
    share = Measure.share("transfer.style", int(made.sum()), len(made), how)
    yield replace(share, floor=float(truth.mean()))
    yield Measure.share("transfer.style_untouched", int(untouched.sum()), len(untouched), how)


def _found(made: Tensor, pairs: Pairs) -> Iterator[Measure]:
    for ending, x in (("", made), ("_untouched", pairs.x)):
        hits = 0
        for target in np.unique(pairs.target):
            own = torch.from_numpy(np.flatnonzero(pairs.target == target))
            nearest = torch.cdist(x[own].flatten(1), pairs.truth[own].flatten(1)).argmin(1)
            hits += int((nearest == torch.arange(len(own))).sum())
        yield Measure.share(f"transfer.found{ending}", hits, len(x), "among all true ones of that style")
