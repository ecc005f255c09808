"""What is expected of foretelling is what Leviathan et al. derive; it is left off where it does not pay."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.inference.model_runner import make_runner
from genwerk.inference.speculation import (
    Chance,
    Pace,
    StepTimes,
    expected_tokens,
    measure_steps,
    tokens_per_second,
)
from genwerk.models.decoder import Decoder

FLAT = StepTimes([1, 64], [0.010, 0.010])  # reading the weights is all that costs
STEEP = StepTimes([1, 64], [0.010, 0.640])  # every row costs as much as the first


def costs(seconds: float) -> StepTimes:
    return StepTimes([1, 64], [seconds, seconds])


@given(st.floats(0, 0.99), st.integers(0, 12))
def test_expected_tokens_are_the_geometric_sum(chance: float, k: int) -> None:
    assert expected_tokens(chance, k) == pytest.approx((1 - chance ** (k + 1)) / (1 - chance))


def test_tokens_that_are_always_right_all_count() -> None:
    assert expected_tokens(1.0, 5) == 6 and expected_tokens(0.0, 5) == 1


@given(st.floats(0.05, 0.95), st.integers(1, 8), st.floats(0.01, 0.5))
def test_the_gain_is_that_of_theorem_3_8(chance: float, k: int, cost: float) -> None:
    """Where rows are free, one sequence gains (1 - α^{k+1}) / ((1 - α)(k c + 1))."""
    gain = tokens_per_second([chance], k, FLAT, costs(0.010 * cost)) / tokens_per_second([chance], 0, FLAT, costs(1))
    assert gain == pytest.approx((1 - chance ** (k + 1)) / ((1 - chance) * (k * cost + 1)))


def test_times_lie_on_straight_lines_and_never_fall() -> None:
    times = StepTimes([1, 2, 4], [1.0, 0.9, 3.0])
    assert [times(1), times(2), times(3), times(4), times(6)] == [1.0, 1.0, 2.0, 3.0, 5.0]


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_what_is_free_is_taken_and_what_costs_all_is_left(chance: float) -> None:
    assert Pace(FLAT, costs(1e-15)).best([chance]) == 8
    assert Pace(STEEP, costs(1e-15)).best([chance]) == 0
    assert Pace(FLAT, costs(0.010)).best([chance]) == 0


def test_a_better_draft_is_asked_for_more() -> None:
    pace = Pace(FLAT, costs(0.001))
    lengths = [pace.best([chance]) for chance in (0.05, 0.3, 0.6, 0.9)]
    assert lengths == sorted(lengths) and lengths[0] == 0 < lengths[1] < lengths[-1]


def test_many_sequences_leave_no_rows_to_spare() -> None:
    times = StepTimes([1, 8, 64], [0.010, 0.010, 0.080])
    pace = Pace(times, costs(0.0005))
    assert pace.best([0.6]) > 0 and pace.best([0.6] * 16) == 0


def test_where_nothing_pays_it_is_tried_again_less_and_less_often() -> None:
    pace = Pace(STEEP, costs(0.001))
    lengths = [pace.next([0.5]) for _ in range(4000)]
    tries = [at for at, k in enumerate(lengths) if k and not lengths[at - 1]]
    assert lengths[0] == 0 and set(lengths) == {0, Pace.trial_length}
    gaps = [b - a for a, b in pairwise(tries)]
    assert gaps == sorted(gaps) and gaps[-1] > 4 * gaps[0]
    assert sum(map(bool, lengths)) < 40


def test_a_trial_that_goes_well_ends_the_pause() -> None:
    pace, chance = Pace(FLAT, costs(0.002)), Chance(0.01)
    lengths = []
    for _ in range(200):
        k = pace.next([chance.value])
        lengths.append(k)
        if k:
            chance.learn(k, k)
    assert lengths[0] == 0 and lengths[-1] == pace.most


@given(st.floats(0.1, 0.9))
def test_a_chance_comes_near_what_is_seen(rate: float) -> None:
    chance, owed = Chance(0.5), 0.0
    for _ in range(400):
        owed += rate
        right = int(owed)
        owed -= right
        chance.learn(1, right)
    assert chance.value == pytest.approx(rate, abs=0.08)


def test_tokens_after_a_wrong_one_are_not_counted() -> None:
    one, many = Chance(0.5), Chance(0.5)
    one.learn(1, 0)
    many.learn(8, 0)
    assert one.value == many.value


def test_steps_are_timed_at_several_sizes(tiny_model: Decoder) -> None:
    times = measure_steps(make_runner(tiny_model, precision="float32", positions=64))
    assert 0 < times(1) <= times(8) <= times(200)
