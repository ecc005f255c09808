"""Reflow: pairs are what the flow makes of its noise, and what learns from them needs fewer steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_world import examples, step_in

from genwerk.core.errors import ConfigError, ModelError
from genwerk.core.workspace import Artifact
from genwerk.generators.family import Ask, Family, sample
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.reflow import PairExamples, PairsConfig, draw_pairs
from genwerk.generators.storage import load_family, make_family, save_family, settings_of
from genwerk.recipes.generating import load_generator_recipe
from genwerk.training.seeding import seed_step

SETTINGS = {"network": {"width": 16, "multipliers": (1, 2)}, "lr": 3e-3, "drop": 0.0}
QUICK = FitConfig(steps=150, batch=32, warmup=10, eval_every=1000, checkpoint_every=1000, eval_examples=0)


def artifact(kind: str, path: Path) -> Artifact:
    return Artifact("0" * 16, kind, path, (), {}, {}, "", {}, "", "")


def stored(family: Family, name: str, folder: Path, by: str = "class") -> Artifact:
    settings = settings_of(name, SETTINGS if name == "flow" else {"codes": 4, "width": 4})
    save_family(folder, name, settings, family, by=by, classes=("square", "bar", "dot")[: family.space.classes])
    return artifact("generator", folder)


def bend(family: Family) -> float:
    """How far one step of Euler is from sixteen."""
    ask = {"given": torch.arange(32) % 2, "solver": "euler"}
    one, many = (sample(family, Ask(32, 7, steps=steps, **ask)) for steps in (1, 16))  # type: ignore[arg-type]
    return float((one - many).square().mean())


def test_what_learned_from_its_own_pairs_goes_straighter(tmp_path: Path) -> None:
    seed_step(0)
    family = make_family("flow", SETTINGS, examples().space)
    fit(family, examples(), QUICK, step_in(tmp_path / "first"))
    before = bend(family)
    generator = stored(family, "flow", tmp_path)
    step = step_in(tmp_path / "pairs")
    draw_pairs(PairsConfig(pairs=200, steps=8), step, generator)
    pairs = PairExamples.open(step.out)
    assert pairs.counts == (180, 20) and pairs.space == family.space
    batch = pairs.batch_of(range(6), torch.device("cpu"))
    assert batch.noise is not None
    again = sample(family, Ask(6, given=batch.given, noise=batch.noise, steps=8))
    assert torch.allclose(again, batch.x, atol=1e-5)
    fit(family, pairs, QUICK, step_in(tmp_path / "second"))
    assert bend(family) < 0.5 * before, (bend(family), before)


def test_every_pair_is_read_once_and_those_held_out_never(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    space = examples().space
    noise = draw.standard_normal((40, 1, 8, 8)).astype(np.float32)
    pairs = PairExamples(noise, noise, np.arange(40, dtype=np.int64) % 2, space, ("square", "bar"))
    assert pairs.counts == (36, 4)
    seen = torch.cat([pairs.batch(6, 1, turn=turn, device=torch.device("cpu")).x for turn in range(6)])
    held = pairs.batch_of(range(4), torch.device("cpu"), held_out=True).x
    assert len({one.numpy().tobytes() for one in seen}) == 36
    assert not {one.numpy().tobytes() for one in seen} & {one.numpy().tobytes() for one in held}


def test_only_flows_asked_by_class_or_nothing_can(tmp_path: Path) -> None:
    vae = make_family("vae", {"codes": 4, "width": 4}, examples().space)
    with pytest.raises(ModelError, match="cannot be straightened"):
        draw_pairs(PairsConfig(), step_in(tmp_path), stored(vae, "vae", tmp_path))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: a\npictures: digits\nfamily: vae\nreflow: {}\n")
    with pytest.raises(ConfigError, match="learn again"):
        load_generator_recipe(recipe)


def test_pairs_of_every_class_are_held_out_or_there_are_too_few(tmp_path: Path) -> None:
    generator = stored(make_family("flow", SETTINGS, replace(examples().space, classes=3)), "flow", tmp_path)
    with pytest.raises(ModelError, match="20 pairs are too few for 3 classes"):
        draw_pairs(PairsConfig(pairs=20), step_in(tmp_path / "few"), generator)
    step = step_in(tmp_path / "enough")
    draw_pairs(PairsConfig(pairs=30, steps=1), step, generator)
    assert PairExamples.open(step.out).counts == (27, 3)
    (step.out / "samples.npy").unlink()
    with pytest.raises(ModelError, match="samples"):
        PairExamples.open(step.out)


def test_a_generator_that_goes_on_begins_with_its_weights(tmp_path: Path) -> None:
    from genwerk.generators.train import GeneratorConfig, train_generator

    seed_step(0)
    family = make_family("flow", SETTINGS, examples().space)
    generator = stored(family, "flow", tmp_path)
    pairs = step_in(tmp_path / "pairs")
    draw_pairs(PairsConfig(pairs=20, steps=2), pairs, generator)
    step = step_in(tmp_path / "again")
    config = GeneratorConfig(settings=SETTINGS, fit=FitConfig(steps=1, batch=2, warmup=0, eval_examples=0))
    frozen = config.model_copy(update={"settings": SETTINGS | {"lr": 1e-12}})
    train_generator(frozen, step, artifact("pairs", pairs.out), generator)
    after = load_family(step.out).family.network.state_dict()
    for name, weight in family.network.state_dict().items():
        assert torch.allclose(after[name], weight, atol=1e-6), name
