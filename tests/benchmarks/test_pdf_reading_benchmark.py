"""What counts as a word cut or joined, and as a table found, on cases known on paper."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def reading() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "pdf_reading.py"
    spec = importlib.util.spec_from_file_location("pdf_reading_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["pdf_reading_benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_words_cut_and_joined_are_told_from_words_lost(reading: ModuleType) -> None:
    truth = ["the", "directories", "of", "a", "system", "are", "read", "in", "one", "go"]
    assert reading.in_both(truth, truth) == (10, 0, 0)
    ours = ["the", "dir", "ector", "ies", "of", "a", "system", "are", "read", "inone"]
    assert reading.in_both(truth, ours) == (6, 1, 1)


def test_words_are_letters_and_digits_and_hyphens_at_line_ends_go(reading: ModuleType) -> None:
    assert reading.words_of("| an ex-\nample, ﬁrst | Two: (3) — |") == ["an", "example", "first", "two", "3"]


def test_a_table_may_be_found_in_parts_and_what_is_none_costs_precision(reading: ModuleType) -> None:
    table = ["name", "use", "filter", "sand", "seal", "water"]
    assert reading._tables([table[:2], table[2:], ["other", "rows"]], [table]) == (2 / 3, 1.0)
    assert reading._tables([table[:2]], [table]) == (1.0, 0.0)


def test_comments_in_code_are_no_headings(reading: ModuleType) -> None:
    assert reading.headings_in("# One\n\n```\n# two\n```\n\n## Three, four") == ["one", "threefour"]
