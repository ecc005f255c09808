"""Measuring: retrieval, abstention, citations and speed on cases whose numbers are known on paper."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import pytest

from genwerk.core.types import ARMS, Chunk, Citation, Document, Message, Request, Retrieved, Usage
from genwerk.data.questions import Question
from genwerk.evaluation.abstention import measure_abstention
from genwerk.evaluation.citations import Answered, answer_questions, measure_citations, reslices
from genwerk.evaluation.measures import CATALOGUE, RERANKED, flatten
from genwerk.evaluation.outcome import Outcome
from genwerk.evaluation.retrieval import measure_retrieval
from genwerk.evaluation.speed import AnswerTime, Stopwatch, measure_speed
from genwerk.inference.engine import Delta
from genwerk.retrieval.answer_events import AnswerEvent, Done, Sentence

TEXT = "# Zip\n\nZip joins rows. It stops early.\n\n# Map\n\nMap calls a function – für jedes Element.\n"
DOCUMENT = Document.create("guide.md", TEXT, metadata={"split": "heldout"})
DOCUMENTS = {DOCUMENT.id: DOCUMENT}


def question(span: str, style: str = "title") -> Question:
    start = TEXT.index(span)
    return Question(f"Where is {span}?", DOCUMENT.id, start, start + len(span), "heldout", style)


def cite(span: str) -> Citation:
    start = TEXT.index(span)
    return Citation(DOCUMENT.id, DOCUMENT.sha256, start, start + len(span), span, DOCUMENT.source)


def found(*spans: tuple[int, int], document: str = DOCUMENT.id) -> list[Retrieved]:
    return [Retrieved(Chunk(document, start, end), 1.0, "bm25") for start, end in spans]


def test_retrieval_measures_are_those_counted_by_hand() -> None:
    """First question: rank 1 everywhere. Second: rank 3 by words, not found by meaning, rank 1 by both."""
    questions = [question("Zip joins rows."), question("Map calls a function", style="terms")]
    right = {item.text: (item.start, item.end) for item in questions}
    ranks = {"bm25": (1, 3), "dense": (1, None), "hybrid": (1, 1)}

    def search(text: str, arm: str, k: int) -> Sequence[Retrieved]:
        rank = ranks[arm][[item.text for item in questions].index(text)]
        results = found(*[(0, 2)] * k)
        if rank:
            results[rank - 1] = found(right[text])[0]
        return results

    outcome = measure_retrieval(questions, search, served="hybrid", chunks=9)
    values = flatten(outcome.measures)
    assert values["retrieval.bm25.hit@1"] == 0.5
    assert values["retrieval.bm25.hit@5"] == 1.0
    assert values["retrieval.bm25.ndcg@10"] == pytest.approx((1 + 1 / math.log2(4)) / 2)
    assert values["retrieval.dense.hit@5"] == 0.5
    assert values["retrieval.ndcg@10"] == values["retrieval.hybrid.ndcg@10"] == 1.0
    assert values["retrieval.bm25.ndcg@10.low"] <= values["retrieval.bm25.ndcg@10"]
    styles = outcome.details["retrieval"]["styles"]
    assert [style["n"] for style in styles] == [1, 1]
    ranks["reranked"] = (1, 2)
    second = measure_retrieval(questions, search, served="reranked", chunks=9, arms=(*ARMS, RERANKED))
    values = flatten(second.measures)
    assert values["retrieval.hit@1"] == values["retrieval.reranked.hit@1"] == 0.5 < values["retrieval.hybrid.hit@1"]
    assert {measure.name for measure in second.measures} <= CATALOGUE.keys()
    assert Outcome.from_json(outcome.to_json()) == outcome


def test_abstention_counts_silence_with_and_without_the_source() -> None:
    questions = [question("Zip joins rows."), question("It stops early."), question("Map calls")]
    scores = {None: iter((0.9, 0.2, 0.5)), DOCUMENT.id: iter((0.1, 0.1, 0.6))}
    outcome = measure_abstention(questions, lambda _, without: next(scores[without]), 0.5)
    values = flatten(outcome.measures)
    assert values["abstention.false"] == pytest.approx(1 / 3)
    assert values["abstention.when_removed"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "change",
    [
        {"start": 0}, {"quote": "Zip joins rows!"}, {"sha256": "0" * 64}, {"document_id": "gone"}, {"end": 10**6},
        {"quote": "Zip joins rows.\n"}, {"start": -1},
    ],
)  # fmt: skip
def test_a_citation_that_is_off_by_anything_does_not_reslice(change: dict[str, object]) -> None:
    good = cite("Zip joins rows.")
    assert reslices(good, DOCUMENTS)
    assert not reslices(dataclasses.replace(good, **change), DOCUMENTS)  # type: ignore[arg-type]


def test_the_hash_is_computed_anew_not_taken_from_the_record() -> None:
    forged = dataclasses.replace(DOCUMENT, text=TEXT.replace("Map", "Mop"))
    assert not reslices(cite("Zip joins rows."), {DOCUMENT.id: forged})


def test_a_quotation_beyond_ascii_is_compared_in_bytes() -> None:
    assert reslices(cite("a function – für jedes Element."), DOCUMENTS)


def answered(item: Question, *spans: str, kept: int = 0, dropped: int = 0, quoted: bool = False) -> Answered:
    citations = tuple(cite(span) for span in spans)
    sentences = tuple(Sentence(cited.quote, cited, number, quoted) for number, cited in enumerate(citations, 1))
    done = Done(" ".join(spans), citations, not spans, Usage(9, 9), "stop", kept, ("x",) * dropped, quoted)
    return Answered(item, sentences, done)


def test_citation_measures_are_those_counted_by_hand() -> None:
    answers = [
        answered(question("Zip joins rows."), "It stops early.", "Zip joins rows.", kept=2, dropped=1),
        answered(question("Map calls"), "Zip joins rows.", kept=0, dropped=3, quoted=True),
        answered(question("Map calls")),  # silent: counts in no share
    ]
    outcome = measure_citations(answers, DOCUMENTS)
    values = flatten(outcome.measures)
    assert values["citations.valid"] == 1.0
    assert values["citations.per_answer"] == 1.5
    assert values["citations.supported_sentences"] == pytest.approx(2 / 6)
    assert values["citations.fallback"] == 0.5
    assert values["citations.gold"] == 0.5
    samples = outcome.details["citations"]["answers"]
    assert [sample["abstained"] for sample in samples] == [False, False, True]
    assert samples[0]["citations"][1]["text"] == "Zip joins rows."


def test_a_sentence_of_the_right_section_is_the_right_section() -> None:
    """The question came from one sentence; citing the next one of the same section counts, another section does not."""
    answers = [answered(question("Zip joins rows.", style="terms"), "It stops early.", kept=1)]
    assert flatten(measure_citations(answers, DOCUMENTS).measures)["citations.gold"] == 1.0


def test_only_silence_gives_no_number_instead_of_a_perfect_one() -> None:
    outcome = measure_citations([answered(question("Map calls"))], DOCUMENTS)
    assert all(math.isnan(measure.value) for measure in outcome.measures)
    assert Outcome.from_json(outcome.to_json()).to_json() == outcome.to_json()


def test_answers_are_read_to_their_end() -> None:
    expected = answered(question("Map calls"), "Zip joins rows.", kept=1)

    def answer(text: str) -> Iterator[AnswerEvent]:
        yield from expected.sentences
        yield expected.done

    assert list(answer_questions([expected.question], answer)) == [expected]


def test_the_stopwatch_counts_tokens_and_passes_them_on_unchanged() -> None:
    ticks = iter([10.0, 20.0, 21.0, 21.5, 22.0, 30.0])
    deltas = [Delta("a", 1), Delta("", None), Delta("b", 2), Delta("c", 3)]
    watch = Stopwatch(lambda request: (delta for delta in deltas), clock=lambda: next(ticks))
    watch.start()
    assert list(watch(Request((Message("user", "hello"),)))) == deltas
    time = watch.stop()
    assert time == AnswerTime(answer=10.0, first_token=1.0, last_token=2.0, tokens=3)
    assert time.tokens_per_second == 2.0


def test_speed_leaves_out_what_generated_nothing() -> None:
    times = [AnswerTime(4.0, 1.0, 3.0, 21), AnswerTime(6.0, 2.0, 3.0, 21), AnswerTime(0.1, None, None, 0)]
    values = flatten(measure_speed(times))
    assert values["speed.first_token_ms"] == 1500.0
    assert values["speed.decode_tokens_per_second"] == 15.0
    assert (values["speed.answer_seconds.low"], values["speed.answer_seconds.high"]) == (4.0, 6.0)
    assert measure_speed(times[2:]) == ()
