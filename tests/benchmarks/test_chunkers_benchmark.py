"""What counts as found, and how a list of passages is scored, on cases known on paper."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from genwerk.core.types import Chunk
from genwerk.data.questions import Question


@pytest.fixture(scope="module")
def chunkers() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "chunkers.py"
    spec = importlib.util.spec_from_file_location("chunkers_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["chunkers_benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("passage", "found"),
    [((100, 200), True), ((0, 700), True), ((120, 130), True), ((50, 150), True), ((0, 149), False),
     ((151, 900), False), ((90, 110), True), ((90, 109), False), ((300, 400), False)],
)  # fmt: skip
def test_half_of_the_shorter_must_be_shared(chunkers: ModuleType, passage: tuple[int, int], found: bool) -> None:
    question = Question("?", "d", 100, 200, "heldout", "terms")
    assert chunkers.answers(Chunk("d", *passage), question) is found
    assert not chunkers.answers(Chunk("other", *passage), question)


def test_passages_are_scored_as_on_paper(chunkers: ModuleType) -> None:
    question = Question("?", "d", 100, 200, "heldout", "terms")
    scores = chunkers.Scores([], [], [], [])
    other, right = Chunk("e", 0, 10), Chunk("d", 100, 150)
    for passages in ([right], [other, other, right, Chunk("d", 150, 200)], [other], []):
        chunkers.take(scores, passages, question)
    assert scores.ndcg == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert scores.recall == [1.0, 1.0, 0.0, 0.0]
    assert scores.reciprocal == pytest.approx([1.0, 1 / 3, 0.0, 0.0])
    assert scores.characters == [50.0, 120.0, 10.0, 0.0]
    rows = [chunkers.Row("recursive", 3, 1.0, {"dense": scores}), chunkers.Row("window", 9, 2.0, {"dense": scores})]
    lines = chunkers.table(rows, "dense").split("\n")
    assert len(lines) == 4 and "+0.000 (+0.000 to +0.000)" in lines[3] and lines[3].endswith("| 9 | 2.0 |")
