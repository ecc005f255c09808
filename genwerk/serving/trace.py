"""From an answer back to its files: answer → citations → documents → index → dataset → model → adapter → parents.

Every citation is sliced out of its document again and compared, every artifact's bytes can be hashed again. `as_json`
is what the API returns, `print_trace` what `genwerk trace` prints.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from genwerk.core.errors import WorkspaceError
from genwerk.core.types import Citation, Document
from genwerk.core.workspace import Artifact, Workspace
from genwerk.monitoring.answers import AnswerLog, AnswerRecord
from genwerk.retrieval.citations import verify
from genwerk.retrieval.stores import open_store

ANSWERS = "answers.sqlite"


@dataclass(frozen=True, slots=True)
class CitedSpan:
    """A citation, checked again. `problem` is empty when text[start:end] of the document is still the quote."""

    citation: Citation
    title: str
    problem: str


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An artifact the answer depends on. `part` says as what (index, model, …), empty for a parent of those."""

    part: str
    artifact: Artifact
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """The chain of one answer. `missing` names artifacts that are gone."""

    record: AnswerRecord
    citations: tuple[CitedSpan, ...]
    ancestors: tuple[Ancestor, ...]
    missing: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether every citation holds and every artifact is as it was made."""
        citations = all(not span.problem for span in self.citations)
        return citations and not self.missing and all(not ancestor.problems for ancestor in self.ancestors)


def build_trace(workspace: Workspace, record: AnswerRecord, *, deep: bool = False) -> Trace:
    """Follow one answer back. `deep` hashes every byte of every artifact again."""
    found: dict[str, Ancestor] = {}
    missing: list[str] = []
    for part, identity in record.artifacts.items():
        try:
            chain = workspace.lineage(workspace.find(identity))
        except WorkspaceError as error:
            missing.append(f"{part} {identity}: {error.what}")
            continue
        for artifact in chain:
            if artifact.id not in found or artifact.id == identity:
                problems = tuple(workspace.verify(artifact)) if deep else ()
                found[artifact.id] = Ancestor(part if artifact.id == identity else "", artifact, problems)
    made = found.get(record.artifacts.get("index", ""))
    citations = _check_all(record.reply.citations, record.index or (made.artifact.path if made else None))
    return Trace(record, citations, tuple(found.values()), tuple(missing))


def _check_all(citations: Sequence[Citation], place: Path | str | None) -> tuple[CitedSpan, ...]:
    if not citations:
        return ()
    problem = "the index it was cited from is gone"
    if place is not None:
        try:
            store = open_store(place)
            with closing(store.connect()) as sql, store.state(sql) as state:
                return tuple(_check(citation, state.document(citation.document_id)) for citation in citations)
        except WorkspaceError as error:
            problem = error.what
    return tuple(CitedSpan(citation, citation.source, problem) for citation in citations)


def _check(citation: Citation, document: Document | None) -> CitedSpan:
    if document is None:
        what = f"document {citation.document_id} is not in the index"
        return CitedSpan(citation, citation.source, what)
    title = str(document.metadata.get("title", document.source))
    return CitedSpan(citation, title, "" if verify(citation, document) else "the quote is not what stands there")


def as_json(trace: Trace) -> dict[str, Any]:
    """The chain as plain data."""
    record, reply = trace.record, trace.record.reply
    return {
        "answer": {
            "id": reply.id, "time": record.time, "mode": record.mode, "question": record.question, "text": reply.text,
            "abstained": reply.abstained, "finish_reason": reply.finish_reason, "receipt": asdict(reply.receipt),
            "index": record.index or None, "state": record.state or None,
        },
        "sound": trace.sound,
        "citations": [
            {"number": number, **asdict(span.citation), "title": span.title, "valid": not span.problem,
             "problem": span.problem}
            for number, span in enumerate(trace.citations, start=1)
        ],
        "artifacts": [_artifact_json(ancestor) for ancestor in trace.ancestors],
        "missing": list(trace.missing),
    }  # fmt: skip


def _artifact_json(ancestor: Ancestor) -> dict[str, Any]:
    artifact = ancestor.artifact
    return {
        "part": ancestor.part, "id": artifact.id, "kind": artifact.kind, "content_sha256": artifact.content_sha256,
        "function": artifact.function, "code": artifact.code, "created": artifact.created,
        "parents": list(artifact.parents), "sources": dict(artifact.sources), "problems": list(ancestor.problems),
    }  # fmt: skip


def print_trace(workspace: Workspace, answer_id: str, *, console: Console | None = None) -> bool:
    """Print the chain as a tree, hashing everything again. Returns whether all of it is sound."""
    log = AnswerLog(workspace.root / ANSWERS)
    try:
        trace = build_trace(workspace, log.get(answer_id), deep=True)
    finally:
        log.close()
    (console or _wide_console()).print(_tree(trace))
    return trace.sound


def _wide_console() -> Console:
    """As wide as the terminal; wide enough for whole hashes where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _tree(trace: Trace) -> Tree:
    record, reply = trace.record, trace.record.reply
    tree = Tree(f"[bold]answer {reply.id}[/]  {record.time}  {reply.finish_reason}")
    tree.add(f"question  {escape(record.question)}")
    tree.add(f"text      {escape(reply.text)}")
    receipt = reply.receipt
    names = escape(f"{receipt.model} · {receipt.adapter or 'no adapter'}")
    tree.add(f"receipt   {names} · temperature {receipt.sampling.temperature} · seed {receipt.sampling.seed}")
    if record.index:
        tree.add(f"index     {escape(record.index)} at {record.state}")
    cited = tree.add(f"[bold]citations[/] ({len(trace.citations)})")
    for number, span in enumerate(trace.citations, start=1):
        _add_citation(cited, number, span)
    made = tree.add("[bold]made from[/]")
    known = {ancestor.artifact.id: ancestor.artifact for ancestor in trace.ancestors}
    for ancestor in trace.ancestors:
        _add_artifact(made, ancestor, known)
    for missing in trace.missing:
        made.add(f"[red]✗ {escape(missing)}[/]")
    tree.add("[green]✓ every citation and every file holds[/]" if trace.sound else "[red]✗ something does not hold[/]")
    return tree


