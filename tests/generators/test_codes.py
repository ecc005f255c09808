"""Pictures by their codes: likelihood, what is never drawn, what is kept, guidance and a temperature."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from codec_world import trained_codec
from picture_world import pictures, step_in

from genwerk.core.errors import ModelError, RequestError
from genwerk.data.sequences import SPECIAL
from genwerk.generators.autoregressive import AutoregressiveConfig
from genwerk.generators.codes import Codes, CodesConfig
from genwerk.generators.family import Ask, Batch, Space, sample
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.picture_examples import PictureExamples, to_numbers
from genwerk.generators.vq import VQ

PRIOR = AutoregressiveConfig(width=32, depth=2, heads=2, lr=1e-2)


def made(classes: int = 2) -> Codes:
    codec = trained_codec()
    torch.manual_seed(1)
    family = Codes(CodesConfig(codec=codec.config, prior=PRIOR), Space((1, 8, 8), classes=classes))
    family.adopt(codec, [to_numbers(pictures(64).pixels)])
    family.network.eval()
    return family


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Codes:
    family = made()
    world = PictureExamples(pictures(64), pictures(32, seed=1), "class")
    config = FitConfig(steps=150, batch=16, warmup=10, eval_every=1000, checkpoint_every=1000)
    fit(family, world, config, step_in(tmp_path_factory.mktemp("codes")))
    family.network.eval()
    return family


def test_what_is_adopted_stays_as_it_is_and_only_codes_are_learned(tmp_path: Path) -> None:
    family = made()
    before = {name: weight.clone() for name, weight in family.network.state_dict().items()}
    world = PictureExamples(pictures(24), pictures(8, seed=1), "class")
    fit(family, world, FitConfig(steps=3, batch=8, warmup=1), step_in(tmp_path))
    for name, weight in family.network.state_dict().items():
        assert torch.allclose(weight, before[name], atol=1e-6) or name.startswith("prior."), name
    assert not torch.equal(family.network.state_dict()["prior.decoder.embed_tokens"],
                           before["prior.decoder.embed_tokens"])  # fmt: skip


def test_the_loss_is_the_mean_over_codes_of_their_own_surprise(learned: Codes) -> None:
    some = pictures(6, seed=3)
    x, given = to_numbers(some.pixels), torch.from_numpy(some.labels)
    tokens = learned.code(x)
    assert torch.equal(tokens, learned.codec.encode(x) + len(SPECIAL)) and tokens.shape == (6, 16)
    found, network = [], learned.prior.network
    for row, label in zip(tokens, given, strict=True):
        told, total = network.told(label[None], 1), 0.0
        for place in range(16):
            before = torch.cat([row[:place], torch.zeros(1, dtype=torch.long)])[None]  # the last one is not read
            total += float(network(before, told).detach()[0, place].log_softmax(0)[row[place]])
        found.append(total)
    assert learned.log_likelihood(x, given).tolist() == pytest.approx(found, abs=1e-3)
    learned_loss = learned.loss(Batch(x, None))
    assert float(learned_loss.value.detach()) == pytest.approx(
        -float(learned.log_likelihood(x).sum()) / (6 * 16), rel=1e-4
    )


def test_codes_that_no_picture_has_are_never_drawn() -> None:
    family = made()
    family.network.use.zero_()
    family.network.use[[3, 5]] = 0.5
    drawn = sample(family, Ask(20, 1))
    only = family.codec.decode(torch.tensor([[3] * 16, [5] * 16]))
    codes = family.codec.encode(only)
    assert drawn.isfinite().all() and codes.shape == (2, 16)
    *_, last = family.prior.frames(family._inner(Ask(20, 1)))
    assert set((last.x - len(SPECIAL)).unique().tolist()) == {3, 5}


def test_a_lower_half_is_drawn_below_an_upper_one(learned: Codes) -> None:
    some = pictures(40, seed=4)
    start = to_numbers(some.pixels)
    keep = torch.zeros(40, 1, 8, 8, dtype=torch.bool)
    keep[..., :5, :] = True  # not a whole number of codes
    drawn = sample(learned, Ask(40, 5, start=start, keep=keep, given=torch.from_numpy(some.labels)))
    assert torch.equal(drawn[keep], start[keep]) and not torch.equal(drawn, start)
    bars = slice(1, None, 2)  # a bar goes on where it began
    near = (drawn[bars] - start[bars]).abs()[..., 5:, :].mean()
    other = (drawn[bars].roll(1, 0) - start[bars]).abs()[..., 5:, :].mean()
    assert float(near) < 0.5 * float(other)
    with pytest.raises(RequestError, match="kept or drawn"):
        sample(learned, Ask(40, start=start))


def test_previews_are_rows_and_the_last_one_is_the_sample(learned: Codes) -> None:
    with torch.no_grad():
        previews = list(learned.frames(Ask(4, 2, given=torch.tensor([0, 1, 0, 1]))))
    assert [(one.done, one.of) for one in previews] == [(row, 4) for row in range(1, 5)]
    assert torch.equal(previews[-1].x, sample(learned, Ask(4, 2, given=torch.tensor([0, 1, 0, 1]))))


def test_guidance_and_temperature_sharpen(learned: Codes) -> None:
    def surprise(**more: float) -> float:
        given = torch.arange(64) % 2
        return -float(learned.log_likelihood(sample(learned, Ask(64, 2, given=given, **more)), given).mean())

    usual = surprise()
    assert surprise(temperature=0.5) < usual < surprise(temperature=1.5)
    assert surprise(guidance=2.0) != usual and math.isfinite(surprise(guidance=2.0))


def test_a_codec_that_makes_one_code_of_everything_is_refused() -> None:
    family = Codes(CodesConfig(codec=trained_codec().config, prior=PRIOR), Space((1, 8, 8)))
    dull = VQ(trained_codec().config, Space((1, 8, 8)))
    with torch.no_grad():
        dull.network.encoder.body[-1].weight.zero_()
    with pytest.raises(ModelError, match="same code of everything"):
        family.adopt(dull, [to_numbers(pictures(8).pixels)])
