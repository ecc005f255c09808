"""The table against plain loops, and the codec: pictures come back, nothing is lost on the way, draws are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from killed_run import both
from picture_world import examples, pictures, step_in

from genwerk.core.errors import ModelError, RequestError
from genwerk.generators.family import Ask, Batch, Space, sample
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.picture_examples import PictureExamples, to_numbers
from genwerk.generators.storage import load_family, save_family, settings_of
from genwerk.generators.vq import VQ, Table, VQConfig, perplexity, straight_through
from genwerk.training.seeding import seed_step

CONFIG = VQConfig(codes=32, numbers=4, halvings=1, width=8, lr=3e-3)


def made(config: VQConfig = CONFIG) -> VQ:
    seed_step(0)
    return VQ(config, Space((1, 8, 8)))


def table(codes: int, numbers: int, *, counts: float = 4.0) -> Table:
    torch.manual_seed(0)
    found = Table(codes, numbers)
    found.counts.fill_(counts)
    return found


# The table


def test_the_nearest_code_is_that_of_a_search_through_all() -> None:
    one, z = table(7, 3), torch.randn(50, 3)
    for row, code in zip(z.tolist(), one.nearest(z).tolist(), strict=True):
        apart = [math.dist(row, vector) for vector in one.vectors.tolist()]
        assert apart[code] == min(apart)
    assert one.nearest(z[:1]) == one.nearest(z)[:1]


def test_the_gradient_goes_straight_through() -> None:
    z, q = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    passed = straight_through(z, q)
    assert torch.allclose(passed, q, atol=1e-6)
    wanted = torch.randn(5, 3)
    passed.backward(wanted)
    assert torch.equal(z.grad, wanted)


def test_the_table_follows_as_sums_and_counts_do() -> None:
    """Appendix A.1, with its sums kept beside its counts, over several batches."""
    one, memory = table(5, 2), 0.9
    counts, sums = [4.0] * 5, [[4.0 * number for number in vector] for vector in one.vectors.tolist()]
    for _ in range(6):
        z = torch.randn(40, 2)
        codes = one.nearest(z)
        one.follow(z, codes, memory, 0.0)
        for code in range(5):
            rows = [row for row, own in zip(z.tolist(), codes.tolist(), strict=True) if own == code]
            counts[code] = memory * counts[code] + (1 - memory) * len(rows)
            for place in range(2):
                sums[code][place] = memory * sums[code][place] + (1 - memory) * sum(row[place] for row in rows)
        plain = torch.tensor(sums) / torch.tensor(counts)[:, None]
        assert torch.allclose(one.vectors, plain, atol=1e-5)
        assert torch.allclose(one.counts, torch.tensor(counts), atol=1e-4)


def test_a_code_that_nobody_takes_stays_where_it_is_for_ever() -> None:
    one = table(3, 2)
    one.vectors[2] = 50.0
    z = torch.randn(30, 2)
    for _ in range(1500):
        one.follow(z, one.nearest(z), 0.9, 0.0)
    assert torch.equal(one.vectors[2], torch.full((2,), 50.0)) and one.vectors.isfinite().all()


def test_codes_that_nobody_takes_are_begun_anew_where_none_is_near() -> None:
    one = table(4, 2, counts=25.0)
    one.vectors.copy_(torch.tensor([[0.0, 0.0], [90.0, 90.0], [91.0, 90.0], [1.0, 1.0]]))
    here, there = 0.5 + 0.01 * torch.randn(80, 2), torch.tensor([-5.0, 5.0]) + 0.01 * torch.randn(20, 2)
    z = torch.cat([here, there])
    for _ in range(400):
        one.follow(z, one.nearest(z), 0.99, 0.05)
    assert one.vectors.abs().max() < 6.0, "those that were far away have come"
    assert float(torch.cdist(z, one.vectors).min(1).values.max()) < 0.1
    assert (one.counts > 0.05 * 25).all()


def test_a_table_begins_with_rows_of_the_first_batch_and_none_twice() -> None:
    one = table(16, 3, counts=0.0)
    z = torch.randn(20, 3).repeat(10, 1)  # twenty that differ, ten times each
    one.begin(z)
    assert (one.vectors[:, None] == z).all(2).any(1).all() and len(one.vectors.unique(dim=0)) == 16
    before = one.vectors.clone()
    one.begin(torch.randn(200, 3))
    assert torch.equal(one.vectors, before)


def test_perplexity_counts_codes_in_use() -> None:
    assert perplexity(torch.tensor([5, 5, 0, 5, 5])) == pytest.approx(4.0)
    assert perplexity(torch.tensor([9, 0, 0])) == pytest.approx(1.0)


# The codec


def test_its_loss_is_the_sum_of_its_parts_and_reaches_the_encoder() -> None:
    codec, x = made(), to_numbers(pictures(6).pixels)
    codec.network.eval()
    loss = codec.loss(Batch(x))
    with torch.no_grad():
        z = codec.network.encoder(x).permute(0, 2, 3, 1).reshape(-1, 4)
    codes = torch.cdist(z, codec.network.table.vectors).argmin(1)
    error = (x - codec.decode(codes.view(6, -1))).square().mean()
    apart = (z - codec.network.table.vectors[codes]).square().mean()
    assert float(loss.value.detach()) == pytest.approx(float(error + 0.25 * apart), rel=1e-4)
    assert loss.parts == pytest.approx({"error": float(error), "perplexity": perplexity(codes.bincount())}, rel=1e-4)
    loss.value.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in codec.network.parameters())


def test_pictures_come_back_and_only_training_moves_the_table(tmp_path: Path) -> None:
    codec = made()
    world = PictureExamples(pictures(8), pictures(8, seed=1), "nothing")
    fit(codec, world, FitConfig(steps=250, batch=16, warmup=10, eval_every=100, checkpoint_every=1000),
        step_in(tmp_path))  # fmt: skip
    codec.network.eval()
    before = {name: weight.clone() for name, weight in codec.network.state_dict().items()}
    x = to_numbers(world.train.pixels)
    assert codec.loss(Batch(x)).parts["perplexity"] > 3
    assert float((codec.decode(codec.encode(x)) - x).square().mean()) < 0.05 * float(x.var())
    assert all(torch.equal(weight, before[name]) for name, weight in codec.network.state_dict().items())


def test_codes_do_not_depend_on_neighbours_and_survive_a_file(tmp_path: Path) -> None:
    codec, x = made(), to_numbers(pictures(20).pixels)
    codec.network.table.begin(torch.randn(100, 4))
    codes = codec.encode(x)
    assert codes.shape == (20, 16) and codec.grid == (4, 4)
    assert torch.equal(codec.encode(x[7:8]), codes[7:8])
    made_of = codec.decode(codes)
    assert made_of.abs().max() <= 1.0 and torch.allclose(codec.decode(codes[7:8]), made_of[7:8], atol=2e-5)
    save_family(tmp_path, "vq", CONFIG, codec, by="nothing", classes=())
    loaded = load_family(tmp_path).family
    assert isinstance(loaded, VQ)
    assert torch.equal(loaded.encode(x), codes) and torch.equal(loaded.decode(codes), made_of)


def test_killed_and_started_again_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    config = FitConfig(steps=9, batch=8, warmup=2, checkpoint_every=2, eval_every=3, eval_examples=8)
    busy = CONFIG.model_copy(update={"anew": 0.5, "memory": 0.5})  # so that codes are begun anew on the way
    calm, struck = both([made(busy) for _ in range(4)], examples(24), config, tmp_path, blows=(3, 7))
    assert struck == calm


def test_it_has_no_draws_and_says_what_has() -> None:
    with pytest.raises(RequestError, match="draws nothing by itself") as refused:
        sample(made(), Ask(2))
    assert "family: codes" in str(refused.value.remedy)
    with pytest.raises(ModelError, match="makes no pictures"):
        settings_of("vq", {}, makes="pictures")
    with pytest.raises(ModelError, match="cannot be halved 4 times"):
        made(CONFIG.model_copy(update={"halvings": 4}))
