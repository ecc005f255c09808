"""Chain: from an answer back to its files, every citation checked again; what was tampered with is found."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import httpx
import pytest
import tiny_chain
from rich.console import Console

from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Sampling
from genwerk.core.workspace import Workspace
from genwerk.serving.assistant import Ask, Assistant
from genwerk.serving.trace import as_json, build_trace, print_trace


@pytest.fixture
def answered(assistant: Assistant, question: str) -> str:
    return assistant.reply(Ask((Message("user", question),), Sampling(max_tokens=8), adapter=tiny_chain.NAME)).id


def printed(workspace: Workspace, answer: str) -> tuple[bool, str]:
    out = io.StringIO()
    sound = print_trace(workspace, answer, console=Console(file=out, width=200, highlight=False))
    return sound, out.getvalue()


def test_the_chain_reaches_the_source_files_with_hashes(
    tiny_workspace: Workspace, assistant: Assistant, answered: str
) -> None:
    record = assistant.log.get(answered)
    sound, text = printed(tiny_workspace, answered)
    assert sound
    for citation in record.reply.citations:
        assert citation.sha256 in text and citation.source in text and f"{citation.start}–{citation.end}" in text
    for part in ("index", "dataset", "model", "adapter"):
        artifact = tiny_workspace.find(record.artifacts[part])
        assert artifact.id in text and artifact.content_sha256[:16] in text
    kinds = {entry["kind"] for entry in as_json(build_trace(tiny_workspace, record))["artifacts"]}
    assert {"tokenizer", "tokens", "dataset"} <= kinds, "parents of the parts are missing"


def test_a_quote_that_is_not_there_is_found(assistant: Assistant, answered: str) -> None:
    record = assistant.log.get(answered)
    bent = replace(record.reply.citations[0], start=record.reply.citations[0].start + 1)
    changed = replace(record, reply=replace(record.reply, citations=(bent,)))
    trace = build_trace(assistant.deployment.workspace, changed)
    assert not trace.sound and trace.citations[0].problem


def test_an_artifact_that_is_gone_or_changed_is_named(assistant: Assistant, answered: str) -> None:
    workspace = assistant.deployment.workspace
    record = assistant.log.get(answered)
    gone = build_trace(workspace, replace(record, artifacts={**record.artifacts, "index": "0" * 16}))
    assert not gone.sound and "index" in gone.missing[0] and gone.citations[0].problem
    file = workspace.find(record.artifacts["adapter"]).path / "loss.jsonl"
    kept = file.read_bytes()
    try:
        file.write_bytes(kept.replace(b"0", b"1"))
        assert build_trace(workspace, record).sound, "a quick trace reads no bytes"
        sound, text = printed(workspace, answered)
        assert not sound and "loss.jsonl" in text
    finally:
        file.write_bytes(kept)


def test_the_api_gives_the_same_chain(running: Any, answered: str) -> None:
    found = httpx.get(f"{running.url}/v1/genwerk/answers/{answered}/trace", timeout=60).json()
    assert found["sound"] and all(citation["valid"] for citation in found["citations"])
    assert found["answer"]["id"] == answered and found["answer"]["receipt"]["sampling"]["max_tokens"] == 8


def test_an_unknown_answer_is_one_clear_message(tiny_workspace: Workspace) -> None:
    with pytest.raises(RequestError, match="no answer"):
        print_trace(tiny_workspace, "ans-none")
