"""Any text comes back as it was written, whatever it takes for the end of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from genwerk.core.jsonl import read_jsonl, write_jsonl


def test_every_text_comes_back(tmp_path: Path) -> None:
    rows = [{"text": f"before{mark}after"} for mark in ("\n", "\r", "\r\n", "\x0b", "\x1c", "\x85", "\u2028", "\u2029")]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows
    write_jsonl(tmp_path / "none.jsonl", [])
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_half_a_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"b"')
    with pytest.raises(ValueError, match="line 1"):
        read_jsonl(tmp_path / "rows.jsonl")
