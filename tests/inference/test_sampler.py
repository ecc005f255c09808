from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from genwerk.core.errors import ModelError
from genwerk.core.types import Sampling
from genwerk.inference.logits import Logits
from genwerk.inference.penalties import penalise
from genwerk.inference.sampler import distribution, make_generator, sample, token_logprob


def theirs(logits: torch.Tensor, ids: list[int], sampling: Sampling) -> torch.Tensor:
    """What transformers would draw from, in float64, in the order of its generate()."""
    steps = LogitsProcessorList(
        [RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty), TemperatureLogitsWarper(sampling.temperature)]
    )
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        steps.append(MinPLogitsWarper(sampling.min_p))
    if sampling.typical_p < 1:
        steps.append(TypicalLogitsWarper(sampling.typical_p))
    return torch.as_tensor(steps(torch.tensor([ids]), logits.double()[None])[0].softmax(0))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    vocab=st.sampled_from([2, 50, 511, 2000]),
    spread=st.sampled_from([0.3, 2.0, 8.0]),
    temperature=st.floats(0.1, 2.0),
    top_k=st.integers(0, 60),
    top_p=st.sampled_from([0.01, 0.3, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.7, 1.0]),
    typical_p=st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    rho=st.sampled_from([0.8, 1.0, 1.2]),
)
def test_the_distribution_is_that_of_transformers(
    seed: int,
    vocab: int,
    spread: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    typical_p: float,
    rho: float,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(vocab, generator=generator) * spread
    ids = torch.randint(0, vocab, (12,), generator=generator).tolist()
    sampling = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p, repetition_penalty=rho
    )
    ours = distribution(penalise(logits.double().numpy(), ids[8:], ids[:8], sampling), sampling)
    expected = theirs(logits, ids, sampling).numpy()
    assert np.array_equal(ours > 0, expected > 0)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


def row(*logits: float) -> Logits:
    return np.array(logits, np.float32)


def normal(size: int, seed: int = 0, spread: float = 1.0) -> Logits:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def always(u: float) -> Any:
    """A generator that gives this number."""
    return SimpleNamespace(random=lambda: u)


def test_greedy_takes_the_largest_and_of_equals_the_first() -> None:
    assert sample(row(0.0, 3.0, -1.0, 3.0), [], [], Sampling(), make_generator(0)).token == 1


def test_greedy_sees_the_penalties() -> None:
    sampling = Sampling(frequency_penalty=0.2)
    assert sample(row(0.0, 3.0, 2.9), [1], [], sampling, make_generator(0)).token == 2


def test_a_bias_is_added_to_the_logits() -> None:
    logits = row(0.0, 3.0, 2.9)
    assert sample(logits, [], [], Sampling(logit_bias=((1, -0.2),)), make_generator(0)).token == 2
    assert sample(logits, [], [], Sampling(logit_bias=((1, -100.0), (0, 4.0))), make_generator(0)).token == 0


def test_equals_of_the_last_kept_stay_in_top_k_and_the_lowest_ids_in_top_p() -> None:
    logits = row(1.0, 2.0, 1.0, 1.0, 0.0)
    assert distribution(logits, Sampling(temperature=1.0, top_k=2)).nonzero()[0].tolist() == [0, 1, 2, 3]
    assert distribution(logits, Sampling(temperature=1.0, top_p=0.5)).nonzero()[0].tolist() == [0, 1]
    flat = distribution(np.zeros(2000, np.float32), Sampling(temperature=1.0, top_p=0.5))
    assert flat.nonzero()[0].tolist() == list(range(1000))


def test_tokens_come_as_often_as_their_probability_says() -> None:
    wanted = np.array([0.5, 0.25, 0.125, 0.125])
    generator = make_generator(11)
    sampling = Sampling(temperature=1.0)
    n, logits = 8000, np.log(wanted).astype(np.float32)
    drawn = np.bincount([sample(logits, [], [], sampling, generator).token for _ in range(n)], minlength=4)
    chi2 = float(((drawn - n * wanted) ** 2 / (n * wanted)).sum())
    assert chi2 < 16.3  # 3 degrees of freedom, one in a thousand


@settings(deadline=None)
@given(
    seed=st.integers(0, 999),
    vocab=st.sampled_from([1, 255, 256, 257, 3000]),
    u=st.floats(0, 1, exclude_max=True),
    filters=st.sampled_from([{}, {"top_k": 40}, {"top_p": 0.8}, {"min_p": 0.1}, {"typical_p": 0.7}]),
)
def test_the_token_is_the_first_whose_cumulative_probability_exceeds_u(
    seed: int, vocab: int, u: float, filters: dict[str, Any]
) -> None:
    logits, sampling = normal(vocab, seed, 3.0), Sampling(temperature=1.0, **filters)
    mass = [Fraction(0), *itertools.accumulate(map(Fraction, distribution(logits, sampling)))]
    token = sample(logits, [], [], sampling, always(u)).token
    assert mass[token] < mass[token + 1]
    assert mass[token] - Fraction(1e-12) <= u * mass[-1] < mass[token + 1] + Fraction(1e-12)


