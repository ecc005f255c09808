"""What every family of generators has, and what can be asked of one.

    family.players()     who learns, by which loss, how often a step           loop.py trains them
    family.frames(ask)   previews, of which the last one is the sample         `sample` takes it, in parts

A family says in `uses` what it can do beyond drawing. What it cannot is refused with its name, never imitated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genwerk.core.errors import RequestError
from genwerk.core.progress import track
from genwerk.core.resident import kept_heap

__all__ = ["Ask", "Batch", "Family", "Loss", "Player", "Preview", "Space", "check_ask", "check_shapes", "sample"]

Use = Literal["given", "noise", "steps", "solver", "guidance", "interval", "start", "strength", "keep", "temperature",
              "rule", "small"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Space:
    """Where samples lie, and what they can be asked to be.

    shape     of one sample: (C, H, W) of a picture, (T,) of tokens
    tokens    how many there are; 0: samples are numbers from -1 to 1
    classes   how many classes a sample can be asked to be of; vector: or how long the vector of a text is
    """

    shape: tuple[int, ...]
    tokens: int = 0
    classes: int = 0
    vector: int = 0

    @property
    def picture(self) -> tuple[int, int, int]:
        """The shape of a picture. Raises RequestError where samples are something else."""
        if self.tokens or len(self.shape) != 3:
            raise RequestError("this family makes pictures only", remedy="Choose another `family` for these data.")
        channels, height, width = self.shape
        return channels, height, width

    @property
    def sequence(self) -> int:
        """The most tokens of a sequence. Raises RequestError where samples are something else."""
        if not self.tokens or len(self.shape) != 1:
            raise RequestError("this family makes sequences only", remedy="Choose another `family` for these data.")
        return self.shape[0]


@dataclass(frozen=True, slots=True)
class Batch:
    """x: (B, *shape); given: (B,) classes or (B, D) vectors, see models/condition.py; noise: of which x was made;
    codes: of x, where a codec made them before."""

    x: Tensor
    given: Tensor | None = None
    noise: Tensor | None = None
    codes: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The mean over a batch, and what is worth a line in the curve beside it."""

    value: Tensor
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Player:
    """One that learns: whose weights move, by which loss, and how often in a step.

    held_out   whether the loss says something of data that were not trained on
    """

    name: str
    module: nn.Module
    loss: Callable[[Batch], Loss]
    lr: float
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    every: int = 1
    held_out: bool = True
    optimiser: Literal["adamw", "muon"] = "adamw"


class Rule(Protocol):
    """Which tokens may follow, for many draws at once; a draw that has ended takes padding.

    allowed   (B, V): where `left` tokens may still come, the one that ends included
    take      (B,): what was drawn
    """

    def begin(self, count: int) -> None: ...

    def allowed(self, left: int) -> NDArray[np.bool_]: ...

    def take(self, tokens: NDArray[np.int64]) -> None: ...


@dataclass(frozen=True)
class Ask:
    """`count` draws of a seed, from draw `first` on; what is left as it is, the family chooses.

    given        classes or vectors, one a draw
    noise        (count, …) to begin from, instead of the seed's
    steps        of a solver; solver: its name
    guidance     how much more than the condition alone; interval: between which ratios of noise to data it acts
    start        (count, *shape) to change; strength: how much of the way back to noise, up to 1
    keep         (count, *shape) bool: what of `start` stays as it is, to the bit
    temperature  below 1 nearer to what is likely
    rule         what may follow, where samples are tokens
    small        (count, C, h, w) of any size, to be enlarged; whoever can be asked for it makes nothing without
    """

    count: int
    seed: int = 0
    first: int = 0
    given: Tensor | None = None
    noise: Tensor | None = None
    steps: int | None = None
    solver: str | None = None
    guidance: float = 1.0
    interval: tuple[float, float] = (0.0, math.inf)
    start: Tensor | None = None
    strength: float = 1.0
    keep: Tensor | None = None
    temperature: float = 1.0
    rule: Rule | None = None
    small: Tensor | None = None

    def with_kept(self, x: Tensor) -> Tensor:
        """Samples (count, *shape) with what is kept of `start` in its place, to the bit."""
        if self.keep is None or self.start is None:
            return x
        return torch.where(self.keep.to(x.device), self.start.to(x.device), x)

    def part(self, start: int, stop: int) -> Ask:
        """Draws from `start` to `stop` of these."""
        own = {name: getattr(self, name) for name in ("given", "noise", "start", "keep", "small")}
        cut = {name: value[start:stop] for name, value in own.items() if value is not None}
        return replace(self, count=min(stop, self.count) - start, first=self.first + start, **cut)


class Preview:
    """What can be seen of the samples after `done` of `of` steps; x may be given as what makes it of codes."""

    def __init__(self, x: Tensor | Callable[[], Tensor], done: int, of: int) -> None:
        self._x, self.done, self.of = x, done, of

    @property
    def x(self) -> Tensor:
        """(B, *shape), within the space; made when it is looked at first."""
        if not isinstance(self._x, Tensor):
            with torch.no_grad():
                self._x = self._x()
        return self._x


