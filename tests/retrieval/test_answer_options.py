"""What a recipe may ask of answers: their form, several of them, the order and length of passages, their language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from genwerk.core.types import Citation, Document, Message, Request, Usage
from genwerk.inference.engine import Delta
from genwerk.retrieval.agreement import Claim, agreed
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.answering import Answerer, Done, Sentence
from genwerk.retrieval.extract import says_the_rest
from genwerk.retrieval.replies import REPLIES
from genwerk.retrieval.search import Searcher

QUESTION = "How long is the Elbe and what do ships need?"
LONG, LOCKS = "The Elbe is 1094 kilometres long.", "Ships need locks if the level changes."


class Drawn:
    """Says another text for each seed, `size` characters at a time."""

    size = 1000

    def __init__(self, *texts: str) -> None:
        self.texts, self.requests = texts, list[Request]()

    def __call__(self, request: Request) -> Iterator[Delta]:
        self.requests.append(request)
        text = self.texts[request.sampling.seed % len(self.texts)]
        for start in range(0, len(text) - self.size, self.size):
            yield Delta(text[start : start + self.size], None, None, None, None)
        last = (len(text) - 1) // self.size * self.size if text else 0
        yield Delta(text[last:], 7, None, "stop", Usage(50, len(text)))


@pytest.fixture
def answer(make_index, topics, encoder):  # type: ignore[no-untyped-def]
    index = make_index(topics)

    def ask(model: Drawn, question: str = QUESTION, **options: Any) -> tuple[list[Sentence], Done]:
        answerer = Answerer(index, Searcher(index, encoder), model, None, config=AnswerConfig(**options))
        events = list(answerer.answer([Message("user", question)]))
        done = events[-1]
        assert isinstance(done, Done)
        return [event for event in events if isinstance(event, Sentence)], done

    return ask


def test_each_sentence_says_how_well_it_is_held(answer) -> None:  # type: ignore[no-untyped-def]
    sentences, _ = answer(Drawn(f"{LONG} Ships need locks."))
    assert sentences[0].support is not None and sentences[0].support.words == 1.0
    assert sentences[0].support.cosine == pytest.approx(1.0, abs=1e-5) and sentences[0].agreed is None
    assert all(0.0 < one.support.score < 1.0 for one in sentences)


def test_the_cited_form_is_asked_for_and_its_markers_are_hints(answer) -> None:  # type: ignore[no-untyped-def]
    model = Drawn(f"{LONG} [1] {LOCKS} [9]")
    sentences, done = answer(model, cited_form=True)
    constraint = model.requests[0].constraint
    assert constraint is not None and constraint.kind == "regex"
    assert [one.hinted for one in sentences] == [True, False] and done.kept == 2
    streamed = Drawn(f"{LONG} [1] {LOCKS} [9]")
    streamed.size = 1
    assert [one.hinted for one in answer(streamed)[0]] == [True, False]
    plain = Drawn(LONG)
    assert [one.hinted for one in answer(plain)[0]] == [None] and plain.requests[0].constraint is None


def test_only_what_most_answers_say_is_shown_and_all_are_paid_for(answer) -> None:  # type: ignore[no-untyped-def]
    model = Drawn(f"{LONG} {LOCKS}", LONG, f"It is beautiful. {LONG}")
    sentences, done = answer(model, drawn=3)
    assert [(one.text, one.agreed) for one in sentences] == [(LONG, 1.0)]
    assert [request.sampling.seed for request in model.requests] == [0, 1, 2]
    assert {request.sampling.temperature for request in model.requests} == {0.7}
    assert done.usage == Usage(50, sum(map(len, model.texts))) and done.tokens == (7,)
    assert done.dropped == ("It is beautiful.",)
    nobody, done = answer(Drawn(LONG, LOCKS, ""), drawn=3)
    assert done.quoted and len(nobody) == 1


def test_agreement_on_paper() -> None:
    a, b, c = (Citation("d", "0", place, place + 1, "x", "s") for place in range(3))
    drawn = [[Claim("A", a), Claim("A again", a), Claim("B", b)], [Claim("a", a), Claim("C", c)], [Claim("b", b)]]
    assert [(one.text, one.agreed) for one in agreed(drawn)] == [("A", 2 / 3), ("B", 2 / 3)]
    assert agreed([[], []]) == []
    assert agreed([[Claim("A", a)], [Claim("B", b)]]) == []  # half is not most


def test_the_best_passages_stand_at_both_ends_and_are_shortened(answer) -> None:  # type: ignore[no-untyped-def]
    first, ends, short = Drawn(LONG), Drawn(LONG), Drawn(LONG)
    answer(first)
    answer(ends, order="ends")
    sentences, _ = answer(short, keep=0.4)
    one, other, less = (model.requests[0].messages[-1].content for model in (first, ends, short))
    passages = [text.split("\n\nQuestion")[0].split("\n[") for text in (one, other)]
    assert one.split("[2]")[0] == other.split("[2]")[0]  # the best is first in both
    assert one != other and len(passages[0]) == len(passages[1])
    assert len(less) < len(one) and "1094" in less and sentences[0].text == LONG


def test_what_a_passage_says_and_nobody_asked_is_not_an_answer(answer) -> None:  # type: ignore[no-untyped-def]
    aside = "The bishop moves along diagonals."
    sentences, done = answer(Drawn(f"{aside} {LONG}"))
    assert [one.text for one in sentences] == [LONG] and done.dropped == (aside,)
    (quoted,), done = answer(Drawn(aside))
    assert done.quoted and "Elbe" in quoted.text and done.dropped == (aside,)
    everything, _ = answer(Drawn(f"{aside} {LONG}"), slack=3)
    assert [one.text for one in everything] == [aside, LONG]
    both, done = answer(Drawn(f"{aside} {LOCKS}"), "What do ships need and along what is the bishop moved?")
    assert [one.text for one in both] == [aside, LOCKS] and not done.dropped


def test_the_other_part_of_a_question_is_asked_for_too() -> None:
    question, opened = (
        "What do ships need and which queen leaves the hive?",
        "The queen never leaves the hive in winter.",
    )
    assert says_the_rest(question, opened, LOCKS)
    assert not says_the_rest(question, LONG, LOCKS)
    assert not says_the_rest("What do ships need?", opened, LOCKS)  # the quote has all of it


def test_a_german_question_is_asked_and_refused_in_german(make_index, encoder) -> None:  # type: ignore[no-untyped-def]
    text = "# Elbe\n\nDie Elbe ist 1094 Kilometer lang. Der Fluss beginnt in den Bergen."
    index = make_index([Document.create("elbe.md", text)])
    model = Drawn("Die Elbe ist 1094 Kilometer lang.")
    answerer = Answerer(index, Searcher(index, encoder), model, None)
    done = list(answerer.answer([Message("user", "Wie lang ist die Elbe?")]))[-1]
    assert isinstance(done, Done) and (done.language, done.said_in) == ("de", "de")
    assert model.requests[0].messages[0].content.startswith("Antworte auf Deutsch")
    empty = Answerer(index, Searcher(index, encoder), Drawn("nothing"), None, check=_nothing_passes)
    assert list(empty.answer([Message("user", "Wie lang ist die Elbe?")]))[-1].text == REPLIES["de"].held_back  # type: ignore[union-attr]


def test_copies_of_a_passage_are_shown_once(make_index, encoder) -> None:  # type: ignore[no-untyped-def]
    text = "# Elbe\n\nThe Elbe is 1094 kilometres long and flows through Hamburg to the sea."
    index = make_index([Document.create("a.md", text), Document.create("b.md", text)], 200)
    model = Drawn("x")
    list(Answerer(index, Searcher(index, encoder), model, None).answer([Message("user", "How long is the Elbe?")]))
    assert "[2]" not in model.requests[0].messages[-1].content


def _nothing_passes(text: str):  # type: ignore[no-untyped-def]
    from genwerk.core.types import Verdict

    return Verdict(False, "", "output.test", "all")
