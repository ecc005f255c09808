"""Attribute arithmetic: the code of a picture, and so much of the direction in which an attribute lies.

Source: Larsen et al. (2016), Autoencoding beyond pixels using a learned similarity metric, section 4.2; Radford et al.
(2016), DCGAN, section 6.3.2; White (2016), Sampling generative networks, section 3.3, for what comes along with it.

    d  = sum_s n_s ( mean z of those with it in s - mean z of those without it in s ) / sum_s n_s
    x' = decode( z(x) + k d )

z     mean of the posterior of a VAE; of a flow, a diffusion and a latent flow the noise of inversion.py
s     a class of the pictures, n_s those of it with the attribute: what classes differ by does not come along
k     how much of it: 0 is the picture again, below 0 takes it away

Chosen:   codes are read under the pictures' own classes, or under nothing where a model is asked by text, which would
          say the attribute itself; `among` limits both sides to pictures with a word, faces say, as classes do.
Left out: directions from a classifier of codes, arcs instead of lines, directions within a network.
Try it:   pytest tests/generators/test_attributes.py
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.data.pictures import PictureSet
from genwerk.generators.family import Ask, Family
from genwerk.generators.inversion import invert
from genwerk.generators.picture_examples import to_numbers
from genwerk.training.seeding import generator

__all__ = ["Direction", "direction_of", "having", "learn_direction", "marked", "move"]

LEAST = 5
"""Pictures with an attribute, and without it, below which a mean says nothing."""


@dataclass(frozen=True, slots=True)
class Direction:
    """vector (*noise_shape), the difference of two means of codes, over so many pictures with and without."""

    vector: Tensor
    having: int
    lacking: int


def marked(pictures: PictureSet, word: str) -> NDArray[np.bool_]:
    """(N,): whether the class of a picture is `word`, or its text holds that as a whole word or words."""
    wanted = word.strip().casefold()
    if wanted in (names := [name.casefold() for name in pictures.classes]):
        of_class: NDArray[np.bool_] = pictures.labels == names.index(wanted)
        return of_class
    whole = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    return np.array([bool(wanted and whole.search(text.casefold())) for text in pictures.texts], bool)


def having(pictures: PictureSet, word: str) -> NDArray[np.bool_]:
    """As `marked`. Raises RequestError for what no picture has."""
    found = marked(pictures, word)
    if not found.any():
        parts = (part for text in pictures.texts for part in re.findall(r"\w+", text.casefold()))
        known = {*(name.casefold() for name in pictures.classes), *parts}
        near = difflib.get_close_matches(word.strip().casefold(), sorted(known), n=3)
        remedy = f"Did you mean {', '.join(near)}?" if near else "Name a class, or a word of the pictures' texts."
        raise RequestError(f"no picture has the attribute `{word}`", param="attribute", remedy=remedy)
    return found


def direction_of(codes: Tensor, has: NDArray[np.bool_], strata: NDArray[np.int64] | None = None) -> Direction:
    """Of codes (N, …), some of which have an attribute; strata (N,): within which means are compared, -1 too.

    Raises RequestError where fewer than LEAST have it, or lack it, in strata that hold both.
    """
    places = np.zeros(len(codes), np.int64) if strata is None else strata
    both = [one for one in np.unique(places) if 0 < has[places == one].sum() < (places == one).sum()]
    used = np.isin(places, both)
    with_it, without = int((used & has).sum()), int((used & ~has).sum())
    if min(with_it, without) < LEAST:
        what = f"{with_it} pictures have the attribute and {without} of the same classes have not"
        raise RequestError(what, param="attribute", remedy=f"A mean needs {LEAST} of each: choose a wider one.")
    total = torch.zeros_like(codes[0], dtype=torch.float64)
    for one in both:
        own, other = (torch.from_numpy((places == one) & side) for side in (has, ~has))
        total += int(own.sum()) * (codes[own].double().mean(0) - codes[other].double().mean(0))
    return Direction((total / with_it).to(codes.dtype), with_it, without)


def learn_direction(
    family: Family,
    pictures: PictureSet,
    word: str,
    *,
    by: str,
    among: str = "",
    most: int = 300,
    steps: int | None = None,
    show: bool = False,
) -> Direction:
    """In which direction `word` lies, from at most so many pictures with it and as many without.

    by      what the family is asked by: class, text or nothing

    Raises RequestError: no such attribute, one that the model is asked by, too few pictures, no way to a code.
    """
    rows, has, strata = _sides(pictures, word, among, most, by=by)
    given = torch.from_numpy(pictures.labels[rows]) if by == "class" else None
    ask = Ask(len(rows), given=given, start=to_numbers(pictures.pixels[rows]), steps=steps)
    back = invert(family, ask, show=show)
    assert back.noise is not None
    return direction_of(back.noise.cpu(), has, strata)


def move(ask: Ask, direction: Direction, amounts: Tensor) -> Ask:
    """The ask of `invert` with so much of the direction added to each draw's noise; amounts (count,)."""
    assert ask.noise is not None
    vector = direction.vector.to(ask.noise)
    wide = amounts.to(ask.noise).view(-1, *[1] * vector.ndim)
    return replace(ask, noise=ask.noise + wide * vector)


def _sides(
    pictures: PictureSet, word: str, among: str, most: int, *, by: str
) -> tuple[list[int], NDArray[np.bool_], NDArray[np.int64]]:
    """Rows whose codes are compared, whether each has the attribute, and its stratum."""
    has, able = having(pictures, word), having(pictures, among) if among else np.ones(len(pictures), bool)
    strata = pictures.labels
    if word.strip().casefold() in [name.casefold() for name in pictures.classes]:
        strata = np.zeros_like(strata)
        if by == "class":
            what = f"`{word}` is a class that the model is asked by, so codes say nothing of it"
            raise RequestError(what, param="attribute", remedy="Ask for the class itself, or for a word of the texts.")
    own, other = has & able, ~has & able
    other &= np.isin(strata, strata[own])
    rows = [*_some(own, most), *_some(other, most)]
    if rows:
        direction_of(torch.zeros(len(rows), 1), has[rows], strata[rows])  # too few are refused before codes are read
    else:
        raise RequestError(f"no picture among `{among}` has `{word}`", param="among", remedy="Choose a wider one.")
    return rows, has[rows], strata[rows]


def _some(able: NDArray[np.bool_], most: int) -> list[int]:
    chosen: list[int] = np.sort(generator(0).permutation(np.flatnonzero(able))[:most]).tolist()
    return chosen
