"""Parity of the cross-encoder with transformers' BERT for classification, on random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from genwerk.core.errors import ModelError
from genwerk.models.cross_encoder import load_cross_encoder, score_pairs
from genwerk.models.weights import read_model_tensors


def save(path: Path, labels: int) -> transformers.BertForSequenceClassification:
    torch.manual_seed(5)
    config = transformers.BertConfig(
        vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=64, initializer_range=0.2, num_labels=labels,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(path)
    return model


@torch.inference_mode()
def test_scores_equal_transformers_and_do_not_depend_on_the_company(tmp_path: Path) -> None:
    theirs, ours = save(tmp_path, 1), load_cross_encoder(tmp_path)
    generator = torch.Generator().manual_seed(1)
    lengths = [3, 64, 17, 17, 17, 40, 5, 1]
    pairs = [torch.randint(0, 80, (length,), generator=generator).tolist() for length in lengths]
    types = [[0] * (length // 3) + [1] * (length - length // 3) for length in lengths]
    found = score_pairs(ours, pairs, types)
    for pair, kind, score in zip(pairs, types, found, strict=True):
        logit = theirs(torch.tensor([pair]), token_type_ids=torch.tensor([kind])).logits[0, 0]
        assert abs(float(logit.sigmoid() - score)) < 1e-5
        assert torch.equal(score_pairs(ours, [pair], [kind])[0], score)
    assert float(found.max() - found.min()) > 0.01


def test_its_weights_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    read = list[Path]()

    def watched(path: Path) -> dict[str, torch.Tensor]:
        read.append(path)
        return read_model_tensors(path)

    for module in ("cross_encoder", "encoder"):
        monkeypatch.setattr(f"genwerk.models.{module}.read_model_tensors", watched)
    load_cross_encoder(tmp_path)
    assert read == [tmp_path]


def test_what_is_no_cross_encoder_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("genwerk.models.cross_encoder.load_encoder")
    save(tmp_path, 3)
    with pytest.raises(ModelError, match="3 outputs"):
        load_cross_encoder(tmp_path)
    theirs = transformers.BertModel(transformers.BertConfig.from_pretrained(tmp_path))
    theirs.save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError, match="no classifier"):
        load_cross_encoder(tmp_path / "bare")
