"""Super-resolution: what it makes averages down to what it was given, tiled or not, at every size, without a seam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from picture_world import pictures
from PIL import Image
from scipy.optimize import minimize
from torch import Tensor, nn

from genwerk.core.errors import ModelError, RequestError
from genwerk.generators.family import Ask, Batch, Space, sample
from genwerk.generators.networks import NetworkConfig
from genwerk.generators.picture_examples import to_numbers
from genwerk.generators.super_resolution import (
    SuperResolution,
    SuperResolutionConfig,
    agreeing,
    bicubic,
    mean_down,
    random_tiles,
    repeat_up,
)

NETWORK = NetworkConfig(width=8, multipliers=(1, 2))


def made(*, channels: int = 1, awake: bool = True, **more: Any) -> SuperResolution:
    """With a network that says something, as one that was trained does."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"network": NETWORK, "tile": 16, "overlap": 8, "steps": 3} | more
    family = SuperResolution(SuperResolutionConfig(**settings), Space((channels, 32, 32)))
    family.network.deviation.fill_(0.1)
    for weight in family.network.parameters():
        if awake and not weight.any():
            nn.init.normal_(weight, std=0.1)
    return family


def small(height: int, width: int, channels: int = 1) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(1)) - 0.5


class Pixelwise(nn.Module):
    """A velocity that looks at one pixel only, so that tiles cannot matter."""

    def forward(self, x: Tensor, t: Tensor, given: Tensor | None) -> Tensor:
        noisy, told = x.chunk(2, 1)
        return 0.7 * noisy - told.square() + t[:, None, None, None]


# What it is told


def test_bicubic_is_pillows() -> None:
    y = small(5, 7)
    wanted = Image.fromarray(y[0, 0].numpy()).resize((14, 10), Image.Resampling.BICUBIC)
    assert np.allclose(bicubic(y)[0, 0].numpy(), np.asarray(wanted), atol=1e-6)


def test_averaging_undoes_repeating() -> None:
    y = small(5, 7, 3)
    assert torch.allclose(mean_down(repeat_up(y)), y, atol=1e-7)
    assert torch.allclose(mean_down(bicubic(torch.full((1, 1, 3, 3), 0.4))), torch.full((1, 1, 3, 3), 0.4))


def test_what_agrees_is_the_nearest_that_does() -> None:
    """Beside a solver for the same: least squares between bounds, with the mean held."""
    draw = torch.Generator().manual_seed(2)
    x, y = 3 * torch.randn(6, 1, 2, 2, generator=draw), 2 * torch.rand(6, 1, 1, 1, generator=draw) - 1
    y[0], y[1] = 1.0, -1.0
    found = agreeing(x, y)
    assert torch.allclose(mean_down(found), y, atol=1e-5) and found.abs().max() <= 1.0
    assert torch.allclose(found[0], torch.ones(1, 2, 2)) and torch.allclose(agreeing(found, y), found, atol=1e-5)
    for one, mean, wanted in zip(found, y, x, strict=True):
        target = wanted.double().flatten().numpy()
        solved = minimize(lambda v: ((v - target) ** 2).sum(), np.zeros(4), method="SLSQP", bounds=[(-1, 1)] * 4,  # noqa: B023
                          constraints={"type": "eq", "fun": lambda v: v.mean() - float(mean)})  # noqa: B023 # fmt: skip
        assert np.allclose(one.flatten().numpy(), solved.x, atol=2e-3)


def test_the_deviation_is_that_of_what_is_drawn() -> None:
    x = to_numbers(pictures(32).pixels).repeat(1, 1, 4, 4)
    for draws, rest in (("residual", x - bicubic(mean_down(x))), ("picture", x)):
        family = made(draws=draws)
        family.measure(x.split(10))
        assert float(family.network.deviation) == pytest.approx(float(rest.square().mean().sqrt()), rel=1e-5)


def test_tiles_are_the_same_of_both_and_begin_at_whole_small_pixels() -> None:
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(20), indexing="ij")
    place = torch.stack([rows, columns]).float().expand(50, 2, 24, 20)
    torch.manual_seed(0)
    first, second = random_tiles((place, place + 1), 8)
    corners = first[:, :, 0, 0]
    assert torch.equal(second, first + 1) and (corners % 2 == 0).all()
    assert corners.amin(0).tolist() == [0, 0] and corners.amax(0).tolist() == [16, 12]
    assert torch.equal(first[0, 0, :, 0] - first[0, 0, 0, 0], torch.arange(8.0))


def test_a_last_odd_row_or_column_is_not_learned_from() -> None:
    family = SuperResolution(SuperResolutionConfig(network=NETWORK, tile=16), Space((1, 33, 17)))
    family.measure([torch.rand(2, 1, 33, 17)])
    assert family.network.deviation > 0 and family.loss(Batch(torch.rand(2, 1, 33, 17))).value.isfinite()


def test_noise_on_what_it_is_told_changes_what_is_learned() -> None:
    x = to_numbers(pictures(8).pixels).repeat(1, 1, 4, 4)
    values = []
    for noise in (0.0, 0.5):
        family = made(condition_noise=noise)
        torch.manual_seed(3)
        values.append(float(family.loss(Batch(x)).value.detach()))
    assert values[0] != values[1] and np.isfinite(values).all()


