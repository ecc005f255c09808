from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genwerk.inference.prompt_lookup import PromptLookup

tokens = st.lists(st.integers(0, 3), max_size=60)


def test_what_followed_the_same_tokens_is_proposed() -> None:
    assert PromptLookup([1, 2, 3, 4, 5, 6, 7, 1, 2, 3]).propose(10) == [4, 5, 6, 7]
    assert PromptLookup([9, 2, 3, 4, 5, 6, 7, 1, 2, 3]).propose(2) == [4, 5]


def test_the_latest_place_counts() -> None:
    assert PromptLookup([1, 2, 3, 7, 7, 1, 2, 3, 8, 8, 1, 2, 3]).propose(2) == [8, 8]


def test_new_words_propose_nothing() -> None:
    assert PromptLookup([1, 2, 3, 4]).propose(4) == []
    assert PromptLookup([]).propose(4) == []
    assert PromptLookup([1, 2, 3, 1, 2, 3]).propose(0) == []


def test_failures_bring_a_pause_that_ends() -> None:
    lookup = PromptLookup([1, 2, 3] * 5)
    lookup.learn(4, 0)
    assert lookup.propose(4) == []
    for token in [1, 2, 3] * 8:
        lookup.extend(token)
    assert lookup.propose(4) != []


def test_success_makes_proposals_longer() -> None:
    lookup = PromptLookup([1, 2, 3] * 20)
    first = len(lookup.propose(50))
    lookup.learn(first, first)
    assert len(lookup.propose(50)) == 2 * first


@given(tokens, tokens, st.integers(0, 20))
def test_a_proposal_is_a_piece_of_the_text_behind_the_same_two_tokens(
    prompt: list[int], drawn: list[int], most: int
) -> None:
    lookup = PromptLookup(prompt)
    for token in drawn:
        lookup.extend(token)
    text = prompt + drawn
    proposal = lookup.propose(most)
    assert len(proposal) <= most
    if proposal:
        places = [i for i in range(2, len(text)) if text[i - 2 : i] == text[-2:]]
        longer = text + proposal
        assert any(longer[place : place + len(proposal)] == proposal for place in places)
