"""Answers carry only what a passage says, whatever the model writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from genwerk.core.errors import RequestError
from genwerk.core.types import Document, Message, Request, Usage, Verdict
from genwerk.inference.engine import Delta
from genwerk.retrieval.abstention import Abstention
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.answering import (
    Answerer,
    Done,
    Passages,
    Sentence,
)
from genwerk.retrieval.citations import verify
from genwerk.retrieval.replies import ABSTAIN_TEXT, HELD_BACK_TEXT
from genwerk.retrieval.search import Searcher

QUESTION = "How long is the Elbe and what do ships need?"
ALWAYS = Abstention("cosine", (1.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0, -9.0, "", 1.0, 0.0, 0.0, 1)
NEVER = Abstention("cosine", (1.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0, 9.0, "", 1.0, 0.0, 0.0, 1)


class Model:
    """Says what it is told, three characters a token; remembers what it was asked and whether it was closed early."""

    def __init__(self, text: str, reason: str = "stop") -> None:
        self.text, self.reason = text, reason
        self.requests: list[Request] = []
        self.said, self.closed = 0, False

    def __call__(self, request: Request) -> Iterator[Delta]:
        self.requests.append(request)
        pieces = [self.text[start : start + 3] for start in range(0, len(self.text), 3)] or [""]
        try:
            for number, piece in enumerate(pieces):
                last = number == len(pieces) - 1
                self.said += 1
                yield Delta(piece, number, None, self.reason if last else None, Usage(50, number + 1) if last else None)
        finally:
            self.closed = True


@pytest.fixture
def answer(make_index, topics, encoder):  # type: ignore[no-untyped-def]
    index = make_index(topics)

    def ask(model: Model, *messages: Message, abstention: Abstention = ALWAYS, **keys):  # type: ignore[no-untyped-def]
        answerer = Answerer(index, Searcher(index, encoder), model, abstention, **keys)
        events = list(answerer.answer(messages or (Message("user", QUESTION),)))
        assert isinstance(events[0], Passages) and isinstance(events[-1], Done)
        sentences = [event for event in events if isinstance(event, Sentence)]
        assert len(sentences) == len(events) - 2
        done = events[-1]
        assert done.text == " ".join(sentence.shown for sentence in sentences)
        for sentence in sentences:
            if sentence.citation is not None:
                assert done.citations[sentence.number - 1] == sentence.citation
                assert verify(sentence.citation, index.document(sentence.citation.document_id))
        return sentences, done

    return ask


def test_supported_sentences_are_cited_and_others_dropped(answer) -> None:  # type: ignore[no-untyped-def]
    model = Model("The Elbe is 1094 kilometres long [7]. It is very beautiful. Ships need locks if the level changes.")
    sentences, done = answer(model)
    assert [sentence.text for sentence in sentences] == [
        "The Elbe is 1094 kilometres long.", "Ships need locks if the level changes.",
    ]  # fmt: skip
    assert done.text.endswith("Ships need locks if the level changes. [2]")
    assert (done.kept, done.dropped, done.quoted, done.abstained) == (2, ("It is very beautiful.",), False, False)
    assert done.usage == Usage(50, len(done.tokens)) and done.finish_reason == "stop"


def test_sentences_come_one_by_one_while_the_model_still_writes(make_index, topics, encoder) -> None:  # type: ignore[no-untyped-def]
    index = make_index(topics)
    model = Model("The Elbe is 1094 kilometres long. Ships need locks if the level changes.")
    events = Answerer(index, Searcher(index, encoder), model, ALWAYS).answer([Message("user", QUESTION)])
    assert isinstance(next(events), Passages) and model.said == 0
    first = next(events)
    assert isinstance(first, Sentence) and first.text.startswith("The Elbe")
    assert model.said < len(model.text) / 3
    events.close()  # type: ignore[attr-defined]
    assert model.closed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I think the Elbe is 2000 kilometres long.",
        "[1] [2] [3]",
        "🐝 " * 50,
        "The Elbe is not 1094 kilometres long.",
    ],
)
def test_where_nothing_holds_the_passage_is_quoted(answer, text: str) -> None:  # type: ignore[no-untyped-def]
    sentences, done = answer(Model(text, "length"))
    assert done.quoted and not done.abstained and done.kept == 0
    assert done.finish_reason == "stop"  # the quote is whole, wherever the model was cut
    assert len(sentences) == 1 and sentences[0].quoted
    assert "1094 kilometres" in sentences[0].text and len(sentences[0].text) <= 300
    assert sentences[0].citation.quote.endswith(".")


def test_below_the_threshold_it_stays_silent_and_asks_no_model(answer) -> None:  # type: ignore[no-untyped-def]
    model = Model("The Elbe is 1094 kilometres long.")
    sentences, done = answer(model, abstention=NEVER)
    assert done.abstained and done.text == ABSTAIN_TEXT and sentences == [Sentence(ABSTAIN_TEXT, None)]
    assert done.citations == () and model.requests == []


def test_an_unfinished_last_sentence_is_completed_from_its_source_or_dropped(answer) -> None:  # type: ignore[no-untyped-def]
    sentences, _ = answer(Model("The Elbe is 1094 kilometres", "length"))
    assert [sentence.text for sentence in sentences] == ["The Elbe is 1094 kilometres long."]
    sentences, done = answer(Model("The Elbe is 1094 kilometres long. Ships of all nations ne", "length"))
    assert [sentence.text for sentence in sentences] == ["The Elbe is 1094 kilometres long."]
    assert done.dropped == ("Ships of all nations ne",)


def test_a_model_that_repeats_itself_is_stopped(answer) -> None:  # type: ignore[no-untyped-def]
    model = Model("The Elbe is 1094 kilometres long. " * 200)
    sentences, _ = answer(model)
    assert len(sentences) == 1 and model.said < 80 and model.closed


def test_guards_see_every_sentence_and_may_change_or_stop_it(answer) -> None:  # type: ignore[no-untyped-def]
    def check(text: str) -> Verdict:
        if "locks" in text:
            return Verdict(False, "", "output.test", "no locks")
        return Verdict(True, text.replace("1094", "****"), "output.test", "digits")

    model = Model("The Elbe is 1094 kilometres long. Ships need locks if the level changes.")
    sentences, done = answer(model, check=check)
    assert [sentence.text for sentence in sentences] == ["The Elbe is **** kilometres long."]
    assert [verdict.allowed for verdict in done.verdicts] == [True, False]
    blocked, done = answer(Model("nothing"), check=lambda text: Verdict(False, "", "output.test", "all"))
    assert blocked == [Sentence(HELD_BACK_TEXT, None)] and done.text == HELD_BACK_TEXT
    assert done.abstained and done.citations == () and done.finish_reason == "content_filter"


def test_the_prompt_keeps_to_its_budget_and_has_the_best_passage_first(answer) -> None:  # type: ignore[no-untyped-def]
    def count(messages) -> int:  # type: ignore[no-untyped-def]
        return sum(len(message.content) for message in messages)

    short, long = Model("x"), Model("x")
    answer(short, count_tokens=count, config=AnswerConfig(prompt_tokens=100))
    answer(long, count_tokens=count, config=AnswerConfig(prompt_tokens=10_000))
    one, many = (model.requests[0].messages[-1].content for model in (short, long))
    assert "Elbe" in one and "[1]" in one and "[2]" not in one
    assert "[3]" in many and many.startswith(one.split("\n\nQuestion")[0])


def test_a_follow_up_finds_its_subject(answer) -> None:  # type: ignore[no-untyped-def]
    talk = (
        Message("user", "What about the river Elbe?"),
        Message("assistant", "It flows."),
        Message("user", "How long is it?"),
    )
    sentences, _ = answer(Model("The Elbe is 1094 kilometres long."), *talk)
    assert sentences[0].text == "The Elbe is 1094 kilometres long."


def test_no_question_is_refused(answer) -> None:  # type: ignore[no-untyped-def]
    for messages in ([Message("system", "be kind")], [Message("user", "  ")]):
        with pytest.raises(RequestError, match="no question"):
            answer(Model("x"), *messages)


def test_quotes_end_at_a_word_when_a_sentence_is_endless(make_index, encoder) -> None:  # type: ignore[no-untyped-def]
    text = "the river carries water and " * 60 + "ends."
    index = make_index([Document.create("long.txt", text)], 700)
    events = Answerer(index, Searcher(index, encoder), Model(""), ALWAYS).answer([Message("user", "river water")])
    sentence = next(event for event in events if isinstance(event, Sentence))
    assert sentence.citation is not None and len(sentence.citation.quote) <= 300
    assert sentence.citation.quote.split()[-1] in {"the", "river", "carries", "water", "and", "ends."}


def test_headings_are_no_answers_and_a_colon_brings_what_it_announces(make_index, encoder) -> None:  # type: ignore[no-untyped-def]
    text = "# Mutable Sequence Types\n\nMutable sequences hold these parts:\n\n* items that may change later on.\n"
    index = make_index([Document.create("types.md", text)], 400)
    answerer = Answerer(index, Searcher(index, encoder), Model("Mutable Sequence Types"), ALWAYS)
    events = list(answerer.answer([Message("user", "Which parts do mutable sequences hold?")]))
    sentences = [event for event in events if isinstance(event, Sentence)]
    assert [sentence.quoted for sentence in sentences] == [True]
    assert sentences[0].text == "Mutable sequences hold these parts: * items that may change later on."


def test_a_passage_that_is_not_admitted_is_neither_read_to_the_model_nor_quoted(answer) -> None:  # type: ignore[no-untyped-def]
    open_model, model = Model(""), Model("")
    _, before = answer(open_model)
    quoted = before.citations[0].quote
    assert quoted in " ".join(open_model.requests[0].messages[-1].content.split())

    def admit(text: str) -> Verdict:
        return Verdict(quoted not in " ".join(text.split()), "", "passage.injection", "gives orders")

    _, done = answer(model, admit=admit)
    assert quoted not in " ".join(model.requests[0].messages[-1].content.split())
    assert all(citation.quote != quoted for citation in done.citations)
    sentences, nothing = answer(model, admit=lambda text: Verdict(False, "", "passage.injection", "gives orders"))
    assert [sentence.text for sentence in sentences] == [HELD_BACK_TEXT] and nothing.finish_reason == "content_filter"
    assert len(model.requests) == 1, "the model is not asked where nothing may be read to it"
