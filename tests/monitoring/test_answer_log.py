"""Contract of the answer log: what was stored comes back equal, from any thread, and errors name the file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.types import Chunk, Citation, Constraint, Receipt, Reply, Retrieved, Sampling, Usage, Verdict
from genwerk.monitoring.answers import AnswerLog, AnswerRecord

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def record(answer_id: str = "ans-0123456789abcdef", text: str = "Yes.", question: str = "Is it?") -> AnswerRecord:
    citation = Citation("doc", "ab" * 32, 3, 9, "quote\nä𝄞", "docs/a.md")
    sampling = Sampling(
        temperature=0.7,
        stop=("x",),
        seed=5,
        logprobs=2,
        logit_bias=((3, -1.5),),
        stop_tokens=(7,),
        min_tokens=2,
        bad_words=("no", "𝄞"),
    )
    receipt = Receipt("m", "a", "t" * 64, sampling, {"torch": "2"}, Constraint("regex", "a+"))
    reply = Reply(answer_id, text, (1, 2, 3), (citation,), (Verdict(True, "t", "input.pii", ""),), Usage(5, 3),
                  receipt, "stop", abstained=True)  # fmt: skip
    return AnswerRecord(reply, question, "grounded", (Retrieved(Chunk("doc", 0, 9), 0.5, "bm25"),), {"index": "f" * 16},
                        "2025-01-01T00:00:00+00:00")  # fmt: skip


def test_a_stored_answer_comes_back_equal(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "deep" / "answers.sqlite")
    log.append(record())
    log.close()
    again = AnswerLog(tmp_path / "deep" / "answers.sqlite")
    assert again.get("ans-0123456789abcdef") == record()
    assert again.get("ans-0123") == record()
    again.close()


@given(text=TEXT, question=TEXT)
def test_any_text_survives(text: str, question: str) -> None:
    log = AnswerLog(Path(":memory:"))
    log.append(record(text=text, question=question))
    found = log.latest()[0]
    log.close()
    assert (found.reply.text, found.question) == (text, question)


def test_unknown_and_ambiguous_ids_are_told_apart(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "answers.sqlite")
    log.append(record("ans-aa1"))
    log.append(record("ans-aa2"))
    with pytest.raises(RequestError, match="more than one") as found:
        log.get("ans-aa")
    assert found.value.status == 404
    for unknown in ("ans-b", "", "%", "ans_aa1"):
        with pytest.raises(RequestError, match="no answer"):
            log.get(unknown)
    log.close()


def test_threads_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "answers.sqlite")
    threads = [threading.Thread(target=log.append, args=(record(f"ans-{place:04d}"),)) for place in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.latest(100)) == 24
    log.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_text("this is not a database, however long it may be " * 20)
    with pytest.raises(WorkspaceError, match=r"answers\.sqlite"):
        AnswerLog(path)
