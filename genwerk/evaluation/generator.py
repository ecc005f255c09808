"""What a generator of pictures is worth: quality, diversity, novelty, obedience, use and cost, each beside its floor.

    n samples are held against n held-out pictures; the floor is n pictures that were learned from, held against the
    same: no family can be expected to come nearer than the real ones do

    quality     Fréchet and kernel distance, precision, density          metrics/frechet.py, kernel_distance.py, prdc.py
    diversity   recall, coverage, classes found, duplicates
    novelty     share of samples nearer to a learned picture than to a held-out one; 1/2 where nothing is copied
    obedience   share of samples that are taken for the class that was asked for
    use         a classifier that learned from samples, on real pictures; what samples add to 200 real ones
    cost        calls of the network, milliseconds, parameters
    craft       clips: clips.py      sound: sound.py

Features are those of features.py, learned on these pictures; a classifier of pixels (support vectors) measures use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from torch import Tensor

from genwerk.core.artifact import Artifact
from genwerk.core.config import Config, Field
from genwerk.core.workspace import Step
from genwerk.evaluation.grids import grid, neighbours, save_picture
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Exhibit, Scored
from genwerk.generators.codes import Codes
from genwerk.generators.family import Ask, sample
from genwerk.generators.features import Seen, load_features, see
from genwerk.generators.picture_examples import PictureExamples, to_numbers
from genwerk.generators.storage import Stored, load_family
from genwerk.generators.tripwire import nearest_other
from genwerk.generators.vae import VAE, elbo, iwae
from genwerk.generators.vq import perplexity
from genwerk.metrics.bootstrap import Interval, interval
from genwerk.metrics.distance_interval import distance_interval
from genwerk.metrics.frechet import frechet_distance
from genwerk.metrics.kernel_distance import kernel_distance
from genwerk.metrics.novelty import novelty
from genwerk.metrics.prdc import prdc_cases
from genwerk.training.seeding import seed_step

__all__ = ["ScoreConfig", "Sides", "score_generator"]

_CRAFTS = {"clips": "genwerk.evaluation.clips", "sound": "genwerk.evaluation.sound"}
_DRAWING = ("prior", "generator", "decoder")  # the part of a network that is called for a sample, and its part
_FOUND_AMONG = 10
_FEW = 200  # real pictures to which samples are added
_LIMITS = (
    "Distances are in features of a small network that learned on these pictures. They tell two generators of the same "
    "pictures apart, compare with no other collection, and are not FID.",
    "Nearer to what was learned is counted in the same features: a copy that features do not see is not found.",
)


class ScoreConfig(Config):
    """How many samples are drawn, and how."""

    n: int = Field(2000, ge=50, description="samples, and real pictures they are held against; fewer where there are")
    steps: int | None = Field(None, ge=1, description="of the solver; none: the family's own")
    guidance: float = Field(1.0, description="how much more than the condition alone")
    average: float | None = Field(None, gt=0, lt=0.288, description="width of the average; none: as trained")
    resamples: int = Field(40, ge=2, description="for the intervals of distances")
    seed: int = Field(0, ge=0, description="of the samples")


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Samples (N, C, H, W) with the classes that were asked for, and what they took."""

    x: Tensor
    asked: NDArray[np.int64]
    calls: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Sides:
    """made, real, learned: samples, held-out and learned pictures (N, C, H, W), as many of each; labels: classes of
    `real`, which are what samples were asked for; learned_labels: of `learned`; shown: rows of samples to be looked at;
    beside: of a few samples the learned pictures nearest to each, itself first; pictures: where they were prepared."""

    made: Tensor
    real: Tensor
    learned: Tensor
    labels: NDArray[np.int64]
    learned_labels: NDArray[np.int64]
    shown: Sequence[Sequence[Tensor]]
    beside: Sequence[Sequence[Tensor]]
    pictures: Path


Craft = Callable[[Sides, Step], tuple[list[Measure], list[Exhibit], list[str]]]
"""Measures, exhibits that were written beside the report, and limits."""


