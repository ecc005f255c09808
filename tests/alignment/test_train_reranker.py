"""The cross-encoder's losses on paper, its training on eight lists, what is written, and going on after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_lists import make_lists, write, write_encoder
from tiny_runs import make_step

from genwerk.alignment.train_reranker import RerankerConfig, listwise_loss, margin_mse, settled_bias, train_reranker
from genwerk.core.errors import DataError
from genwerk.core.workspace import Artifact
from genwerk.data.ranking_lists import RankingList, RankingLists
from genwerk.models.cross_encoder import load_cross_encoder, new_cross_encoder, score_pairs
from genwerk.models.encoder import load_encoder
from genwerk.retrieval.reranking import Reranker
from genwerk.training.curve import LossCurve, read_curve

SMALL: dict[str, Any] = {
    "negatives": 5, "steps": 8, "batch": 3, "lr": 2e-3, "warmup": 2, "max_tokens": 40, "checkpoint_every": 3,
    "micro_tokens": 150,
}  # fmt: skip


@pytest.fixture
def encoder(tmp_path: Path) -> Artifact:
    return write_encoder(tmp_path / "encoder")


@pytest.fixture
def lists(tmp_path: Path) -> Artifact:
    return write(tmp_path / "lists", make_lists())


def run(root: Path, encoder: Artifact, *lists: Artifact, **changes: Any) -> tuple[Path, dict[str, Any]]:
    step = make_step(root)
    metrics = train_reranker(RerankerConfig(**SMALL | changes), step, encoder, *lists)
    return step.out, dict(metrics)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_listwise_loss_on_paper() -> None:
    logits = torch.tensor([0.0, 0.0, math.log(3.0), 0.0, 1.0])
    assert float(listwise_loss(logits[:2], [2])) == pytest.approx(math.log(2))
    assert float(listwise_loss(logits, [2, 2, 1])) == pytest.approx(math.log(2) + math.log(4 / 3))
    assert float(listwise_loss(logits + 7.0, [2, 2, 1])) == pytest.approx(math.log(2) + math.log(4 / 3), rel=1e-5)
    apart = logits.clone().requires_grad_()
    listwise_loss(apart, [2, 2, 1]).backward()  # type: ignore[no-untyped-call]
    assert apart.grad is not None
    assert apart.grad.tolist() == pytest.approx([-0.5, 0.5, -0.25, 0.25, 0.0])  # softmax minus one at the answer


def test_the_teachers_margins_on_paper() -> None:
    logits, scores = torch.tensor([2.0, 1.0, -1.0, 5.0, 0.0]), torch.tensor([3.0, 0.0, 0.0, math.nan, math.nan])
    assert float(margin_mse(logits, scores, [3, 2])) == pytest.approx(((1 - 3) ** 2 + (3 - 3) ** 2) / 2)
    assert float(margin_mse(logits + 9, scores, [3, 2])) == pytest.approx(2.0)
    assert float(margin_mse(logits[3:], scores[3:], [2])) == 0.0


def test_the_bias_makes_scores_add_up_to_the_answers() -> None:
    logits = torch.tensor([9.0, 3.0, 5.0, 4.5, 8.0, 2.0])
    assert float((logits + settled_bias(logits, 2)).sigmoid().sum()) == pytest.approx(2.0, abs=1e-4)


def test_a_trainable_encoder_and_a_packed_one_give_the_same(encoder: Artifact) -> None:
    sequences, lengths = torch.arange(4, 34), [9, 9, 2, 10]
    packed, trainable = load_encoder(encoder.path), load_encoder(encoder.path, trainable=True)
    with torch.no_grad():
        torch.testing.assert_close(trainable(sequences, lengths), packed(sequences, lengths), atol=2e-6, rtol=1e-5)


def test_its_gradient_is_that_of_transformers(encoder: Artifact, tmp_path: Path) -> None:
    from genwerk.models.cross_encoder import save_cross_encoder

    torch.manual_seed(3)
    ours = new_cross_encoder(encoder.path)
    save_cross_encoder(ours, tmp_path / "saved", encoder.path)
    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    pairs, types = [[2, 9, 3, 11, 12, 3], [2, 9, 3, 20, 3]], [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]
    logits = ours.logits(torch.tensor([*pairs[0], *pairs[1]]), [6, 5], torch.tensor([*types[0], *types[1]]))
    listwise_loss(logits, [2]).backward()  # type: ignore[no-untyped-call]
    reference = torch.stack(
        [
            theirs(torch.tensor([p]), token_type_ids=torch.tensor([t])).logits[0, 0]
            for p, t in zip(pairs, types, strict=True)
        ]
    )
    torch.testing.assert_close(logits, reference, atol=1e-5, rtol=1e-4)
    torch.nn.functional.cross_entropy(reference[None], torch.tensor([0])).backward()
    same = [
        (ours.encoder.words, theirs.bert.embeddings.word_embeddings.weight),
        (ours.encoder.types, theirs.bert.embeddings.token_type_embeddings.weight),
        (ours.encoder.layers[0].qkv.weight[:32], theirs.bert.encoder.layer[0].attention.self.query.weight),
        (ours.classifier, theirs.classifier.weight),
    ]
    torch.testing.assert_close(ours.encoder.layers[0].qkv.weight.grad[:32], same[2][1].grad, atol=1e-6, rtol=1e-3)
    for place in (0, 1, 3):
        torch.testing.assert_close(same[place][0].grad, same[place][1].grad, atol=1e-6, rtol=1e-3)


def test_eight_lists_are_learned_by_heart(encoder: Artifact, lists: Artifact, tmp_path: Path) -> None:
    out, metrics = run(tmp_path / "run", encoder, lists, steps=90, batch=8, lr=4e-3)
    assert metrics["loss_last_20"] < 0.05 < metrics["loss_first"]
    reranker, found = Reranker.load(out), make_lists()
    for one in found.of("train"):
        scores = reranker.score(one.query, [found.passages[n] for n in (one.positive, *one.negatives)]).scores
        assert scores.argmax() == 0 and scores[0] > scores[1:].max() + 0.1
    rows = read_curve(out / "loss.jsonl")
    assert {"val_loss", "val_first"} <= rows[0].keys() & rows[-1].keys() and metrics["lists"] == 8


def test_the_sum_of_scores_over_development_lists_is_their_number(
    encoder: Artifact, lists: Artifact, tmp_path: Path
) -> None:
    out, _ = run(tmp_path / "run", encoder, lists, steps=20)
    reranker, found = Reranker.load(out), make_lists()
    sums = [
        reranker.score(one.query, [found.passages[n] for n in (one.positive, *one.negatives)]).scores.sum()
        for one in found.of("dev")
    ]
    assert sum(sums) == pytest.approx(len(sums), rel=1e-3)


def test_transformers_reads_what_was_trained(encoder: Artifact, lists: Artifact, tmp_path: Path) -> None:
    out, _ = run(tmp_path / "run", encoder, lists)
    theirs = transformers.BertForSequenceClassification.from_pretrained(out).eval()
    tokens, types = [2, 9, 40, 3, 11, 12, 3], [0, 0, 0, 0, 1, 1, 1]
    with torch.no_grad():
        logit = theirs(torch.tensor([tokens]), token_type_ids=torch.tensor([types])).logits[0, 0]
    ours = score_pairs(load_cross_encoder(out), [tokens], [types])[0]
    assert float(ours) == pytest.approx(float(logit.sigmoid()), abs=1e-5)


class Struck(BaseException):
    """Stands for a kill inside this process."""


def test_struck_at_any_step_it_goes_on_to_the_same_files(
    encoder: Artifact, lists: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, _ = run(tmp_path / "calm", encoder, lists)
    original = LossCurve.add
    for blow in (2, 5, 7, None):

        def strike(curve: LossCurve, row: dict[str, float], at: int | None = blow) -> None:
            original(curve, row)
            if row["step"] == at:
                raise Struck

        monkeypatch.setattr(LossCurve, "add", strike)
        try:
            found, _ = run(tmp_path / "struck", encoder, lists)
        except Struck:
            shutil.rmtree(tmp_path / "struck" / "out")
    assert hashes(found) == hashes(calm)


def test_micro_batches_change_memory_and_nothing_else(encoder: Artifact, lists: Artifact, tmp_path: Path) -> None:
    curves = [
        read_curve(run(tmp_path / str(size), encoder, lists, steps=3, micro_tokens=size)[0] / "loss.jsonl")
        for size in (1, 10_000)
    ]
    for one, other in zip(*curves, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-3)


def test_a_teacher_moves_margins_towards_its_own(encoder: Artifact, tmp_path: Path) -> None:
    taught = write(tmp_path / "taught", make_lists(scores=True))
    out, _ = run(tmp_path / "run", encoder, taught, steps=150, teacher_weight=1.0)
    reranker, found = Reranker.load(out), make_lists(scores=True)
    one = found.lists[0]
    scores = reranker.score(one.query, [found.passages[n] for n in (one.positive, *one.negatives)]).scores
    margins = [math.log(scores[0] / (1 - scores[0])) - math.log(s / (1 - s)) for s in scores[1:].tolist()]
    assert one.scores is not None
    assert margins == pytest.approx([3.0 - t for t in one.scores[1:]], abs=1.0)


def test_what_is_cut_or_left_out_is_said(encoder: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = make_lists()
    long = RankingLists(
        (*found.passages, "w1 " * 60), (*found.lists, RankingList("w1 " * 30, 0, (1,), "train", "d0"),
        RankingList("w2", 2, (11,), "train", "d2"), RankingList("w3", 3, (), "train", "d3")), found.documents,
    )  # fmt: skip
    _, metrics = run(tmp_path / "run", encoder, write(tmp_path / "long", long), steps=1)
    assert (metrics["lists"], metrics["lists_left_out"], metrics["pairs_cut"]) == (9, 2, 1)
    assert "1 of 50 pairs are longer than 40 tokens" in capsys.readouterr().err
    none = RankingLists(("a", "b"), (RankingList("x", 0, (), "train", "d0"),))
    with pytest.raises(DataError, match="no list to learn from"):
        run(tmp_path / "none", encoder, write(tmp_path / "empty", none))


def test_the_documents_it_saw_are_named(encoder: Artifact, lists: Artifact, tmp_path: Path) -> None:
    out, _ = run(tmp_path / "run", encoder, lists, steps=1, batch=2)
    seen = json.loads((out / "documents.json").read_text())
    assert len(seen["trained_on"]) == 2 and all(item["sha256"] for item in seen["trained_on"])
    assert {item["id"] for item in seen["validated_on"]} == {"d8", "d9", "d10"}


def test_timing_moves_no_weight(encoder: Artifact, lists: Artifact, tmp_path: Path) -> None:
    timed, metrics = run(tmp_path / "timed", encoder, lists, minutes=0.005)
    plain, _ = run(tmp_path / "plain", encoder, lists, steps=metrics["steps"])
    assert (timed / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
