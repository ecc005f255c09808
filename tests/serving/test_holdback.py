"""Invariant of the hold-back: what goes in comes out, whole sentences at a time, personal data never in two pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genwerk.data.redact import find_pii
from genwerk.inference.engine import TokenLogprob
from genwerk.serving.holdback import Holdback

PERSONAL = ["ada@example.org", "DE89 3704 0044 0532 0130 00", "+49 30 1234567"]


def feed(parts: list[str]) -> list[str]:
    held = Holdback()
    out = [held.push(part, last=place == len(parts) - 1) for place, part in enumerate(parts)]
    return [ready.text for ready in out if ready is not None]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=30))
def test_all_that_goes_in_comes_out_in_order(parts: list[str]) -> None:
    assert "".join(feed(parts)) == "".join(parts)


@given(
    words=st.lists(st.sampled_from([*PERSONAL, "word", "Tel", "x\n", "and. Then", "Yes!", "z. B.", "-"]), min_size=1,
                   max_size=150),
    size=st.integers(1, 9),
)  # fmt: skip
def test_personal_data_is_never_cut_in_two(words: list[str], size: int) -> None:
    text = " ".join(words)
    pieces = feed([text[start : start + size] for start in range(0, len(text), size)])
    alone = [piece[pii.start : pii.end] for piece in pieces for pii in find_pii(piece)]
    for value in PERSONAL:
        assert sum(value in found for found in alone) >= min(1, words.count(value))
        assert sum(piece.count(value) for piece in pieces) == text.count(value)


def test_sentences_leave_as_soon_as_the_next_one_begins() -> None:
    assert feed(["First one", ". ", "S", "econd one.", " T", "hird"]) == ["First one. ", "Second one. ", "Third"]


def test_text_without_sentences_does_not_wait_for_the_end() -> None:
    pieces = feed(["word "] * 400)
    assert len(pieces) > 3 and max(map(len, pieces)) < 700


def test_log_probabilities_leave_with_the_text_of_their_tokens() -> None:
    held = Holdback()
    found = [TokenLogprob(number, -0.5, ()) for number in range(6)]
    out = [held.push(part, found[place], last=place == 5)
           for place, part in enumerate(["One", ".", " Two", " more", ".", ""])]  # fmt: skip
    ready = [item for item in out if item is not None]
    assert [item.text for item in ready] == ["One. ", "Two more."]
    assert [[entry.token for entry in item.logprobs] for item in ready] == [[0, 1], [2, 3, 4, 5]]
