"""What the benchmark writes is scored by ir-measures as our own measures score it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from genwerk.core.types import Chunk, Retrieved
from genwerk.data.questions import Question
from genwerk.metrics.ranking import ndcg_at_k

pytest.importorskip("ir_measures")


@pytest.fixture(scope="module")
def boolq() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "boolq.py"
    spec = importlib.util.spec_from_file_location("boolq_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["boolq_benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_runs_are_scored_as_on_paper(boolq: ModuleType, tmp_path: Path) -> None:
    """Two chunks of one passage take one rank; a passage that is not found counts as 0."""
    found = {
        "first": ["a", "b"],
        "third": ["b", "b", "c", "a"],
        "never": ["b"],
        "nothing": [],
        "late": [*"bcdefghijk", "a"],
    }
    questions = [Question(text, "a", 0, 9, "heldout", "boolq") for text in found]

    def search(query: str) -> list[Retrieved]:
        return [Retrieved(Chunk(name, 9 * n, 9 * n + 9), -float(n), "x") for n, name in enumerate(found[query])]

    values = boolq.scored("an arm + reranker", search, questions, tmp_path)
    assert values["nDCG@10"] == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0])
    assert values["nDCG@10"][1] == pytest.approx(ndcg_at_k([0, 0, 1], 10, ideal=[1.0]))
    assert values["recall@10"] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert values["MRR"] == pytest.approx([1.0, 1 / 3, 0.0, 0.0, 1 / 11])
    assert (tmp_path / "an-arm-reranker.run").read_text().splitlines()[0] == "q0 Q0 a 1 1.00000000 an-arm-+-reranker"


def test_the_table_compares_with_the_best_single_arm(boolq: ModuleType) -> None:
    def arm(value: float) -> dict[str, list[float]]:
        return {measure: [value, value, value] for measure in boolq.MEASURES}

    lines = boolq.table({"bm25": arm(0.5), "dense": arm(0.6), "hybrid": arm(0.7), "hybrid + reranker": arm(0.9)})
    assert "| dense | 0.600 (0.600 to 0.600) |" in lines and "nDCG@10 beside dense" in lines
    assert "| +0.300 (+0.300 to +0.300) |" in lines
    assert "hybrid + reranker beside hybrid: +0.2000 nDCG@10 (+0.2000 to +0.2000)" in lines
