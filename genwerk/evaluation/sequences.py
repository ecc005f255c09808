"""What a generator of sequences is worth: how well it foretells held-out ones, whether what it draws ends, is new and
of many kinds; and what chemistry or the craft of music says of it.

    n samples are held against n held-out sequences; the floor is what those reach in place of samples

    likelihood   nats a token of up to 2,000 held-out sequences (a bound, for a VAE)
    form         share that ends within the length; unique; not among what was learned
    molecules    molecules.py      music   music.py
    cost         milliseconds a sample, parameters
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genwerk.core.artifact import Artifact
from genwerk.core.atomic import write_text
from genwerk.core.config import Config, Field
from genwerk.core.workspace import Step
from genwerk.data.sequences import END, PAD, SequenceSet, line_of, words_of
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Exhibit, Scored
from genwerk.generators.autoregressive import Autoregressive, log_likelihood
from genwerk.generators.family import Ask, Batch, Rule, sample
from genwerk.generators.rules import rule_for
from genwerk.generators.sequence_examples import SequenceExamples
from genwerk.generators.sequence_vae import SequenceVAE
from genwerk.generators.storage import Stored, load_family
from genwerk.generators.vae import kl_normal
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.ratio import ratio_interval
from genwerk.training.seeding import seed_step

__all__ = ["Drawn", "SequenceScoreConfig", "Sides", "measure", "score_sequences"]

_TOGETHER = 250
_FORETOLD = 2000
_SHOWN = 40
_CRAFTS = {"molecules": "genwerk.evaluation.molecules", "chorales": "genwerk.evaluation.music"}


class SequenceScoreConfig(Config):
    """How many samples are drawn, and how."""

    n: int = Field(1000, ge=10, description="samples, and held-out sequences they are held against, at most")
    temperature: float = Field(1.0, ge=0, description="below 1 nearer to what is likely")
    constrained: int = Field(1000, ge=0, description="samples drawn by the rule of the layout, where it has one")
    average: float | None = Field(None, gt=0, lt=0.288, description="width of the average; none: as trained")
    seed: int = Field(0, ge=0, description="of the samples")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Samples as token strings, which of them ended, the milliseconds that one took, and the class of each."""

    words: Sequence[tuple[str, ...]]
    ended: NDArray[np.bool_]
    milliseconds: float
    labels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Sides:
    """made: samples; ruled: samples drawn by the rule; real: held-out sequences, as many; learned: all of them;
    real_ended: share of held-out ones that end, and are no window of a longer piece."""

    made: Drawn
    ruled: Drawn | None
    real: Sequence[tuple[str, ...]]
    learned: SequenceSet
    real_ended: float


measure = Measure.mean

Craft = Callable[[Sides, Step], tuple[list[Measure], list[Exhibit], list[str]]]
"""Measures, exhibits that were written beside the report, and limits."""


def score_sequences(
    config: SequenceScoreConfig, step: Step, generator: Artifact, sequences: Artifact
) -> Mapping[str, float | int | str]:
    """Draw samples, measure them, and write report.json, samples.txt and what the layout adds."""
    stored, examples = load_family(generator.path, average=config.average), SequenceExamples.open(sequences.path)
    learned, held_out = examples.train, examples.held_out
    order = np.random.default_rng(config.seed).permutation(len(held_out))
    rows = order[: config.n]
    made = _draw(stored, config.n, config, learned.vocabulary)
    rule = rule_for(learned.layout, learned.vocabulary)
    ruled = _draw(stored, config.constrained, config, learned.vocabulary, rule) if rule and config.constrained else None
    sides = Sides(made, ruled, [held_out.words(int(row)) for row in rows], learned,
                  float((np.asarray(held_out.tokens[np.sort(rows)]) == END).any(1).mean()))  # fmt: skip
    measures = [*_foretold(stored, examples, order[:_FORETOLD]), *_form(sides)]
    craft: Craft | None = None
    if learned.layout in _CRAFTS:
        craft = import_module(_CRAFTS[learned.layout]).measure_craft
    more, exhibits, limits = craft(sides, step) if craft is not None else ([], [], [])
    parameters = float(sum(weight.numel() for weight in stored.family.network.parameters()))
    measures += [*more, Measure("sequences.milliseconds", made.milliseconds, config.n, f"{_TOGETHER} together"),
                 Measure("sequences.parameters", parameters, 1, "counted")]  # fmt: skip
    texts = [line_of(words, learned.layout) for words in made.words]
    write_text(step.out / "samples.txt", "".join(f"{text}\n" for text in texts))
    Scored(
        {**config.model_dump(mode="json"), "family": stored.name}, measures,
        f"{config.n:,} samples held against {len(rows):,} sequences that were not learned from.",
        [*exhibits, Exhibit("samples.txt", "every sample, one a line")],
        [] if exhibits else texts[:_SHOWN], limits,
    ).write(step.out)  # fmt: skip
    return {one.name: one.value for one in measures}


