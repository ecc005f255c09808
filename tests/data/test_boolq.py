"""BoolQ's file becomes a collection: passages once, each question with one answer, parts that share no article."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from genwerk.core.artifact import Source
from genwerk.core.errors import DataError
from genwerk.core.events import EventLog
from genwerk.core.workspace import Step
from genwerk.data.boolq import BoolqConfig, load_questions, prepare_boolq, read_boolq
from genwerk.data.documents import load_documents


@pytest.fixture
def small_boolq(tmp_path: Path) -> Path:
    """Thirty articles of two paragraphs, two questions on the first, one on the second; one question is asked twice."""
    rows = []
    for number in range(30):
        first, second = (f"Article {number} -- Paragraph {part} on subject {number}." for part in (1, 2))
        rows += [
            {"question": f"is {number} even", "passage": first},
            {"question": f"is {number} odd", "passage": first},
        ]
        rows += [{"question": f"is {number} prime", "passage": second, "label": True}]
    rows += [{"question": "is it so", "passage": f"Article {number} -- Paragraph 1 on subject {number}."}
             for number in (3, 4)]  # fmt: skip
    path = tmp_path / "combined.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_passages_are_kept_once_and_questions_with_two_answers_are_left_out(small_boolq: Path) -> None:
    found = read_boolq(small_boolq, heldout=12, dev=6)
    assert len({document.text for document in found.documents}) == len(found.documents) == 60
    assert len(found.questions) == 90 and all(question.text != "is it so" for question in found.questions)
    texts = {document.id: document.text for document in found.documents}
    assert all(question.end == len(texts[question.document_id]) for question in found.questions)


def test_parts_have_the_asked_size_and_share_no_article(small_boolq: Path) -> None:
    found = read_boolq(small_boolq, heldout=12, dev=6)
    counts = Counter(question.split for question in found.questions)
    assert counts == {"train": 72, "dev": 6, "heldout": 12}
    parts: dict[str, set[str]] = {}
    for document in found.documents:
        parts.setdefault(document.metadata["title"], set()).add(document.metadata["split"])
    assert all(len(splits) == 1 for splits in parts.values())
    splits = {document.id: document.metadata["split"] for document in found.documents}
    assert all(splits[question.document_id] == question.split for question in found.questions)
    assert read_boolq(small_boolq, heldout=12, dev=6) == found


def test_the_step_writes_what_is_read_again(small_boolq: Path, tmp_path: Path) -> None:
    step = Step("boolq", tmp_path / "out", tmp_path, EventLog(tmp_path))
    step.out.mkdir()
    metrics = prepare_boolq(BoolqConfig(heldout=12, dev=6, passages=40), step, Source("boolq", small_boolq, ""))
    assert metrics == {"documents": 40, "questions": 60, "train": 42, "dev": 6, "heldout": 12}
    found = read_boolq(small_boolq, heldout=12, dev=6, passages=40)
    assert load_questions(step.out) == list(found.questions)
    assert load_documents(step.out) == list(found.documents)
    assert load_questions(tmp_path) == []


def test_another_file_and_too_few_questions_are_refused(small_boolq: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few for 200"):
        read_boolq(small_boolq, heldout=100, dev=100)
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "x"}\n')
    with pytest.raises(DataError, match="no file of BoolQ"):
        read_boolq(other)
    (tmp_path / "questions.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="questions cannot be read"):
        load_questions(tmp_path)
