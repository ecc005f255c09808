"""One suite over every family: it learns, draws do not depend on their neighbours, and nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codec_world import CODEC, trained_codec
from killed_run import both
from picture_world import examples, pictures, step_in

from genwerk.core.errors import ConfigError, ModelError, RequestError, TrainingError
from genwerk.generators.codes import Codes
from genwerk.generators.family import Ask, Family, Space, sample
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.picture_examples import PictureExamples, to_numbers
from genwerk.generators.storage import FAMILIES, load_family, make_family, save_family, settings_of
from genwerk.generators.super_resolution import mean_down
from genwerk.training.seeding import seed_step

SMALL = {"network": {"width": 16, "multipliers": (1, 2)}, "lr": 3e-3}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("vae", {"codes": 8, "width": 8, "lr": 3e-3}),
    "vae-gaussian": ("vae", {"codes": 8, "width": 8, "likelihood": "gaussian", "free": 0.05, "beta": 0.5}),
    "gan-relativistic": ("gan", {"codes": 8, "width": 8, "generator_lr": 1e-3, "critic_lr": 1e-3}),
    "gan-wgan": ("gan", {"codes": 8, "width": 8, "loss": "wgan", "penalty": 10.0, "critic_every": 2,
                         "generator_lr": 1e-3, "critic_lr": 1e-3}),
    "gan-nonsaturating": ("gan", {"codes": 8, "width": 8, "loss": "nonsaturating", "spectral": True, "smooth": 0.1,
                                  "statistics": True, "augment": ("shift",), "generator_lr": 1e-3, "critic_lr": 1e-3}),
    "diffusion": ("diffusion", SMALL),
    "diffusion-edm": ("diffusion", SMALL | {"path": "edm", "solver": "heun", "steps": 12}),
    "diffusion-noise": ("diffusion", SMALL | {"path": "linear", "predicts": "noise", "solver": "euler"}),
    "flow": ("flow", SMALL),
    "flow-transport": ("flow", SMALL | {"transport": True}),
    "flow-dit": ("flow", {"network": {"kind": "dit", "width": 32, "depth": 2, "heads": 2}, "lr": 3e-3}),
    "codes": ("codes", {"codec": CODEC, "prior": {"width": 32, "depth": 2, "heads": 2, "lr": 1e-2}}),
    "super-resolution": ("super_resolution", SMALL | {"tile": 8, "overlap": 4}),
}  # fmt: skip
LEARNING = {"vae": 300, "vae-gaussian": 300, "gan-relativistic": 500, "gan-wgan": 400, "gan-nonsaturating": 500,
            "diffusion": 400, "diffusion-edm": 400, "diffusion-noise": 500, "flow": 400, "flow-transport": 400,
            "flow-dit": 500, "codes": 200, "super-resolution": 400}  # fmt: skip
EVERY = pytest.mark.parametrize("name", SETTINGS)


def made(name: str, space: Space | None = None) -> Family:
    kind, settings = SETTINGS[name]
    seed_step(0)
    family = make_family(kind, settings, space or examples().space)
    if isinstance(family, Codes) and space is None:
        family.adopt(trained_codec(), [to_numbers(pictures(64).pixels)])
    return family


def asked(family: Family, count: int, **more: Any) -> Ask:
    return Ask(count, 3, given=torch.arange(count) % 2, **needed(family, count), **more)


def needed(family: Family, count: int, first: int = 0) -> dict[str, torch.Tensor]:
    """What it makes nothing without: small pictures, of eight that are learned by heart."""
    if "small" not in family.uses:
        return {}
    channels, _, width = family.space.picture
    large = to_numbers(pictures(8, channels=channels).pixels).repeat(1, 1, 1, 2)[..., :width]
    return {"small": mean_down(large)[(torch.arange(count) + first) % 8]}


@EVERY
def test_it_learns_eight_pictures_by_heart(name: str, tmp_path: Path) -> None:
    """What it makes lies nearer to the eight, each of its own class, than they lie to each other."""
    world = PictureExamples(pictures(8), pictures(8, seed=1), "class")
    family = made(name)
    steps = LEARNING[name]
    fit(family, world, FitConfig(steps=steps, batch=16, warmup=20, look_every=10_000, eval_every=10_000,
                                 checkpoint_every=10_000), step_in(tmp_path))  # fmt: skip
    drawn = sample(family, asked(family, 32)).flatten(1)
    real = to_numbers(world.train.pixels).flatten(1)
    own = torch.stack([torch.cdist(drawn[k::2], real[k::2]).min(1).values for k in range(2)])
    untrained = torch.cdist(sample(made(name), asked(family, 32)).flatten(1), real).min(1).values
    assert float(own.median()) < 0.5 * float(untrained.median()), (own.median(), untrained.median())


@EVERY
def test_a_draw_is_the_same_alone_and_among_many(name: str) -> None:
    family = made(name)
    many = sample(family, asked(family, 64))
    for index in (0, 5, 63):
        alone = sample(family, Ask(1, 3, first=index, given=torch.tensor([index % 2]), **needed(family, 1, index)))
        assert torch.allclose(alone[0], many[index], atol=2e-5), index
    parts = sample(family, asked(family, 64), together=7)
    assert torch.allclose(parts, many, atol=2e-5)
    assert not torch.equal(many[0], many[2])


@EVERY
def test_previews_end_within_the_space(name: str) -> None:
    family = made(name)
    family.network.eval()
    with torch.no_grad():
        previews = list(family.frames(asked(family, 3)))
    assert [preview.done for preview in previews] == list(range(1, previews[0].of + 1))
    for preview in previews:
        assert preview.x.shape == (3, 1, 8, 8) and preview.x.isfinite().all() and preview.x.abs().max() <= 1.0


@EVERY
def test_what_is_saved_draws_the_same(name: str, tmp_path: Path) -> None:
    family = made(name)
    kind, settings = SETTINGS[name]
    save_family(tmp_path, kind, settings_of(kind, settings), family, by="class", classes=("square", "bar"))
    loaded = load_family(tmp_path)
    assert (loaded.name, loaded.by, loaded.classes) == (kind, "class", ("square", "bar"))
    assert torch.equal(sample(loaded.family, asked(family, 4)), sample(family, asked(family, 4)))
    assert loaded.given(["bar", "", "square"]).tolist() == [1, -1, 0]


@EVERY
def test_killed_and_started_again_it_ends_in_the_same_weights(name: str, tmp_path: Path) -> None:
    config = FitConfig(steps=9, batch=8, warmup=2, checkpoint_every=2, eval_every=3, eval_examples=8, look_every=4)
    calm, struck = both([made(name) for _ in range(4)], examples(24), config, tmp_path, blows=(3, 7))
    assert struck == calm


@EVERY
def test_what_it_cannot_do_is_refused_by_name(name: str) -> None:
    family = made(name)
    start, keep = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    every = {"steps": 4, "solver": "euler", "guidance": 2.0, "interval": (0.1, 1.0), "temperature": 0.5,
             "start": start, "strength": 0.5, "keep": keep, "noise": torch.zeros(2, 8), "small": start}  # fmt: skip
    for use in every.keys() - family.uses:
        need = {"start": start} if use in ("strength", "keep") else {}
        with pytest.raises(RequestError, match="cannot be asked for"):
            sample(family, asked(family, 2, **{use: every[use]}, **need))


@EVERY
def test_wrong_asks_are_refused(name: str) -> None:
    family = made(name)
    for ask in (Ask(0), Ask(2, -1), Ask(2, given=torch.tensor([0])), Ask(2, given=torch.tensor([0, 2])),
                Ask(2, given=torch.tensor([0, -2])), Ask(1, noise=torch.full((1, 8), float("nan")))):  # fmt: skip
        with pytest.raises(RequestError):
            sample(family, replace(ask, **needed(family, ask.count)))


@EVERY
def test_it_draws_in_colour_and_without_a_condition(name: str) -> None:
    family = made(name, Space((3, 8, 12)))
    assert sample(family, Ask(2, **needed(family, 2))).shape == (2, 3, 8, 12)
    with pytest.raises(RequestError, match="without a condition"):
        sample(family, Ask(1, given=torch.tensor([0]), **needed(family, 1)))


@EVERY
def test_it_can_be_asked_by_a_vector(name: str) -> None:
    family = made(name, Space((1, 8, 8), vector=5))
    given = torch.nn.functional.normalize(torch.randn(2, 5))
    assert sample(family, Ask(2, given=given, **needed(family, 2))).shape == (2, 1, 8, 8)
    with pytest.raises(RequestError, match="not finite"):
        sample(family, Ask(2, given=given * torch.nan, **needed(family, 2)))


@pytest.mark.parametrize("name", [name for name in SETTINGS if SETTINGS[name][0] in ("flow", "diffusion")])
def test_kept_pixels_stay_to_the_bit_and_a_start_is_changed(name: str) -> None:
    family = made(name)
    start = to_numbers(pictures(4, seed=5).pixels)
    keep = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
    keep[..., :4] = True
    for solver in ("euler", "heun", "dpm_solver", "ancestral"):
        found = sample(family, asked(family, 4, start=start, keep=keep, steps=5, solver=solver))
        assert torch.equal(found[keep], start[keep])
    near, far = (sample(family, asked(family, 4, start=start, strength=s, steps=10)) for s in (0.1, 1.0))
    assert float((near - start).abs().mean()) < float((far - start).abs().mean())


@pytest.mark.parametrize(("penalty", "faster"), [(10.0, 1), (0.0, 10)], ids=["sound", "sabotaged"])
def test_the_tripwire_fires_when_a_gan_is_sabotaged(penalty: float, faster: int, tmp_path: Path, capsys: Any) -> None:
    """WGAN without its penalty and at ten times the learning rate goes back, and says so; a sound one does not."""
    world, lr = examples(96), 1e-3 * faster
    seed_step(0)
    settings = {"loss": "wgan", "codes": 8, "width": 8, "penalty": penalty, "generator_lr": lr, "critic_lr": lr}
    family = make_family("gan", settings, world.space)
    look_every = 10 if penalty == 0.0 else 40
    config = FitConfig(steps=160, batch=16, warmup=0, floor=1.0, clip=0.0, look_every=look_every,
                       checkpoint_every=10_000)  # fmt: skip
    ended = True
    try:
        fit(family, world, config, step_in(tmp_path))
    except TrainingError as error:
        ended = False
        assert "it collapsed 4 times" in str(error)
    said = capsys.readouterr().err
    assert ("back to the last good average" in said) == (penalty == 0.0)
    assert ended or penalty == 0.0


def test_an_average_of_another_width_can_be_chosen_afterwards(tmp_path: Path) -> None:
    family = made("flow")
    fitted = fit(family, examples(24), FitConfig(steps=16, batch=8, eval_every=100), step_in(tmp_path))
    kind, settings = SETTINGS["flow"]
    save_family(tmp_path, kind, settings_of(kind, settings), family, by="class", classes=("a", "b"), kept=fitted.kept)
    usual, narrow = load_family(tmp_path), load_family(tmp_path, average=0.05)
    followed = [one for one in fitted.kept if one.width == 0.05][-1]
    for name, weight in narrow.family.network.state_dict().items():
        assert torch.allclose(weight, followed.mean[name], atol=1e-4)
    assert not torch.equal(usual.family.network.last.weight, narrow.family.network.last.weight)


def test_spoilt_generators_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no generator"):
        load_family(tmp_path)
    kind, settings = SETTINGS["vae"]
    family = made("vae")
    save_family(tmp_path, kind, settings_of(kind, settings), family, by="class", classes=("a", "b"))
    record = (tmp_path / "family.json").read_text()
    (tmp_path / "family.json").write_text(record.replace('"vae"', '"vea"'))
    with pytest.raises(ModelError, match="vea"):
        load_family(tmp_path)
    (tmp_path / "family.json").write_text(record)
    data = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError):
        load_family(tmp_path)
    with torch.no_grad():
        next(family.network.parameters()).fill_(float("nan"))
    save_family(tmp_path, kind, settings_of(kind, settings), family, by="class", classes=("a", "b"))
    with pytest.raises(ModelError, match="not finite"):
        load_family(tmp_path)


def test_unknown_settings_name_the_nearest_key() -> None:
    for name in FAMILIES:
        with pytest.raises(ConfigError, match="not a known key"):
            settings_of(name, {"widht": 8})


def test_an_ask_is_cut_into_parts() -> None:
    ask = Ask(5, first=10, given=torch.arange(5), start=torch.zeros(5, 1, 8, 8))
    part = ask.part(3, 9)
    assert (part.count, part.first) == (2, 13) and part.given is not None and part.given.tolist() == [3, 4]
    assert replace(part, given=None, start=None) == Ask(2, first=13)
    assert np.array_equal(part.start, torch.zeros(2, 1, 8, 8))
