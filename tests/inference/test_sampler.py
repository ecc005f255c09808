from __future__ import annotations

import math

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
from genwerk.inference.penalties import penalise
from genwerk.inference.sampler import distribution, make_generator, sample


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
    ours = distribution(penalise(logits.double(), ids[8:], ids[:8], sampling), sampling)
    expected = theirs(logits, ids, sampling)
    assert torch.equal(ours > 0, expected > 0)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_greedy_takes_the_largest_and_of_equals_the_first() -> None:
    logits = torch.tensor([0.0, 3.0, -1.0, 3.0])
    assert sample(logits, [], [], Sampling(), make_generator(0)).token == 1


def test_greedy_sees_the_penalties() -> None:
    logits = torch.tensor([0.0, 3.0, 2.9])
    sampling = Sampling(frequency_penalty=0.2)
    assert sample(logits, [1], [], sampling, make_generator(0)).token == 2


def test_a_bias_is_added_to_the_logits() -> None:
    logits = torch.tensor([0.0, 3.0, 2.9])
    assert sample(logits, [], [], Sampling(logit_bias=((1, -0.2),)), make_generator(0)).token == 2
    assert sample(logits, [], [], Sampling(logit_bias=((1, -100.0), (0, 4.0))), make_generator(0)).token == 0


def test_tokens_come_as_often_as_their_probability_says() -> None:
    wanted = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    generator = make_generator(11)
    sampling = Sampling(temperature=1.0)
    n = 8000
    drawn = torch.tensor([sample(wanted.log(), [], [], sampling, generator).token for _ in range(n)])
    chi2 = float(((drawn.bincount(minlength=4) - n * wanted) ** 2 / (n * wanted)).sum())
    assert chi2 < 16.3  # 3 degrees of freedom, one in a thousand


def test_a_filtered_token_never_comes_out() -> None:
    generator = make_generator(5)
    logits = torch.tensor([-math.inf, 1.0, 1.0, 0.9, -math.inf])
    drawn = {sample(logits, [], [], Sampling(temperature=2.0, top_k=2), generator).token for _ in range(300)}
    assert drawn == {1, 2}


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(temperature=1.0)

    def draws(seed: int) -> list[int]:
        generator = make_generator(seed)
        return [sample(logits, [], [], sampling, generator).token for _ in range(20)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    sample(torch.randn(50, generator=make_generator(2)), [], [], Sampling(temperature=1.0), make_generator(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_largest_uniform_number_still_gives_a_possible_token(monkeypatch: pytest.MonkeyPatch) -> None:
    almost_one = torch.tensor(1 - 2**-53, dtype=torch.float64)
    monkeypatch.setattr("genwerk.inference.sampler.torch.rand", lambda *a, **k: almost_one)
    logits = torch.tensor([0.0, 0.0, 0.0, -math.inf])
    assert sample(logits, [], [], Sampling(temperature=1.0), make_generator(0)).token == 2


def test_a_vanishing_temperature_is_greedy_not_nan() -> None:
    logits = torch.tensor([1.0, 5.0, 4.0])
    assert sample(logits, [], [], Sampling(temperature=1e-300), make_generator(0)).token == 1


def test_logprobs_are_of_the_raw_distribution() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0])
    sampling = Sampling(temperature=0.5, top_k=1, repetition_penalty=9.0, frequency_penalty=2.0, logprobs=2)
    draw = sample(logits, [3, 3], [3], sampling, make_generator(0))
    raw = logits.log_softmax(0)
    assert draw.token != 3
    assert draw.logprob == pytest.approx(float(raw[draw.token]))
    assert [(token, pytest.approx(float(raw[token]))) for token in (3, 2)] == list(draw.top)


def test_logprobs_zero_gives_the_chosen_token_only_and_none_gives_nothing() -> None:
    logits = torch.randn(8)
    assert sample(logits, [], [], Sampling(), make_generator(0)).logprob is None
    chosen = sample(logits, [], [], Sampling(logprobs=0), make_generator(0))
    assert chosen.logprob is not None
    assert chosen.top == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_broken_logits_are_an_error_not_a_token(bad: float, temperature: float) -> None:
    logits = torch.tensor([0.0, bad, 1.0])
    with pytest.raises(ModelError, match="not finite"):
        sample(logits, [1, 2], [3], Sampling(temperature=temperature), make_generator(0))


def test_all_tokens_forbidden_is_an_error() -> None:
    with pytest.raises(ModelError, match="not finite"):
        sample(torch.full((4,), -math.inf), [], [], Sampling(), make_generator(0))