def _draw(
    stored: Stored, n: int, config: SequenceScoreConfig, vocabulary: Sequence[str], rule: Rule | None = None
) -> Drawn:
    labels = stored.labels("", n)
    given = stored.given(labels) if stored.by == "class" else None
    ask = Ask(n, config.seed, given=given, temperature=config.temperature, rule=rule)
    started = time.perf_counter()
    x = sample(stored.family, ask, together=_TOGETHER, show=True).numpy()
    spent = (time.perf_counter() - started) / n * 1e3
    return Drawn([words_of(row, vocabulary) for row in x], (x == END).any(1), spent, labels)


def _foretold(stored: Stored, examples: SequenceExamples, rows: NDArray[np.int64]) -> Iterator[Measure]:
    """Of these held-out rows; the interval is over what they were cut from, since windows of one piece are alike."""
    totals, lengths = list[float](), list[int]()
    seed_step(0)
    for start in range(0, len(rows), _TOGETHER):
        batch = examples.batch_of(rows[start : start + _TOGETHER].tolist(), torch.device("cpu"), held_out=True)
        totals += (-_log_likelihood(stored, batch)).tolist()
        lengths += (batch.x != PAD).sum(1).tolist()
    _, source = np.unique(examples.held_out.places[rows, 0], return_inverse=True)
    found = ratio_interval(*(np.bincount(source, each).tolist() for each in (totals, lengths)))
    how = "bound with one draw" if isinstance(stored.family, SequenceVAE) else "held-out sequences"
    yield measure("sequences.nats", found, how)


@torch.no_grad()
def _log_likelihood(stored: Stored, batch: Batch) -> Tensor:
    """(B,) ln p in nats, or a bound from below."""
    family = stored.family
    given = batch.given if stored.by == "class" else None
    if isinstance(family, SequenceVAE):
        posterior = family.posterior(batch.x, given)
        return family.log_likelihood(batch.x, posterior.draw(), given) - kl_normal(posterior).sum(1)
    assert isinstance(family, Autoregressive)
    told = family.network.told(given, len(batch.x))
    return log_likelihood(family.network(batch.x, told), batch.x)


def _form(sides: Sides) -> Iterator[Measure]:
    made, n = sides.made, len(sides.made.words)
    ended = Measure.share("sequences.ended", int(made.ended.sum()), n, "an end token within the length")
    yield replace(ended, floor=sides.real_ended)
    real_unique = len(set(sides.real)) / len(sides.real)
    yield replace(Measure.share("sequences.unique", len(set(made.words)), n, "token by token"), floor=real_unique)
    new = sum(words not in sides.learned for words in made.words)
    real_new = sum(words not in sides.learned for words in sides.real) / len(sides.real)
    novel = Measure.share("sequences.novel", new, n, "not among what was learned, token by token")
    yield replace(novel, floor=real_new)
    real_length = float(np.mean([len(words) for words in sides.real]))
    lengths = interval([float(len(words)) for words in made.words])
    yield measure("sequences.length", lengths, "tokens, without the end", real_length)
