from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.inference.stopping import StopMatcher

TEXTS = st.text("abAB\n", max_size=40)
STOPS = st.lists(st.text("abAB\n", min_size=1, max_size=4), max_size=3)


def run(pieces: list[str], stops: list[str]) -> tuple[str, str | None, list[str]]:
    matcher = StopMatcher(stops)
    out = [matcher.push(piece) for piece in pieces]
    if matcher.stopped is None:
        out.append(matcher.flush())
    return "".join(out), matcher.stopped, out


def expected(text: str, stops: list[str]) -> tuple[str, str | None]:
    """By definition: the first stop string to be complete, the longest of those that end together."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, stops=STOPS, cuts=st.lists(st.integers(0, 40), max_size=10))
def test_the_result_does_not_depend_on_where_tokens_break(text: str, stops: list[str], cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    got, stopped, _ = run(pieces, stops)
    assert (got, stopped) == expected(text, stops)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, stops=STOPS)
def test_text_is_held_back_no_longer_than_it_could_become_a_stop_string(text: str, stops: list[str]) -> None:
    matcher, out = StopMatcher(stops), ""
    for end, letter in enumerate(text, start=1):
        out += matcher.push(letter)
        if matcher.stopped is not None:
            return
        held = text[len(out) : end]
        assert held == "" or any(stop.startswith(held) for stop in stops)


def test_nothing_of_a_stop_string_leaks() -> None:
    _, stopped, out = run(["Answer", ": 4", "2\nUs", "er", ": next", "more"], ["\nUser:"])
    assert out == ["Answer", ": 4", "2", "", "", ""]
    assert stopped == "\nUser:"


def test_text_goes_straight_through_without_stop_strings() -> None:
    assert run(["a", "b"], [])[2] == ["a", "b", ""]