def score_generator(
    config: ScoreConfig, step: Step, generator: Artifact, pictures: Artifact, features: Artifact
) -> Mapping[str, float | int | str]:
    """Draw samples, measure them, and write report.json and what there is to be looked at."""
    stored, examples = (
        load_family(generator.path, average=config.average),
        PictureExamples.open(pictures.path, "nothing"),
    )
    n = min(config.n, len(examples.held_out), len(examples.train))
    rows = np.sort(np.random.default_rng(config.seed).permutation(len(examples.held_out))[:n])
    learned = np.sort(np.random.default_rng(config.seed + 1).permutation(len(examples.train))[:n])
    network = load_features(features.path)
    real = _Real(to_numbers(examples.held_out.pixels[rows]), examples.held_out.labels[rows])
    others = _Real(to_numbers(examples.train.pixels[learned]), examples.train.labels[learned])
    texts = tuple(examples.held_out.texts[row] for row in rows)
    drawn = _draw(config, stored, real.labels, texts)
    seen = [see(network, x) for x in (drawn.x, real.x, others.x)]
    accuracy = float(features.metrics["accuracy"])
    measures = [
        *_likeness(config, *seen),
        *_diversity(seen[0], seen[1], real.labels),
        *_novelty(*seen),
        *_obedience(stored, drawn, seen[0], seen[1], real.labels),
        *_retrieval(stored, seen, texts, tuple(examples.train.texts[row] for row in learned)),
        *_use(drawn, real, others),
        *_bounds(stored, real),
        *_codes(stored, real),
        *_cost(stored, drawn),
        Measure("pictures.features_accuracy", accuracy, len(examples.held_out), "on held-out pictures"),
    ]
    beside = neighbours(drawn.x[:8], seen[0].features[:8], others.x, seen[2].features)
    shown = _by_class(stored, drawn)
    sides = Sides(drawn.x, real.x, others.x, real.labels, others.labels, shown, beside, pictures.path)
    more, exhibits, limits = _craft(examples.train.layout, stored)(sides, step)
    measures += more
    Scored(
        {**config.model_dump(mode="json"), "n": n, "family": stored.name}, measures,
        f"{n:,} samples held against {n:,} pictures that were not learned from.", exhibits, limits=[*_LIMITS, *limits],
    ).write(step.out)  # fmt: skip
    return {one.name: one.value for one in measures}


def _craft(layout: str, stored: Stored) -> Craft:
    """What else there is to say of pictures that stand for something."""
    if layout in _CRAFTS:
        craft: Craft = import_module(_CRAFTS[layout]).measure_craft
        return craft
    rows_of = ", a class a row" if stored.by == "class" else ""
    return partial(_look, rows_of)


def _look(rows_of: str, sides: Sides, step: Step) -> tuple[list[Measure], list[Exhibit], list[str]]:
    save_picture(grid(sides.shown), step.out / "samples.png")
    save_picture(grid(sides.beside), step.out / "nearest.png")
    drawn = Exhibit("samples.png", f"Drawn, not chosen: the first of the seed{rows_of}.")
    beside = Exhibit("nearest.png", "First column: a sample; then the five learned pictures nearest to it.")
    return [], [drawn, beside], []


@dataclass(frozen=True, slots=True)
class _Real:
    """Pictures (N, C, H, W) and their classes."""

    x: Tensor
    labels: NDArray[np.int64]