class Family(Protocol):
    """network: all that is saved; uses: what of `Ask` it can do, beyond draws; noise_shape: what a draw begins as."""

    space: Space
    noise_shape: tuple[int, ...]
    uses: frozenset[Use]

    @property
    def network(self) -> nn.Module: ...

    def players(self) -> Sequence[Player]: ...

    def frames(self, ask: Ask) -> Iterator[Preview]: ...


@torch.no_grad()
def sample(family: Family, ask: Ask, *, together: int = 64, show: bool = False) -> Tensor:
    """(count, *shape): the samples, so many computed together. show: a progress bar. Raises RequestError, see
    `check_ask`."""
    check_ask(family, ask)
    training = family.network.training
    family.network.eval()
    done: list[Tensor] = []
    try:
        with kept_heap(), track("making samples", total=ask.count, unit="samples") if show else nullcontext() as bar:
            for start in range(0, ask.count, together):
                part = ask.part(start, start + together)
                *_, last = family.frames(part)
                done.append(last.x)
                if bar is not None:
                    bar.advance(part.count)
    finally:
        family.network.train(training)
    return torch.cat(done)


def check_ask(family: Family, ask: Ask) -> None:
    """Raises RequestError for what the family cannot do, and for what nobody can."""
    usual = {one.name: one.default for one in fields(Ask)}
    for name in usual.keys() - {"count", "seed", "first"} - family.uses:
        if getattr(ask, name) is not usual[name] and getattr(ask, name) != usual[name]:
            what = f"a {type(family).__name__} cannot be asked for `{name}`"
            known = ", ".join(sorted(family.uses)) or "nothing but draws"
            raise RequestError(what, param=name, remedy=f"It knows: {known}.")
    if ask.count < 1 or ask.seed < 0 or ask.first < 0:
        what = f"{ask.count} draws of seed {ask.seed} from draw {ask.first} cannot be made"
        raise RequestError(what, param="count", remedy="Ask for one or more, of a seed of 0 or above.")
    if not 0.0 < ask.strength <= 1.0 or (ask.strength < 1.0 and ask.start is None):
        what = f"a strength of {ask.strength} cannot be" if ask.start is not None else "there is nothing to change"
        raise RequestError(what, param="strength", remedy="Give a picture, and a strength above 0 and up to 1.")
    if not (math.isfinite(ask.temperature) and ask.temperature >= 0.0):
        raise RequestError("a temperature must be 0 or above", param="temperature", remedy="1 is as trained.")
    if ask.keep is not None and ask.start is None:
        raise RequestError("there is nothing to keep", param="keep", remedy="Give the picture whose pixels stay.")
    if "small" in family.uses:
        _check_small(family.space, ask)
    _check_given(family.space, ask)
    check_shapes(family.space, ask)


def _check_small(space: Space, ask: Ask) -> None:
    small = ask.small
    if small is None:
        what = "there is nothing to enlarge"
        raise RequestError(what, param="small", remedy="Give a picture: `genwerk enlarge PICTURE --model MODEL`.")
    if small.ndim != 4 or small.shape[:2] != (ask.count, space.picture[0]) or not small.numel():
        what = f"what is to be enlarged has the shape {tuple(small.shape)}, not ({ask.count}, {space.picture[0]}, h, w)"
        raise RequestError(what, param="small", remedy="Give one picture a draw, in the colours of the model.")
    if not small.isfinite().all():
        raise RequestError("what is to be enlarged is not finite", param="small", remedy="Look at where it was read.")


def _check_given(space: Space, ask: Ask) -> None:
    given = ask.given
    if given is None:
        return
    wanted = (ask.count,) if space.classes else (ask.count, space.vector)
    if not (space.classes or space.vector):
        raise RequestError("this model was trained without a condition", param="given", remedy="Ask without one.")
    if tuple(given.shape) != wanted:
        what = f"what is asked for has the shape {tuple(given.shape)}, not {wanted}"
        raise RequestError(what, param="given", remedy="Give one class or one vector a draw.")
    if space.classes and not ((given >= -1) & (given < space.classes)).all():
        raise RequestError(f"there are {space.classes} classes", param="given", remedy="Count them from 0.")
    if space.vector and not given.isfinite().all():
        raise RequestError("a vector that is asked for is not finite", param="given", remedy="Look at the encoder.")


def check_shapes(space: Space, ask: Ask) -> None:
    """Raises RequestError for pictures and noise of another shape, or not finite."""
    for name in ("start", "keep"):
        value = getattr(ask, name)
        if value is not None and tuple(value.shape) != (ask.count, *space.shape):
            what = f"`{name}` has the shape {tuple(value.shape)}, not {(ask.count, *space.shape)}"
            raise RequestError(what, param=name, remedy="Bring it to the size of the model's pictures.")
        if value is not None and value.is_floating_point() and not value.isfinite().all():
            raise RequestError(f"`{name}` is not finite", param=name, remedy="Look at where it was read.")
    if ask.noise is not None and (len(ask.noise) != ask.count or not ask.noise.isfinite().all()):
        what = f"noise for {len(ask.noise)} draws, of {ask.count}, or not finite"
        raise RequestError(what, param="noise", remedy="Give finite numbers for every draw.")
