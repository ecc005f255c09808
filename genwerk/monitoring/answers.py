"""Every answer that left, with all that is needed to trace it: one SQLite table in the workspace.

What is stored is what the guards let through: a redacted question is stored redacted. Rows are never changed.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.events import now
from genwerk.core.types import (
    Chunk,
    Citation,
    Constraint,
    Message,
    Receipt,
    Reply,
    Retrieved,
    Sampling,
    Usage,
    Verdict,
)

_SCHEMA = """
create table if not exists answers (
    id text primary key, time text not null, question text not null, text text not null, mode text not null,
    model text not null, adapter text, finish_reason text not null, abstained integer not null,
    prompt_tokens integer not null, completion_tokens integer not null, detail text not null);
create index if not exists answers_time on answers (time);
"""


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One stored answer. `artifacts` maps a part (model, adapter, index, dataset …) to the id it had when it answered.

    mode      grounded or plain.
    passages  what was retrieved, best first, whether cited or not.
    prompt    what the model was given, as the guards left it; with the receipt it gives the answer again.
    logprobs  one per token of the reply, if they were asked for.
    index     where the living index is that it was answered from, and `state` the state of it; empty for an artifact.
    """

    reply: Reply
    question: str
    mode: str
    passages: tuple[Retrieved, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    time: str = ""
    prompt: tuple[Message, ...] = ()
    logprobs: tuple[float, ...] = ()
    index: str = ""
    state: str = ""


class AnswerLog:
    """Append answers to a SQLite file and read them back. Safe from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, check_same_thread=False, timeout=30, isolation_level=None)
            self._database.execute("pragma journal_mode = wal")
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._failed("opened", error) from error

    def append(self, record: AnswerRecord) -> None:
        """Store one answer. Raises WorkspaceError if the file cannot be written (disk full, no permission)."""
        reply = record.reply
        detail = {
            "tokens": reply.tokens,
            "citations": [asdict(citation) for citation in reply.citations],
            "verdicts": [asdict(verdict) for verdict in reply.verdicts],
            "receipt": asdict(reply.receipt),
            "passages": [asdict(found) for found in record.passages],
            "artifacts": dict(record.artifacts),
            "prompt": [asdict(message) for message in record.prompt],
            "logprobs": record.logprobs,
            "index": record.index,
            "state": record.state,
        }
        values = (
            reply.id, record.time or now(), record.question, reply.text, record.mode, reply.receipt.model,
            reply.receipt.adapter, reply.finish_reason, int(reply.abstained), reply.usage.prompt_tokens,
            reply.usage.completion_tokens, json.dumps(detail, ensure_ascii=False),
        )  # fmt: skip
        try:
            with self._lock:
                self._database.execute(f"insert into answers values ({', '.join('?' * len(values))})", values)
        except sqlite3.Error as error:
            raise self._failed("written", error) from error

    def get(self, answer_id: str) -> AnswerRecord:
        """The answer with this id, or the only one whose id begins so. Raises RequestError (404)."""
        escaped = answer_id.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        rows = self._select("where id like ? escape '\\' order by id limit 2", (f"{escaped}%",)) if answer_id else []
        exact = [row for row in rows if row.reply.id == answer_id]
        if len(exact or rows) == 1:
            return (exact or rows)[0]
        what = f"more than one answer begins with `{answer_id}`" if rows else f"no answer `{answer_id}`"
        raise RequestError(what, where=str(self.path.name), status=404, code="answer_not_found",
                           remedy="The id is in every reply, under genwerk.answer_id.")  # fmt: skip

    def latest(self, limit: int = 20) -> list[AnswerRecord]:
        """The newest answers, newest first."""
        return self._select("order by time desc, rowid desc limit ?", (limit,))

    def close(self) -> None:
        """Close the file; the log cannot be used afterwards."""
        with self._lock:
            self._database.close()

    def _select(self, tail: str, values: Sequence[object]) -> list[AnswerRecord]:
        columns = "id, time, question, text, mode, finish_reason, abstained, prompt_tokens, completion_tokens, detail"
        try:
            with self._lock:
                rows = self._database.execute(f"select {columns} from answers {tail}", values).fetchall()
        except sqlite3.Error as error:
            raise self._failed("read", error) from error
        return [_record(row) for row in rows]

    def _failed(self, verb: str, error: Exception) -> WorkspaceError:
        remedy = "Check that the disk has room and the folder may be written."
        return WorkspaceError(f"the log of answers cannot be {verb}: {error}", where=str(self.path), remedy=remedy)


def _record(row: Sequence[Any]) -> AnswerRecord:
    answer_id, time, question, text, mode, finish_reason, abstained, prompt_tokens, completion_tokens, packed = row
    detail = json.loads(packed)
    reply = Reply(
        id=answer_id, text=text, tokens=tuple(detail["tokens"]), finish_reason=finish_reason, abstained=bool(abstained),
        citations=tuple(Citation(**item) for item in detail["citations"]),
        verdicts=tuple(Verdict(**item) for item in detail["verdicts"]),
        usage=Usage(prompt_tokens, completion_tokens), receipt=receipt_from(detail["receipt"]),
    )  # fmt: skip
    passages = tuple(Retrieved(Chunk(**item["chunk"]), item["score"], item["source"]) for item in detail["passages"])
    prompt = tuple(Message(**item) for item in detail.get("prompt", ()))  # older answers have none
    logprobs = tuple(detail.get("logprobs", ()))
    living = detail.get("index", ""), detail.get("state", "")
    return AnswerRecord(reply, question, mode, passages, detail["artifacts"], time, prompt, logprobs, *living)


def receipt_from(values: Mapping[str, Any]) -> Receipt:
    """A receipt from its JSON form. Raises KeyError or TypeError if a field is missing or not known."""
    sampling = dict(values["sampling"])
    for name in ("stop", "stop_tokens", "logit_bias", "bad_words"):  # JSON has no tuples, older answers lack some
        sampling[name] = tuple(tuple(item) if isinstance(item, list) else item for item in sampling.get(name, ()))
    form = values.get("constraint")
    return Receipt(values["model"], values["adapter"], values["template_sha256"], Sampling(**sampling),
                   dict(values["versions"]), Constraint(**form) if form else None,
                   dict(values.get("weights") or {}))  # fmt: skip
