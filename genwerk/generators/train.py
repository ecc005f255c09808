"""A step of the workspace: pictures or sequences and a family become a trained generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError
from genwerk.core.progress import track
from genwerk.core.workspace import Artifact, Step
from genwerk.generators.captions import load_vectors
from genwerk.generators.codes import Codes
from genwerk.generators.examples import Examples
from genwerk.generators.family import Family
from genwerk.generators.latent import Latent
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.picture_examples import PictureExamples
from genwerk.generators.reflow import PairExamples
from genwerk.generators.sequence_examples import SequenceExamples
from genwerk.generators.storage import CODECS, load_family, make_family, save_family
from genwerk.generators.super_resolution import SuperResolution
from genwerk.models.arrays import read_json
from genwerk.training.device import choose_device
from genwerk.training.seeding import deterministic, seed_step

__all__ = ["GeneratorConfig", "train_generator"]

_TOGETHER = 64
_CPU = torch.device("cpu")


class GeneratorConfig(Config):
    """Which family, how it is asked, and how it is trained."""

    family: str = Field("flow", description="how samples are made")
    settings: dict[str, Any] = Field({}, description="of the family, see its page")
    ask: Literal["class", "text", "nothing"] = Field("class", description="what a sample can be asked by")
    fit: FitConfig = Field(FitConfig(), description="how long and in which steps it is trained")


def train_generator(
    config: GeneratorConfig, step: Step, data: Artifact, *others: Artifact
) -> Mapping[str, float | int | str]:
    """Train on pictures or sequences and write a generator. Killed and started again it ends in the same files.

    others   vectors of texts, where it is asked by text; the codec, where codes are drawn; a generator to go on from
    """
    given = {other.kind: other for other in others}
    vectors = load_vectors(_need(given, "vectors").path) if config.ask == "text" else None
    examples = _open(data, config.ask, vectors)
    device = choose_device(config.fit.precision).where
    with deterministic(device):
        seed_step(config.fit.seed)
        family, examples = _begin(config, examples, given, device)
    fitted = fit(family, examples, config.fit, step)
    settings: Config = family.config  # type: ignore[attr-defined]
    encoder = read_json(given["vectors"].path / "encoder.json")["encoder"] if config.ask == "text" else ""
    read = examples.train if isinstance(examples, SequenceExamples) else None
    known = config.ask == "class" or (read is not None and len(read.classes) == 1)  # as the metre of what is drawn
    classes = examples.classes if known else ()
    vocabulary = read.vocabulary if read else ()
    save_family(step.out, config.family, settings, family, by=config.ask, classes=classes, encoder=encoder,
                kept=fitted.kept, layout=examples.layout, vocabulary=vocabulary)  # fmt: skip
    return fitted.metrics


def _open(data: Artifact, ask: str, vectors: tuple[Tensor, Tensor] | None) -> Examples:
    if data.kind == "sequences":
        return SequenceExamples.open(data.path, ask)
    if data.kind == "pairs":
        return PairExamples.open(data.path)
    return PictureExamples.open(data.path, ask, vectors)


def _begin(
    config: GeneratorConfig, examples: Examples, given: Mapping[str, Artifact], device: torch.device
) -> tuple[Family, Examples]:
    """An untrained family and its examples; one that draws codes with its codec, and the codes with the examples."""
    if config.family not in CODECS:
        family = make_family(config.family, config.settings, examples.space)
        if isinstance(family, SuperResolution):
            family.measure(_batches(examples))
        if "generator" in given:  # goes on where that one ended
            family.network.load_state_dict(load_family(given["generator"].path).family.network.state_dict())
        return family, examples
    codec, wanted = load_family(_need(given, "codec").path), CODECS[config.family]
    if codec.name != wanted:
        what = f"the codec of {config.family} must be {wanted}, not {codec.name}"
        raise ModelError(what, remedy=f"Give the recipe a `codec:` with settings of {wanted}.")
    settings = {**config.settings, "codec": codec.family.config.model_dump()}  # type: ignore[attr-defined]
    family = make_family(config.family, settings, examples.space)
    assert isinstance(family, Latent | Codes) and isinstance(examples, PictureExamples)
    family.network.to(device)
    learned = family.adopt(codec.family, _batches(examples, device))
    held_out = torch.cat([family.code(x) for x in _batches(examples, device, held_out=True)])
    return family, replace(examples, codes=(learned, held_out))


def _batches(examples: Examples, device: torch.device = _CPU, *, held_out: bool = False) -> Iterator[Tensor]:
    count = examples.counts[1 if held_out else 0]
    with track("reading pictures", total=count, unit=examples.unit) as bar:
        for start in range(0, count, _TOGETHER):
            rows = range(start, min(start + _TOGETHER, count))
            yield examples.batch_of(rows, device, held_out=held_out).x
            bar.advance(len(rows))


def _need(given: Mapping[str, Artifact], kind: str) -> Artifact:
    if kind not in given:
        raise ModelError(f"there is no `{kind}` to train with", remedy="Give it as an input of the step.")
    return given[kind]
