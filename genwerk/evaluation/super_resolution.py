"""What enlarging is worth: held-out pictures are averaged down, enlarged again, and held against what they were.

    drawn     one of the large pictures that there could be            what a user gets
    mean      the mean of all of them, by one step of the flow         what no sharper one is nearer to, by PSNR
    bicubic   interpolation, as Pillow does it
    nearest   every pixel repeated

    PSNR, SSIM           picture by picture                            metrics/picture_fidelity.py
    Fréchet distance     in features learned on these pictures, between what was made and the real ones of the same rows

Noise that is drawn costs PSNR and is what brings the distance of features down: neither alone says which is better.
Small pictures are rounded to 8 bits, as those of a user are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from genwerk.core.artifact import Artifact
from genwerk.core.errors import ModelError
from genwerk.core.workspace import Step
from genwerk.evaluation.generator import ScoreConfig
from genwerk.evaluation.grids import grid, save_picture
from genwerk.evaluation.measures import ENLARGED, Measure
from genwerk.evaluation.scored import Exhibit, Scored
from genwerk.generators.family import Ask, sample
from genwerk.generators.features import load_features, see
from genwerk.generators.picture_examples import PictureExamples, to_numbers, to_pixels
from genwerk.generators.storage import load_family
from genwerk.generators.super_resolution import SuperResolution, bicubic, even, mean_down, repeat_up
from genwerk.metrics.bootstrap import Interval, interval, paired_difference
from genwerk.metrics.distance_interval import distance_interval
from genwerk.metrics.frechet import frechet_distance
from genwerk.metrics.picture_fidelity import SMALLEST, psnr, ssim

__all__ = ["score_super_resolution"]

_SHOWN = 8
_LIMITS = (
    "Small pictures were made of the large ones by averaging 2 × 2 pixels. Blur, noise and compression of a camera are "
    "something else, and are not undone.",
    "What is drawn beyond the small picture is likely, not known: nothing can be read off it that was not there.",
)


def score_super_resolution(
    config: ScoreConfig, step: Step, generator: Artifact, pictures: Artifact, features: Artifact
) -> Mapping[str, float | int | str]:
    """Enlarge held-out pictures, measure them, and write report.json and enlarged.png.

    Raises ModelError for a generator that enlarges nothing.
    """
    stored = load_family(generator.path, average=config.average)
    if not isinstance(stored.family, SuperResolution):
        raise ModelError(f"a {stored.name} enlarges nothing", where=str(generator.path))
    examples = PictureExamples.open(pictures.path, "nothing")
    n = min(config.n, len(examples.held_out))
    rows = np.sort(np.random.default_rng(config.seed).permutation(len(examples.held_out))[:n])
    real = even(to_numbers(examples.held_out.pixels[rows]))
    small = to_numbers(to_pixels(mean_down(real)))
    given = stored.given_of(examples.held_out.labels[rows], [examples.held_out.texts[row] for row in rows])
    ask = Ask(n, config.seed, given=given, guidance=config.guidance, steps=config.steps, small=small)
    started = time.perf_counter()
    drawn = sample(stored.family, ask, show=True)
    spent = (time.perf_counter() - started) / n * 1e3
    made = {"drawn": drawn, "mean": sample(stored.family, replace(ask, steps=1, solver="euler")),
            "bicubic": bicubic(small).clamp(-1, 1), "nearest": repeat_up(small)}  # fmt: skip
    network = load_features(features.path)
    measures = [
        *_fidelity(made, real),
        *_likeness(config, {arm: see(network, x).features for arm, x in made.items()}, see(network, real).features),
        _agreement(drawn, small),
        Measure("pictures.milliseconds", spent, n, "64 together"),
        Measure(
            "pictures.parameters", float(sum(one.numel() for one in stored.family.network.parameters())), 1, "counted"
        ),
        Measure("pictures.features_accuracy", float(features.metrics["accuracy"]), len(examples.held_out), "held-out"),
    ]
    height, width = real.shape[-2:]
    report = Scored(
        {**config.model_dump(mode="json"), "n": n, "family": stored.name}, measures,
        f"{n:,} pictures that were not learned from, from {height // 2} × {width // 2} to {height} × {width}.",
        (Exhibit("enlarged.png", "Not chosen: the small picture; bicubic; the mean of what could be; two draws; the "
                                 "real one."),),
        limits=_LIMITS if min(height, width) >= SMALLEST else (*_LIMITS, f"SSIM needs sides of {SMALLEST} pixels."),
    )  # fmt: skip
    report.write(step.out)
    some = torch.linspace(0, n - 1, min(_SHOWN, n)).long()  # of all kinds, which stand one after the other
    other = replace(ask, count=len(some), seed=config.seed + 1, small=small[some], given=_of(given, some))
    columns = (made["nearest"][some], made["bicubic"][some], made["mean"][some], drawn[some])
    save_picture(
        grid(list(zip(*columns, sample(stored.family, other), real[some], strict=True))), step.out / "enlarged.png"
    )
    return {one.name: one.value for one in measures}


def _of(given: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if given is None else given[rows]


def _fidelity(made: Mapping[str, Tensor], real: Tensor) -> Iterator[Measure]:
    pixels, truth = {arm: to_pixels(x) for arm, x in made.items()}, to_pixels(real)
    decibels = {arm: psnr(one, truth).tolist() for arm, one in pixels.items()}
    for arm in ENLARGED:
        yield _measure(arm, "psnr", interval(decibels[arm]), "of 8 bits, picture by picture")
    for arm in ("drawn", "mean"):
        gain = paired_difference(decibels[arm], decibels["bicubic"])
        yield _measure(arm, "gain", gain, "difference picture by picture")
    if min(truth.shape[-2:]) >= SMALLEST:
        for arm in ENLARGED:
            yield _measure(arm, "ssim", interval(ssim(pixels[arm], truth).tolist()), "11 × 11 pixels, each channel")


def _likeness(config: ScoreConfig, seen: Mapping[str, np.ndarray], real: np.ndarray) -> Iterator[Measure]:
    how = f"features of {len(real):,} pictures and of the real ones, drawn in pairs"
    for arm in ENLARGED:
        found = distance_interval(frechet_distance, seen[arm], real, n=config.resamples, paired=True)
        yield _measure(arm, "frechet", found, how)


def _agreement(drawn: Tensor, small: Tensor) -> Measure:
    apart = (mean_down(to_numbers(to_pixels(drawn))) - small).abs().flatten(1).mean(1) * 127.5
    return Measure.mean("enlarged.inconsistent", interval(apart.tolist()), "mean over pixels")


def _measure(arm: str, name: str, found: Interval, how: str) -> Measure:
    return Measure.mean(f"enlarged.{arm}.{name}", found, how)
