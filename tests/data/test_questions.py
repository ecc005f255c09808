"""Questions and chat examples: each answer stands where it is said to, once, and no held-out text is trained on."""

from __future__ import annotations

import pydoc_data.topics

import pytest

from genwerk.core.types import Document
from genwerk.data.chat_examples import ChatExample, make_chat_examples
from genwerk.data.prose import fold, is_prose, prose_sections
from genwerk.data.questions import known_item_questions
from genwerk.data.split import assign_splits


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    topics = pydoc_data.topics.topics
    names = sorted(topics, key=lambda name: (len(topics[name]), name))[:55]
    plain = [Document.create(f"python:topics/{name}", topics[name]) for name in names]
    splits = assign_splits(plain, 0.2)
    return [
        Document.create(
            one.source, one.text,
            metadata={"format": "rst", "language": "en", "split": splits[one.id], "title": one.source},
        )
        for one in plain
    ]  # fmt: skip


@pytest.fixture(scope="module")
def examples(documents: list[Document]) -> list[ChatExample]:
    return make_chat_examples(documents, seed=0)


def test_questions_repeat_and_differ_by_seed_alone(documents: list[Document]) -> None:
    first = known_item_questions(documents, seed=0)
    assert known_item_questions(list(reversed(documents)), seed=0) == first
    assert known_item_questions(documents, seed=1) != first
    assert known_item_questions(documents, seed=0, limit=7) == first[:7]


def test_every_answer_stands_in_one_place_only(documents: list[Document]) -> None:
    questions = known_item_questions(documents, seed=0)
    by_id = {document.id: document for document in documents}
    everything = " ".join(fold(document.text) for document in documents)
    assert len({question.text for question in questions}) > 0.98 * len(questions)
    for question in questions:
        document = by_id[question.document_id]
        gold = document.text[question.start : question.end]
        assert gold and question.split == document.metadata["split"]
        if question.style == "terms":
            assert is_prose(gold)
            assert everything.count(fold(gold)) == 1


def test_both_styles_are_mixed_and_titles_are_not_the_whole_question(documents: list[Document]) -> None:
    questions = known_item_questions(documents, seed=0)
    styles = [question.style for question in questions]
    assert 0.25 < styles.count("title") / len(styles) < 0.75
    assert len({question.text.split()[0] for question in questions}) >= 4
    assert all(question.text.endswith(("?", ".")) for question in questions)


def test_one_split_can_be_asked_about_alone(documents: list[Document]) -> None:
    held = known_item_questions(documents, seed=0, split="heldout")
    assert held and {question.split for question in held} == {"heldout"}
    assert set(held) <= set(known_item_questions(documents, seed=0))


def test_german_documents_are_asked_about_in_german() -> None:
    text = "# Die Pumpe\n\nDas Gehäuse der Pumpe besteht vollständig aus rostfreiem Edelstahl und hält lange.\n"
    document = Document.create("a.md", text, metadata={"language": "de", "split": "train"})
    questions = known_item_questions([document], seed=0)
    assert questions and all(question.text.startswith(("Was", "Wie", "Wozu")) for question in questions)


def test_documents_without_prose_give_nothing() -> None:
    table = Document.create("a.md", "# Prices\n\n| a | b |\n| 1 | 2 |\n\n>>> f(x)\n3\n")
    assert prose_sections(table) == []
    assert known_item_questions([table], seed=0) == [] and make_chat_examples([table], seed=0) == []
    assert known_item_questions([], seed=0) == [] and make_chat_examples([], seed=0) == []


def test_chat_examples_repeat_and_fit(documents: list[Document], examples: list[ChatExample]) -> None:
    assert make_chat_examples(list(reversed(documents)), seed=0) == examples
    assert make_chat_examples(documents, seed=0, limit=5) == examples[:5]
    assert len(examples) > 60
    for example in examples:
        assert [message.role for message in example.messages] == ["system", "user", "assistant"]
        assert sum(len(message.content) for message in example.messages[:-1]) <= 1300


def test_each_answer_cites_the_passage_it_was_taken_from(examples: list[ChatExample]) -> None:
    cited = set()
    for example in examples:
        answer, _, number = example.messages[-1].content.rpartition(" [")
        passages = example.messages[1].content.rpartition("\n\nQuestion: ")[0]
        start = passages.index(f"[{number}")
        gold = passages[start:].split("\n[2] ")[0] if number == "1]" else passages[start:]
        assert fold(answer) in fold(gold)
        cited.add(number)
    assert cited == {"1]", "2]"}


def test_distractors_never_come_from_the_other_split(documents: list[Document], examples: list[ChatExample]) -> None:
    own = {split: " ".join(fold(d.text) for d in documents if d.metadata["split"] == split)
           for split in ("train", "heldout")}  # fmt: skip
    assert {example.split for example in examples} == {"train", "heldout"}
    for example in examples:
        body = example.messages[1].content.rpartition("\n\nQuestion: ")[0]
        for passage in body.removeprefix("[1] ").split("\n[2] "):
            opening = " ".join(fold(passage).split()[:12])
            assert opening in own[example.split]