# What it makes


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (3, 8), (8, 8), (9, 21), (25, 17)])
def test_pictures_of_every_size_become_twice_as_large_and_agree(height: int, width: int) -> None:
    family, y = made(channels=3), small(height, width, 3)
    x = sample(family, Ask(1, 2, small=y))
    assert x.shape == (1, 3, 2 * height, 2 * width) and x.abs().max() <= 1.0
    assert torch.allclose(mean_down(x), y, atol=1e-5)
    assert not torch.allclose(x, sample(family, Ask(1, 3, small=y)), atol=1e-3)


def test_it_need_not_agree_where_that_is_switched_off() -> None:
    y = small(12, 12)
    x = sample(made(consistent=False), Ask(1, 2, small=y))
    assert float((mean_down(x) - y).abs().max()) > 1e-2


@pytest.mark.parametrize("solver", ["euler", "heun", "dpm_solver", "ancestral"])
@pytest.mark.parametrize("draws", ["residual", "picture"])
def test_tiles_do_not_matter_where_a_velocity_looks_at_a_pixel_alone(solver: str, draws: str) -> None:
    y, whole = small(16, 16), None
    for tile, overlap in ((32, 0), (8, 0), (8, 4), (16, 6)):
        family = made(tile=tile, overlap=overlap, draws=draws)
        family.network.denoiser = Pixelwise()
        found = sample(family, Ask(1, 5, small=y, steps=4, solver=solver))
        whole = found if whole is None else whole
        assert torch.allclose(found, whole, atol=1e-5), (tile, overlap)


def test_no_seam_is_seen_where_tiles_disagree() -> None:
    """Each tile says how light it is as a whole, in a picture that grows lighter from left to right."""

    class Tilewise(nn.Module):
        def forward(self, x: Tensor, t: Tensor, given: Tensor | None) -> Tensor:
            noisy, told = x.chunk(2, 1)
            return told.mean((1, 2, 3), keepdim=True).expand_as(noisy)

    y, steepest = torch.linspace(-1.0, 1.0, 64).expand(1, 1, 64, 64), {}
    for overlap in (0, 8):
        family = made(overlap=overlap, consistent=False)
        family.network.denoiser = Tilewise()
        found = family.estimate(torch.zeros(1, 1, 128, 128), 1.0, None, told=bicubic(y), small=y)
        steepest[overlap] = float(found[0, 0].diff(dim=1).abs().max())
        assert float(found[0, 0].diff(dim=0).abs().max()) < 1e-6
    assert steepest[0] == pytest.approx(2 / 8, rel=0.05) and steepest[8] < steepest[0] / 6, steepest


def test_memory_is_that_of_few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    family, seen = made(), []
    forward = family.network.denoiser.forward

    def watched(x: Tensor, *rest: Any) -> Tensor:
        seen.append(len(x))
        return forward(x, *rest)

    monkeypatch.setattr(family.network.denoiser, "forward", watched)
    sample(family, Ask(1, small=small(64, 64), steps=1, solver="euler"))
    assert max(seen) == 16 and sum(seen) == 15 * 15


def test_the_mean_is_one_step_and_draws_are_around_it() -> None:
    """With a velocity that is right for r ~ N(0, 1), independent of all else: the mean of r is 0, draws are as wide."""

    class Right(nn.Module):
        def forward(self, x: Tensor, t: Tensor, given: Tensor | None) -> Tensor:
            noisy, _ = x.chunk(2, 1)
            t = t[:, None, None, None]
            return noisy * (2 * t - 1) / (t.square() + (1 - t).square())

    family, y = made(consistent=False), small(32, 32)
    family.network.denoiser = Right()
    mean = sample(family, Ask(1, small=y, steps=1, solver="euler"))
    assert torch.allclose(mean, bicubic(y).clamp(-1, 1), atol=1e-5)
    drawn = sample(family, Ask(1, small=y, steps=32))
    assert float((drawn - bicubic(y)).std()) == pytest.approx(0.1, rel=0.05)


# What is refused


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (None, "nothing to enlarge"),
        (torch.zeros(1, 3, 8, 8), "not \\(1, 1, h, w\\)"),
        (torch.zeros(1, 8, 8), "not \\(1, 1, h, w\\)"),
        (torch.zeros(2, 1, 8, 8), "not \\(1, 1, h, w\\)"),
        (torch.zeros(1, 1, 0, 8), "not \\(1, 1, h, w\\)"),
        (torch.full((1, 1, 8, 8), torch.nan), "not finite"),
    ],
    ids=["none", "colours", "three dimensions", "count", "empty", "nan"],
)
def test_what_cannot_be_enlarged_is_refused(asked: Tensor | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        sample(made(awake=False), Ask(1, small=asked))


@pytest.mark.parametrize(("tile", "overlap"), [(34, 8), (16, 16)])
def test_tiles_that_do_not_fit_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(ModelError, match="do not fit"):
        made(tile=tile, overlap=overlap)


def test_a_transformer_can_be_told_too() -> None:
    network = NetworkConfig(kind="dit", width=16, depth=1, heads=2, patch=2)
    x = sample(made(network=network, channels=3), Ask(1, small=small(11, 5, 3)))
    assert x.shape == (1, 3, 22, 10)
