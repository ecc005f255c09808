"""Reflow: a flow learns again from its own pairs of noise and sample; lines become straighter, so that fewer steps do.

Source: Liu et al. (2022), Flow straight and fast, section 2.2 and algorithm 1.

    x_1 ~ noise,   x_0 = what the first flow makes of x_1
    loss as in flow.py, with x_1 instead of new noise, from the first flow's weights on

Lines between noise and data that are paired by chance cross, and there a flow goes between them; those between pairs
of a flow never do. What is learned from is made by the first flow: it is no better in many steps, but better in few.

Left out: pairs of real pictures and the noise that a flow takes them back to.
Try it:   genwerk run recipes/digits-reflow.yaml
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError
from genwerk.core.workspace import Artifact, Step
from genwerk.generators.examples import rows_of
from genwerk.generators.family import Ask, Batch, Space, sample
from genwerk.generators.flow import Flow
from genwerk.generators.noise import Noise
from genwerk.generators.storage import load_family
from genwerk.models.arrays import read_json

__all__ = ["PairExamples", "PairsConfig", "draw_pairs"]


class PairsConfig(Config):
    """How pairs are drawn."""

    pairs: int = Field(6000, ge=20, description="pairs of noise and sample to learn from")
    steps: int = Field(16, ge=1, description="of the solver that makes them")
    seed: int = Field(1, ge=0, description="of the noise; another one than reports draw with")


def draw_pairs(config: PairsConfig, step: Step, generator: Artifact) -> Mapping[str, float | int | str]:
    """Write noise.npy, samples.npy, given.npy of a flow.

    Raises ModelError for what is no flow, or asked by text, and for too few pairs to hold out one of each class.
    """
    stored = load_family(generator.path)
    if not isinstance(stored.family, Flow) or stored.by == "text":
        what = f"a {stored.name} asked by {stored.by} cannot be straightened"
        raise ModelError(what, where=str(generator.path), remedy="Take a flow that is asked by class, or by nothing.")
    space = stored.family.space
    if config.pairs < (least := 10 * max(1, space.classes)):
        what = f"{config.pairs} pairs are too few for {space.classes} classes"
        raise ModelError(what, where="pairs", remedy=f"Every tenth of a class is held out: draw {least} or more.")
    labels = np.arange(config.pairs, dtype=np.int64) % max(1, space.classes)
    given = torch.from_numpy(labels) if space.classes else None
    noise = Noise(config.seed, config.pairs).draw(space.shape)
    made = sample(stored.family, Ask(config.pairs, given=given, noise=noise, steps=config.steps), show=True)
    np.save(step.out / "noise.npy", noise.numpy())
    np.save(step.out / "samples.npy", made.numpy())
    np.save(step.out / "given.npy", labels)
    write_json(step.out / "pairs.json", {"space": asdict(space), "classes": stored.classes, "layout": stored.layout})
    return {"pairs": config.pairs, "steps": config.steps}


@dataclass(frozen=True)
class PairExamples:
    """Pairs as examples; every tenth is held out."""

    noise: NDArray[np.float32]
    samples: NDArray[np.float32]
    given: NDArray[np.int64]
    space: Space
    classes: tuple[str, ...]
    layout: str = ""
    unit = "pairs"

    @classmethod
    def open(cls, path: Path) -> PairExamples:
        """What `draw_pairs` wrote. Raises ModelError where it is missing, or spoilt."""
        record = read_json(path / "pairs.json")
        space = Space(tuple(record["space"].pop("shape")), **record["space"])
        try:
            noise, samples, given = (np.load(path / f"{name}.npy", mmap_mode="r")
                                     for name in ("noise", "samples", "given"))  # fmt: skip
        except (OSError, ValueError) as error:
            raise ModelError(f"there are no pairs: {error}", where=str(path), remedy="Draw them first.") from error
        return cls(noise, samples, given, space, tuple(record["classes"]), record["layout"])

    @cached_property
    def _sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = np.arange(len(self.noise))
        held = rows // max(1, len(self.classes)) % 10 == 9
        return rows[~held], rows[held]

    @property
    def counts(self) -> tuple[int, int]:
        return len(self._sides[0]), len(self._sides[1])

    def batch(self, size: int, *keys: int, turn: int, device: torch.device) -> Batch:
        return self.batch_of(rows_of(turn, size, self.counts[0], keys), device)

    def batch_of(self, rows: Sequence[int], device: torch.device, *, held_out: bool = False) -> Batch:
        own = self._sides[1 if held_out else 0][list(rows)]
        x, noise = (torch.from_numpy(np.asarray(one[own])).to(device) for one in (self.samples, self.noise))
        given = torch.from_numpy(self.given[own]).to(device) if self.space.classes else None
        return Batch(x, given, noise)

    def labels_of(self, rows: Sequence[int]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.given[self._sides[0][list(rows)]]
        return found
