"""The grounding score: 1 in words for the quote itself, less for what the quote does not hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genwerk.retrieval.support import Support, score_support, share_held

QUOTE = "The default timeout is 30 seconds, and model KX200 retries it 5 times."


def test_on_paper() -> None:
    assert share_held("The timeout is 30 seconds.", QUOTE) == 1.0
    assert share_held("The timeout is 60 seconds.", QUOTE) == 2 / 3
    assert share_held("Timeouts of KX300", QUOTE) == 0.5  # the stem is there, the name is not
    assert share_held("It is so.", QUOTE) == 0.0


def test_a_changed_sentence_scores_below_the_true_one(encoder) -> None:  # type: ignore[no-untyped-def]
    true = score_support("The default timeout is 30 seconds.", QUOTE, encoder)
    changed = score_support("The default timeout is 60 minutes.", QUOTE, encoder)
    other = score_support("Bees collect nectar from flowers.", QUOTE, encoder)
    assert 1.0 > true.score > changed.score > other.score > 0.0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_more_words_or_more_likeness_never_score_less(words: float, more: float, cosine: float, nearer: float) -> None:
    low, high = Support(min(words, more), min(cosine, nearer)), Support(max(words, more), max(cosine, nearer))
    assert 0.0 < low.score <= high.score < 1.0