def _add_citation(branch: Tree, number: int, span: CitedSpan) -> None:
    citation = span.citation
    mark = f"[red]✗ {escape(span.problem)}[/]" if span.problem else "[green]✓[/]"
    node = branch.add(f"\\[{number}] {escape(span.title)} {mark}")
    node.add(f"quote     {escape(' '.join(citation.quote.split()))}")
    node.add(f"document  {citation.document_id}  characters {citation.start}–{citation.end}")
    node.add(f"sha256    {citation.sha256}")
    node.add(f"source    {escape(citation.source)}{f', {escape(citation.place)}' if citation.place else ''}")


def _add_artifact(branch: Tree, ancestor: Ancestor, known: Mapping[str, Artifact]) -> None:
    """One line per artifact; its parents are named, not drawn again, because one dataset is the parent of many."""
    artifact = ancestor.artifact
    label = f"{ancestor.part}: {artifact.kind}" if ancestor.part not in ("", artifact.kind) else artifact.kind
    mark = "".join(f" [red]✗ {escape(problem)}[/]" for problem in ancestor.problems) or " [green]✓[/]"
    node = branch.add(f"[bold]{label}[/] {artifact.id}  content {artifact.content_sha256}{mark}")
    for name, sha256 in artifact.sources.items():
        node.add(f"source {escape(name)}  sha256 {sha256}")
    parents = [f"{known[parent].kind} {parent[:8]}…" for parent in artifact.parents if parent in known]
    if parents:
        node.add(f"from {', '.join(parents)}")
