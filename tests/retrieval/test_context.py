"""What stands in the prompt: no copies, the sentences that matter, within the budget, in the order asked for."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genwerk.core.types import Chunk, Document
from genwerk.retrieval.citations import Passage, align, verify
from genwerk.retrieval.context import Shown, best_at_ends, compress, distinct, fit_budget
from genwerk.retrieval.copies import containment, runs_of

TEXT = "Bread is baked from flour. Bees live in a hive. The Elbe is 1094 kilometres long. Ships need these: \n* locks."


def passage(text: str, source: str = "a.md") -> Passage:
    document = Document.create(source, text)
    return Passage(Chunk(document.id, 0, len(text)), document)


def test_copies_of_better_passages_are_left_out() -> None:
    words = " ".join(f"word{number}" for number in range(40))
    best, same, longer = passage(words), passage(words.replace(" ", "\n"), "b.md"), passage(words + " and more", "c.md")
    other = passage("Something else is said here in so many words.", "d.md")
    assert distinct([best, same, longer, other]) == [best, other]
    whole = passage(words + " " + words.replace("word", "other"), "e.md")
    assert distinct([best, whole]) == [best, whole]  # half of it is new
    assert distinct([passage("Two words"), passage("two words"), passage("Two words", "b.md")])[1:] != []


def test_containment_on_paper() -> None:
    one, other = runs_of("a b c d"), runs_of("a b c x")
    assert containment(one, other) == 0.5 and containment(set(), one) == 0.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(keep=st.floats(0.05, 1.0))
def test_kept_sentences_are_spans_within_the_share(encoder, keep: float) -> None:  # type: ignore[no-untyped-def]
    (shown,) = compress("How long is the Elbe?", [passage(TEXT)], keep, encoder)
    document = shown.passage.document
    assert "1094" in shown.text
    assert all(0 <= span.start < span.end <= len(TEXT) for span in shown.spans)
    assert list(shown.spans) == sorted(shown.spans) and all(document.text[s.start : s.end] in TEXT for s in shown.spans)
    for span in shown.spans:
        found = align(document.text[span.start : span.end], [shown.passage])
        assert found is None or verify(found, document)


def test_a_colon_keeps_what_it_announces_and_all_is_all(encoder) -> None:  # type: ignore[no-untyped-def]
    (shown,) = compress("What do ships need?", [passage(TEXT)], 0.3, encoder)
    assert shown.text.startswith("Ships need these:") and shown.text.endswith("locks.")
    assert compress("x", [passage(TEXT)], 1.0, encoder) == [Shown.whole(passage(TEXT))]
    assert compress("x", [passage("- - -")], 0.5, encoder)[0].text == "- - -"


def test_the_budget_passes_over_what_does_not_fit() -> None:
    shown = [Shown.whole(passage("x" * size, f"{size}.md")) for size in (50, 40, 5, 3)]
    fitted = fit_budget(shown, lambda some: sum(len(one.text) for one in some), 58)
    assert [len(one.text) for one in fitted] == [50, 5, 3]
    assert len(fit_budget(shown, lambda some: 10**9, 1)) == 1


@pytest.mark.parametrize(("n", "order"), [(1, [1]), (2, [1, 2]), (5, [1, 3, 5, 4, 2]), (6, [1, 3, 5, 6, 4, 2])])
def test_the_best_stand_at_both_ends(n: int, order: list[int]) -> None:
    shown = [Shown.whole(passage(str(number))) for number in range(1, n + 1)]
    assert [int(one.text) for one in best_at_ends(shown)] == order
