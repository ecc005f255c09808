"""Pretraining: a golden curve, accumulation, what is written, and the clear refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_runs import PRETRAIN, Inputs, make_step, run_pretrain

from genwerk.core.errors import DataError, TrainingError
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder
from genwerk.tokenizers.tokenizer import Tokenizer
from genwerk.training import pretrain as pretraining
from genwerk.training.curve import read_curve
from genwerk.training.pretrain import PretrainConfig, pretrain
from genwerk.training.validation import HeldOutWindows

GOLDEN = Path(__file__).parent / "golden" / "pretrain.json"


@pytest.fixture(scope="module")
def trained(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return run_pretrain(inputs, tmp_path_factory.mktemp("trained"))


def test_the_curve_is_the_golden_one(trained: Path) -> None:
    rows = read_curve(trained / "loss.jsonl")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert [row["step"] for row in rows] == [row["step"] for row in golden]
    for row, wanted in zip(rows, golden, strict=True):
        assert row.keys() == wanted.keys()
        assert list(row.values()) == pytest.approx(list(wanted.values()), abs=1e-4, rel=1e-4)


def test_it_learns(trained: Path) -> None:
    rows = read_curve(trained / "loss.jsonl")
    values = [row["val_bits_per_byte"] for row in rows if "val_bits_per_byte" in row]
    assert rows[1]["loss"] == pytest.approx(math.log(400), abs=0.1)
    assert values[-1] < 0.7 * values[0]


def test_the_folder_is_a_model_that_scores_what_the_curve_says(trained: Path, inputs: Inputs) -> None:
    model = load_decoder(trained)
    ids = Tokenizer.load(trained).encode("The lantern of Bergen")
    assert model(torch.tensor([ids])).shape == (1, len(ids), 400)
    shards = pretraining.Shards.open(inputs.tokens.path, PretrainConfig(**PRETRAIN))
    last = read_curve(trained / "loss.jsonl")[-1]["val_bits_per_byte"]
    assert shards.held_out.bits_per_byte(model).value == pytest.approx(last, rel=1e-5)


def test_the_documents_it_saw_are_named(trained: Path, inputs: Inputs) -> None:
    seen = json.loads((trained / "documents.json").read_text(encoding="utf-8"))
    assert len(seen["trained_on"]) == 9 and len(seen["validated_on"]) == 3
    lines = [json.loads(line) for line in (inputs.dataset.path / "documents.jsonl").read_text().splitlines()]
    sha256 = {line["id"]: line["sha256"] for line in lines}
    assert all(sha256[item["id"]] == item["sha256"] for item in seen["trained_on"] + seen["validated_on"])


def test_bytes_of_tokens_add_up_to_the_bytes_of_the_text(inputs: Inputs) -> None:
    meta = json.loads((inputs.tokens.path / "meta.json").read_text(encoding="utf-8"))
    sizes = np.load(inputs.tokens.path / "token_bytes.npy")
    for split in ("train", "heldout"):
        tokens = pretraining.TokenDataset(inputs.tokens.path / f"{split}.bin").tokens
        assert int(sizes[tokens].sum()) == meta[f"{split}_bytes"]


def test_accumulation_changes_memory_and_nothing_else(inputs: Inputs, tmp_path: Path) -> None:
    curves = [
        read_curve(run_pretrain(inputs, tmp_path / str(parts), steps=6, accumulation=parts) / "loss.jsonl")
        for parts in (1, 4)
    ]
    for one, four in zip(*curves, strict=True):
        assert list(one.values()) == pytest.approx(list(four.values()), rel=1e-4)


def test_fewer_tokens_than_one_batch_are_refused(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tokens to train on, fewer than one batch.*Add documents"):
        run_pretrain(inputs, tmp_path, batch_tokens=8192)


def test_a_batch_smaller_than_one_window_is_refused() -> None:
    with pytest.raises(ValidationError, match="holds 0 windows"):
        PretrainConfig(batch_tokens=64, context=128)


def test_a_loss_that_is_no_number_names_the_step(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"at step [0-9]+, with learning rate .*Lower `lr`"):
        run_pretrain(inputs, tmp_path, lr=1e30, warmup=0, clip=0.0, eval_every=100)


def test_without_held_out_documents_there_is_a_curve_but_no_validation(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(tokens: np.ndarray, *rest: object) -> HeldOutWindows:
        return HeldOutWindows(tokens[:0], np.ones(400, np.uint16), 32)

    monkeypatch.setattr(pretraining, "HeldOutWindows", nothing)
    rows = read_curve(run_pretrain(inputs, tmp_path, steps=2) / "loss.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert "No document is held out" in capsys.readouterr().err


def test_minutes_are_kept_as_a_number_of_steps(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[Decoder] = []
    original = pretraining._Run.probe

    def probe(run: pretraining._Run) -> float:
        before = [parameter.clone() for parameter in run.model.parameters()]
        original(run)
        assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
        probed.append(run.model)
        return 6.0

    monkeypatch.setattr(pretraining._Run, "probe", probe)
    step = make_step(tmp_path / "timed")
    metrics = pretrain(PretrainConfig(**PRETRAIN | {"minutes": 0.4}), step, inputs.tokens, inputs.tokenizer)
    assert metrics["steps"] == 4 and "0.4 minutes" in str(metrics["steps_reason"])
    assert len(probed) == 1
    plain = run_pretrain(inputs, tmp_path / "plain", steps=4)
    assert (plain / "loss.jsonl").read_bytes() == (step.out / "loss.jsonl").read_bytes()