def _draw(config: ScoreConfig, stored: Stored, labels: NDArray[np.int64], texts: Sequence[str]) -> _Drawn:
    given = stored.given_of(labels, texts)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    network = stored.family.network
    for part in _DRAWING:
        network = getattr(network, part, network)
    hook = network.register_forward_hook(count)
    started = time.perf_counter()
    ask = Ask(len(labels), config.seed, given=given, guidance=config.guidance, steps=config.steps)
    x = sample(stored.family, ask, show=True)
    hook.remove()
    spent = (time.perf_counter() - started) / len(labels) * 1e3
    return _Drawn(x, labels, calls / -(-len(labels) // 64), spent)


def _measure(name: str, found: Interval, how: str, floor: float | None = None) -> Measure:
    return Measure.mean(f"pictures.{name}", found, how, floor)


def _likeness(config: ScoreConfig, made: Seen, real: Seen, others: Seen) -> Iterator[Measure]:
    how = f"features of {len(made.features):,} samples and as many held-out pictures"
    for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
        found = distance_interval(distance, made.features, real.features, n=config.resamples)
        floor = distance(others.features, real.features)
        yield _measure(name, found, how, floor)
        if name == "frechet" and floor > 0:
            ratio = Interval(found.mean / floor, found.low / floor, found.high / floor, found.n)
            yield _measure("frechet_ratio", ratio, "the distance divided by its floor", 1.0)
    cases, floors = prdc_cases(real.features, made.features), prdc_cases(real.features, others.features)
    for name, own, best in (
        ("precision", cases.precise, floors.precise),
        ("density", cases.dense, floors.dense),
        ("recall", cases.recalled, floors.recalled),
        ("coverage", cases.covered, floors.covered),
    ):
        yield _measure(name, interval(own.tolist()), f"{how}, 5 nearest neighbours", float(best.mean()))


def _diversity(made: Seen, real: Seen, labels: NDArray[np.int64]) -> Iterator[Measure]:
    n = len(made.features)
    if (labels >= 0).any():
        found, there = len(np.unique(made.classes)), len(np.unique(labels))
        yield Measure("pictures.classes", float(found), n, "by the network of features", floor=float(there))
    close = np.quantile(nearest_other(real.features), 0.001)
    twins = int((nearest_other(made.features) < close).sum())
    share = Measure.share("pictures.duplicates", twins, n, "by distance of features")
    yield replace(share, floor=0.001)


def _novelty(made: Seen, real: Seen, others: Seen) -> Iterator[Measure]:
    found = novelty(made.features, others.features, real.features)
    how = "nearest neighbours among equal sets of learned and held-out pictures"
    yield Measure("pictures.nearer_to_learned", found.share, found.n, how, found.low, found.high, "95 % exact", 0.5)
    yield Measure("pictures.copy_p", found.p, found.n, "one-sided binomial test")


def _obedience(stored: Stored, drawn: _Drawn, made: Seen, real: Seen, labels: NDArray[np.int64]) -> Iterator[Measure]:
    if stored.by == "class":
        right = int((made.classes == drawn.asked).sum())
        share = Measure.share("pictures.as_asked", right, len(drawn.asked), "as the network of features sees it")
        yield replace(share, floor=float((real.classes == labels).mean()))


def _retrieval(stored: Stored, seen: Sequence[Seen], texts: Sequence[str], learned: Sequence[str]) -> Iterator[Measure]:
    """A linear map from features to vectors of texts, learned on real pictures; of samples, and of real ones."""
    if stored.by != "text":
        return
    vectors = stored.given(texts).numpy()
    reader = Ridge(alpha=10.0).fit(seen[2].features, stored.given(learned).numpy())
    found = []
    for one in seen[:2]:
        likeness = reader.predict(one.features) @ vectors.T
        own = np.take_along_axis(likeness, np.arange(len(texts))[:, None], 1)
        found.append(int(((likeness > own).sum(1) < _FOUND_AMONG).sum()))
    how = f"among {len(texts)} texts; by chance {_FOUND_AMONG / len(texts):.3f}"
    yield replace(Measure.share("pictures.text_retrieved", found[0], len(texts), how), floor=found[1] / len(texts))


def _use(drawn: _Drawn, real: _Real, others: _Real) -> Iterator[Measure]:
    """Only where samples have classes."""
    if len(np.unique(drawn.asked)) < 2 or len(np.unique(others.labels)) < 2:
        return
    how = "support vectors on pixels, on held-out pictures"
    floor = float(_right(others, real).mean())
    learned = _right(_Real(drawn.x, drawn.asked), real)
    yield _measure("train_on_synthetic", interval(learned.tolist()), how, floor)
    some = np.random.default_rng(0).permutation(len(others.x))[:_FEW]
    few = _Real(others.x[some], others.labels[some])
    both = _Real(torch.cat([few.x, drawn.x]), np.concatenate([few.labels, drawn.asked]))
    gain = (_right(both, real) - _right(few, real)).tolist()
    yield _measure("augmentation_gain", interval(gain), f"{how}; real ones alone against both")


def _bounds(stored: Stored, real: _Real) -> Iterator[Measure]:
    if not isinstance(stored.family, VAE):
        return
    vae = stored.family
    seed_step(0)
    x = vae.read(real.x)
    given = torch.from_numpy(real.labels) if stored.by == "class" else None
    how = "coins drawn once for every held-out picture" if vae.config.likelihood == "bernoulli" else "held-out pictures"
    for name, bound in (("negative_elbo", elbo), ("negative_iwae", iwae)):
        yield _measure(name, interval((-bound(vae, x, given)).tolist()), how)


def _codes(stored: Stored, real: _Real) -> Iterator[Measure]:
    if not isinstance(stored.family, Codes):
        return
    family, size = stored.family, real.x[0].numel()
    bits, errors, found = list[float](), list[float](), list[Tensor]()
    for start in range(0, len(real.x), 64):
        x, labels = real.x[start : start + 64], torch.from_numpy(real.labels[start : start + 64])
        told = family.log_likelihood(x, labels if stored.by == "class" else None)
        bits += (-told / (size * math.log(2))).tolist()
        found.append(family.codec.encode(x))
        errors += ((x - family.codec.decode(found[-1])).square().flatten(1).mean(1).sqrt() / 2).tolist()
    yield _measure("rate", interval(bits), "codes of held-out pictures")
    yield _measure("distortion", interval(errors), "held-out pictures that come back from their codes")
    used = perplexity(torch.cat(found).flatten().bincount())
    yield Measure("pictures.codes_in_use", used, len(real.x), f"of {family.config.codec.codes} in the table")


def _cost(stored: Stored, drawn: _Drawn) -> Iterator[Measure]:
    n, parameters = len(drawn.x), sum(weight.numel() for weight in stored.family.network.parameters())
    yield Measure("pictures.calls", drawn.calls, n, "counted")
    yield Measure("pictures.milliseconds", drawn.milliseconds, n, "64 together")
    yield Measure("pictures.parameters", float(parameters), 1, "counted")


def _right(learned: _Real, test: _Real) -> NDArray[np.float64]:
    """Of each picture of `test`, whether it is told right, 1 or 0, by what learned from the others."""
    components = min(48, len(learned.x) - 1, learned.x[0].numel())
    model = make_pipeline(PCA(components, random_state=0), SVC(C=4.0))
    model.fit(learned.x.flatten(1).numpy(), learned.labels)
    return np.asarray(model.predict(test.x.flatten(1).numpy()) == test.labels, np.float64)


def _by_class(stored: Stored, drawn: _Drawn) -> list[Sequence[Tensor]]:
    """Ten samples of each of the first ten classes; without classes ten times ten."""
    if stored.by != "class":
        return [drawn.x[row * 10 : row * 10 + 10].unbind() for row in range(10)]
    wanted = range(min(10, len(stored.classes)))
    return [drawn.x[torch.from_numpy(drawn.asked == label)][:10].unbind() for label in wanted]
