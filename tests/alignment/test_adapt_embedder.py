"""InfoNCE on paper, false negatives masked, an embedder that learns eight queries, and going on after a kill."""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_lists import make_lists, write, write_encoder
from tiny_runs import make_step

from genwerk.alignment.adapt_embedder import AdaptConfig, Texts, adapt_embedder, info_nce
from genwerk.core.errors import DataError
from genwerk.core.workspace import Artifact
from genwerk.data.ranking_lists import RankingList, RankingLists
from genwerk.retrieval.embedding import Embedder
from genwerk.training.curve import LossCurve

SMALL: dict[str, Any] = {"steps": 8, "batch": 4, "lr": 1e-3, "warmup": 2, "checkpoint_every": 3, "hard": 1}


@pytest.fixture
def encoder(tmp_path: Path) -> Artifact:
    return write_encoder(tmp_path / "encoder")


@pytest.fixture
def lists(tmp_path: Path) -> Artifact:
    return write(tmp_path / "lists", make_lists())


def run(root: Path, encoder: Artifact, *lists: Artifact, **changes: Any) -> Path:
    step = make_step(root)
    adapt_embedder(AdaptConfig(**SMALL | changes), step, encoder, *lists)
    return step.out


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_info_nce_on_paper() -> None:
    rows = torch.eye(3)
    loss = info_nce(rows[:2], rows, 0.5)  # likeness 1 to the own passage, 0 to two others
    assert float(loss) == pytest.approx(math.log(1 + 2 * math.exp(-2.0)))
    same = torch.tensor([[True, False, True], [False, True, True]])
    assert float(info_nce(rows[:2], rows, 0.5, same)) == pytest.approx(math.log(1 + math.exp(-2.0)))


def test_what_answers_as_well_is_no_negative(encoder: Artifact) -> None:
    """The tripwire: one passage twice under two numbers, and a query with two answers, in one batch."""
    passages = ("w1 w2", "w3", "w1 w2", "w4")
    lists = (
        RankingList("w9", 0, (1,), "train", "a"), RankingList("w9", 1, (3,), "train", "b"),
        RankingList("w8", 2, (3,), "train", "c"),
    )  # fmt: skip
    texts = Texts.make(RankingLists(passages, lists), AdaptConfig(**SMALL), encoder.path, 40)
    batch = texts.batch(lists, [[3], [0], []])
    assert batch.same.tolist() == [
        [True, True, True, False, True],  # w9 is answered by 0 and 1, and 2 has the text of 0
        [True, True, True, False, True],
        [True, False, True, False, True],  # 0 has the text of w8's own answer
    ]


def test_eight_queries_find_their_passages(encoder: Artifact, lists: Artifact, tmp_path: Path) -> None:
    found = make_lists()
    queries = [one.query for one in found.of("train")]

    def right(path: Path) -> float:
        embedder = Embedder.load(path)
        likeness = embedder.embed(queries) @ embedder.embed(found.passages[:8]).T
        return float(np.mean(likeness.argmax(1) == np.arange(8)))

    assert right(encoder.path) < 1.0
    out = run(tmp_path / "run", encoder, lists, steps=80)
    assert right(out) == 1.0
    assert Embedder.load(out).identity != Embedder.load(encoder.path).identity


def test_struck_at_any_step_it_goes_on_to_the_same_files(
    encoder: Artifact, lists: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Struck(BaseException):
        """Stands for a kill inside this process."""

    calm = run(tmp_path / "calm", encoder, lists)
    original = LossCurve.add
    for blow in (4, 8, None):

        def strike(curve: LossCurve, row: dict[str, float], at: int | None = blow) -> None:
            original(curve, row)
            if row["step"] == at:
                raise Struck

        monkeypatch.setattr(LossCurve, "add", strike)
        try:
            found = run(tmp_path / "struck", encoder, lists)
        except Struck:
            shutil.rmtree(tmp_path / "struck" / "out")
    assert hashes(found) == hashes(calm)


def test_one_query_has_nothing_to_learn_against(encoder: Artifact, tmp_path: Path) -> None:
    one = RankingLists(("a", "b"), (RankingList("x", 0, (1,), "train", "d"),))
    with pytest.raises(DataError, match="too few"):
        run(tmp_path / "run", encoder, write(tmp_path / "one", one))