def test_a_filtered_token_never_comes_out() -> None:
    generator = make_generator(5)
    logits = row(-math.inf, 1.0, 1.0, 0.9, -math.inf)
    drawn = {sample(logits, [], [], Sampling(temperature=2.0, top_k=2), generator).token for _ in range(300)}
    assert drawn == {1, 2}


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    logits, sampling = normal(1000), Sampling(temperature=1.0)

    def draws(seed: int) -> list[int]:
        generator = make_generator(seed)
        return [sample(logits, [], [], sampling, generator).token for _ in range(20)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_a_seed_means_the_numbers_that_numpy_documents() -> None:
    assert make_generator(0).random() == np.random.default_rng(0).random() == 0.6369616873214543
    assert make_generator(-(2**63)).random() == make_generator(2**63).random()


@pytest.mark.parametrize("filters", [{}, {"top_k": 5}, {"top_p": 0.5, "typical_p": 0.9}, {"logprobs": 3}])
def test_a_token_takes_one_number_whatever_the_filters(filters: dict[str, Any]) -> None:
    generator, expected = make_generator(3), make_generator(3)
    sample(normal(50), [], [], Sampling(temperature=1.0, **filters), generator)
    assert generator.random() == [expected.random(), expected.random()][1]


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    np.random.seed(0)
    before = np.random.get_state(legacy=False)
    sample(normal(50), [], [], Sampling(temperature=1.0), make_generator(0))
    assert str(np.random.get_state(legacy=False)) == str(before)


@pytest.mark.parametrize("vocab", [4, 256, 1000])
def test_the_largest_uniform_number_still_gives_a_possible_token(vocab: int) -> None:
    logits = np.full(vocab, -np.inf, np.float32)
    logits[: vocab * 3 // 4] = 0.0
    assert sample(logits, [], [], Sampling(temperature=1.0), always(1 - 2**-53)).token == vocab * 3 // 4 - 1


def test_a_vanishing_temperature_is_greedy_not_nan() -> None:
    assert sample(row(1.0, 5.0, 4.0), [], [], Sampling(temperature=1e-300), make_generator(0)).token == 1


def test_logprobs_are_of_the_raw_distribution() -> None:
    logits = row(1.0, 2.0, 3.0, 4.0)
    sampling = Sampling(temperature=0.5, top_k=1, repetition_penalty=9.0, frequency_penalty=2.0, logprobs=2)
    draw = sample(logits, [3, 3], [3], sampling, make_generator(0))
    raw = torch.tensor(logits).log_softmax(0)
    assert draw.token != 3
    assert draw.logprob == pytest.approx(float(raw[draw.token]))
    assert [(token, pytest.approx(float(raw[token]))) for token in (3, 2)] == list(draw.top)


def test_logprobs_are_those_of_pytorch_in_double_precision() -> None:
    logits = normal(50_000, spread=5.0)
    expected = torch.tensor(logits).double().log_softmax(0)
    values, ids = expected.topk(20)
    found = token_logprob(logits, 7, 20)
    assert found.logprob == pytest.approx(float(expected[7]), abs=1e-12)
    assert [one.token for one in found.top] == ids.tolist()
    assert [one.logprob for one in found.top] == pytest.approx(values.tolist(), abs=1e-12)


@given(st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 3.0]), min_size=1, max_size=30), st.integers(0, 20))
def test_the_likeliest_come_largest_first_and_equals_by_lowest_id(given: list[float], top: int) -> None:
    logits = row(*given, 1.0)
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    found = token_logprob(logits, 0, top).top
    assert [one.token for one in found] == order[:top]
    assert [one.logprob for one in found] == [token_logprob(logits, token, 0).logprob for token in order[:top]]


@pytest.mark.parametrize("vocab", [1, 7, 258, 8193, 49_152])
def test_the_rows_beside_it_and_where_it_lies_change_no_bit_of_a_row(vocab: int) -> None:
    among = np.empty((5, vocab + 3), np.float32)
    among[:] = normal(vocab + 3, spread=4.0)
    sampling = Sampling(temperature=0.8, logprobs=3)
    drawn = [sample(one, [], [], sampling, make_generator(1)) for one in among[:, 1 : vocab + 1]]
    alone = sample(among[0, 1 : vocab + 1].copy(), [], [], sampling, make_generator(1))
    assert drawn == [alone] * 5


def test_logprobs_zero_gives_the_chosen_token_only_and_none_gives_nothing() -> None:
    logits = normal(8)
    assert sample(logits, [], [], Sampling(), make_generator(0)).logprob is None
    chosen = sample(logits, [], [], Sampling(logprobs=0), make_generator(0))
    assert chosen.logprob is not None
    assert chosen.top == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_broken_logits_are_an_error_not_a_token(bad: float, temperature: float) -> None:
    with pytest.raises(ModelError, match="not finite"):
        sample(row(0.0, bad, 1.0), [1, 2], [3], Sampling(temperature=temperature), make_generator(0))


def test_all_tokens_forbidden_is_an_error() -> None:
    with pytest.raises(ModelError, match="not finite"):
        sample(np.full(4, -np.inf, np.float32), [], [], Sampling(), make_generator(0))
