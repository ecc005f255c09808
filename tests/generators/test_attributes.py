"""Attribute arithmetic: directions are differences of means within classes, and codes move along them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from picture_world import pictures, step_in
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.data.pictures import PictureSet
from genwerk.generators.attributes import direction_of, having, learn_direction, move
from genwerk.generators.family import Ask, Family, Space, sample
from genwerk.generators.inversion import invert
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.picture_examples import PictureExamples, to_numbers
from genwerk.generators.storage import make_family
from genwerk.training.seeding import seed_step


def named(count: int = 40) -> PictureSet:
    """Squares and bars; every other of each is `bright`, and told so."""
    some = pictures(count, seed=2)
    bright = np.arange(count) // 2 % 2 == 0
    pixels = np.where(bright[:, None, None, None], some.pixels, some.pixels // 3)
    words = [f"a {'very bright' if one else 'dim'} {some.classes[label]}" for one, label in zip(bright, some.labels,
             strict=True)]  # fmt: skip
    return PictureSet(pixels, some.labels, tuple(words), some.classes)


def test_an_attribute_is_a_class_or_whole_words_of_a_text() -> None:
    some = named()
    assert np.array_equal(having(some, "bright"), np.arange(40) // 2 % 2 == 0)
    assert np.array_equal(having(some, "Very Bright"), having(some, "bright"))
    assert np.array_equal(having(some, "bar"), some.labels == 1)
    for wrong, remedy in (("brigh", "bright"), ("", "Name a class"), ("zzz", "Name a class")):
        with pytest.raises(RequestError, match=remedy):
            having(some, wrong)


def test_a_direction_is_the_difference_of_means() -> None:
    codes = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(0))
    has = np.arange(20) < 8
    found = direction_of(codes, has)
    assert torch.allclose(found.vector, codes[:8].mean(0) - codes[8:].mean(0), atol=1e-6)
    assert (found.having, found.lacking) == (8, 12)


def test_what_classes_differ_by_does_not_come_along() -> None:
    """The attribute is more frequent in class 1, which lies elsewhere; the direction does not lead there."""
    draw = torch.Generator().manual_seed(1)
    strata = np.repeat([0, 1, 2], [400, 400, 50])
    has = np.concatenate([np.arange(400) < 40, np.arange(400) < 360, np.zeros(50, bool)])
    codes = 0.1 * torch.randn(850, 2, generator=draw)
    codes[:, 0] += torch.from_numpy(has) * 1.0  # what the attribute is
    codes[:, 1] += torch.from_numpy(strata) * 5.0  # what the class is
    naive, fair = direction_of(codes, has).vector, direction_of(codes, has, strata)
    assert float(naive[1]) > 2.0 and torch.allclose(fair.vector, torch.tensor([1.0, 0.0]), atol=0.05)
    assert (fair.having, fair.lacking) == (400, 400)  # nobody of class 2 has it, so it is not compared


@pytest.mark.parametrize("counts", [(4, 20), (20, 4), (0, 20)])
def test_too_few_are_refused(counts: tuple[int, int]) -> None:
    has = np.arange(sum(counts)) < counts[0]
    with pytest.raises(RequestError, match="A mean needs 5 of each"):
        direction_of(torch.zeros(sum(counts), 2), has)


def test_two_classes_with_one_example_each_are_refused() -> None:
    family = trained_vae_stub()
    alone = PictureSet(pictures(2).pixels, np.array([0, 1]), ("a cat", "a dog"), ("left", "right"))
    for word in ("cat", "left"):
        with pytest.raises(RequestError, match="A mean needs 5 of each"):
            learn_direction(family, alone, word, by="nothing")


def trained_vae_stub(**space: int) -> Family:
    seed_step(0)
    return make_family("vae", {"codes": 4, "width": 4, "likelihood": "gaussian"}, Space((1, 8, 8), **space))


@pytest.mark.parametrize(
    ("word", "more", "message"),
    [
        ("brite", {}, "Did you mean"),
        ("bar", {"by": "class"}, "a class that the model is asked by"),
        ("bright", {"among": "dim"}, "no picture among `dim` has `bright`"),
        ("bright", {"among": "circle"}, "no picture has the attribute `circle`"),
    ],
)
def test_what_cannot_be_learned_is_refused(word: str, more: dict[str, Any], message: str) -> None:
    family = trained_vae_stub(classes=2)
    with pytest.raises(RequestError, match=message):
        learn_direction(family, named(), word, **({"by": "nothing"} | more))


def test_a_family_without_codes_is_refused_by_name() -> None:
    gan = make_family("gan", {"codes": 4, "width": 4}, Space((1, 8, 8)))
    with pytest.raises(RequestError, match="a GAN cannot take a picture back"):
        learn_direction(gan, named(), "bright", by="nothing")


FAMILIES = {
    "vae": ("vae", {"codes": 6, "width": 8, "likelihood": "gaussian", "beta": 0.1, "lr": 3e-3}, {}),
    "flow": ("flow", {"network": {"width": 16, "multipliers": (1, 2)}, "lr": 3e-3}, {"steps": 16}),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("by", ["nothing", "class"])
def test_dim_pictures_become_bright_and_the_rest_stays(name: str, by: str, tmp_path: Any) -> None:
    """Half the direction and the whole of it light them up; amount 0 is the picture again."""
    kind, settings, more = FAMILIES[name]
    some = named(64)
    world = PictureExamples(some, some, by)
    seed_step(0)
    family = make_family(kind, settings, world.space)
    fit(family, world, FitConfig(steps=200, batch=16, warmup=20, eval_every=1000, look_every=1000,
                                 checkpoint_every=1000), step_in(tmp_path))  # fmt: skip
    direction = learn_direction(family, some, "bright", by=by, **more)
    assert (direction.having, direction.lacking) == (32, 32) and direction.vector.shape == family.noise_shape
    rows = np.flatnonzero(~having(some, "bright"))
    x = to_numbers(some.pixels[rows])
    given = torch.from_numpy(some.labels[rows]) if by == "class" else None
    back = invert(family, Ask(len(rows), given=given, start=x, **more))
    drawn = [sample(family, move(back, direction, torch.full((len(rows),), k))) for k in (0.0, 0.5, 1.0)]
    lit = [float(_brightness(one, x).mean()) for one in drawn]
    assert float((drawn[0] - x).abs().mean()) < 0.1
    assert min(lit[1:]) > lit[0] + 0.1, lit


def _brightness(made: Tensor, x: Tensor) -> Tensor:
    """Of the places where the picture was lit."""
    return made[x > -0.9]


def test_amounts_are_added_draw_by_draw() -> None:
    family = trained_vae_stub()
    back = invert(family, Ask(3, start=to_numbers(pictures(3).pixels)))
    direction = direction_of(torch.cat([torch.ones(6, 4), torch.zeros(6, 4)]), np.arange(12) < 6)
    moved = move(back, direction, torch.tensor([0.0, 1.0, -2.0]))
    assert back.noise is not None and moved.noise is not None
    assert torch.allclose(moved.noise - back.noise, torch.tensor([[0.0], [1.0], [-2.0]]).expand(3, 4), atol=1e-6)
