"""Follow-up questions are searched with what they lean on, new ones as they are: a labelled set of conversations.

The rules were written with the conversations that are not `heldout` in view; those came afterwards, and the rules were
left alone. benchmarks/follow_ups.py measures the same file with a real embedder.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.types import Message
from genwerk.retrieval.follow_up import retrieval_query

LINES = (Path(__file__).parent / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
CONVERSATIONS: list[dict[str, Any]] = [json.loads(line) for line in LINES]


def query_of(asked: list[str]) -> str:
    return retrieval_query([Message("user", text) for text in asked])


def right(conversation: dict[str, Any]) -> bool:
    words = set(re.findall(r"\w+", query_of(conversation["asked"]).casefold()))
    needs, without = ({word.casefold() for word in conversation.get(key, ())} for key in ("needs", "without"))
    return needs <= words and not without & words


@pytest.mark.parametrize("kind", ["pronoun", "elliptic", "short", "carried", "new"])
def test_each_kind_of_follow_up_is_resolved(kind: str) -> None:
    wrong = [one["asked"] for one in CONVERSATIONS if one["kind"] == kind and not right(one)]
    assert not wrong


def test_most_conversations_that_were_not_looked_at_are_resolved() -> None:
    heldout = [one for one in CONVERSATIONS if one["kind"] == "heldout"]
    assert sum(map(right, heldout)) >= 19 and len(heldout) == 24


def test_the_nearest_word_in_meaning_gives_way() -> None:
    import numpy as np

    def embed(texts):  # type: ignore[no-untyped-def]
        animals = {"dog", "cat"}
        return np.array([[1.0, 0.0] if text in animals else [0.0, 1.0] for text in texts])

    talk = [Message("user", "What does the dog eat?"), Message("user", "And the cat?")]
    assert retrieval_query(talk, embed) == "What does the cat eat?"
    assert retrieval_query(talk) == "What does the dog eat the cat"


def test_answers_between_are_not_questions_and_one_question_stays_as_it_is() -> None:
    talk = [Message("user", "Tell me about the Elbe"), Message("assistant", "Ask me more."), Message("user", "And it?")]
    assert query_of(["And it?"]) == "And it?"
    assert "Elbe" in retrieval_query(talk) and "more" not in retrieval_query(talk)


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_chat_has_a_query_with_the_words_of_its_last_question(asked: list[str]) -> None:
    query = query_of(asked)
    assert bool(query) == any(text.strip() for text in asked)
