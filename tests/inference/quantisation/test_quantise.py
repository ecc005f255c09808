"""The whole step on a tiny model: what is written is what was measured, is served as it is, or is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from small_models import BASE, draw, random_tokens

from genwerk.core.errors import ModelError
from genwerk.core.types import Document, Sampling
from genwerk.core.workspace import Artifact, Source, Workspace
from genwerk.data.documents import write_documents
from genwerk.inference.engine import Engine
from genwerk.inference.native.layout import TURNED
from genwerk.inference.native.pack import widest_grid
from genwerk.inference.native.packed_decoder import matrices, pack_decoder, unpack_decoder
from genwerk.inference.quantisation.config import BOUNDS, QuantiseConfig
from genwerk.inference.quantisation.gptq import Rounded, gptq, round_nearest
from genwerk.inference.quantisation.quantise import calibrate, quantise
from genwerk.metrics.divergence import kl_divergence
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.huggingface import load_decoder, save_decoder
from genwerk.models.lora import load_adapter, merge_adapter
from genwerk.tokenizers.tokenizer import Tokenizer

LOOSE = {"most_kl": 50.0, "most_rise": 1e9, "length": 64, "windows": 12, "check_length": 64, "check_windows": 4}


def config(**changes: Any) -> QuantiseConfig:
    return QuantiseConfig.parse(LOOSE | changes)


@pytest.fixture
def tiny_model() -> Decoder:
    """All sizes multiples of 64, as people's are: else int8's turned weights do not survive being turned back."""
    torch.manual_seed(0)
    sizes = {"d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "d_ff": 128}
    decoder = Decoder(DecoderConfig(vocab_size=258, max_positions=1024, **sizes)).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    return decoder


@pytest.fixture
def model(tiny_model: Decoder, byte_tokenizer: Tokenizer, tmp_path: Path) -> Source:
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            parameter *= 0.25 if parameter.ndim > 1 else 1  # calmer than the fixture, so that rounding is what counts
    folder = tmp_path / "model"
    save_decoder(tiny_model, folder)
    (folder / "tokenizer.json").write_text(byte_tokenizer.to_json())
    settings = {"eos_token": "<|end|>", "bos_token": "<|start|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Source.of_folder("tiny", folder)


@pytest.fixture
def dataset(tmp_path: Path) -> Source:
    folder = tmp_path / "dataset"
    folder.mkdir()
    splits = {"for": "train", "while": "train", "with": "train", "try": "heldout"}
    documents = [
        Document.create(f"{name}.txt", topics[name], metadata={"split": split}) for name, split in splits.items()
    ]
    write_documents(folder, documents)
    return Source.of_folder("dataset", folder)


def report(artifact: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((artifact.path / "report.json").read_text())
    return found


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("smooth", [None, 0.5])
def test_the_artifact_is_served_as_it_was_measured(
    model: Source, dataset: Source, tmp_path: Path, precision: str, smooth: float | None
) -> None:
    made = Workspace(tmp_path / "w").step(quantise, config(precision=precision, smooth=smooth), model, dataset)
    exact, plain, calibrated = report(made)["losses"]
    assert exact["kl"] == 0 and calibrated["kl"] < plain["kl"]
    rows = report(made)["matrices"]
    assert len(rows) == 8
    assert sum(row["calibrated"] for row in rows) < sum(row["nearest"] for row in rows)
    documents = json.loads((made.path / "documents.json").read_text())
    assert len(documents["calibrated_on"]) >= 2 and len(documents["measured_on"]) == 1
    assert documents["measured_on"][0] not in documents["calibrated_on"]
    engine = Engine.load(made.path, precision=precision)
    assert engine.runner.precision == precision
    tokens = engine.tokenizer.encode("The for statement is used to iterate.")
    with torch.no_grad():
        wanted = load_decoder(model.path)(torch.tensor([tokens]))[0]
    assert float(kl_divergence(wanted, torch.from_numpy(engine.logits(tokens))).mean()) < 4 * calibrated["kl"] + 1e-4
    assert "".join(delta.text for delta in engine.stream_text("for", Sampling(max_tokens=4))) is not None
    assert made.metrics["kl_calibrated"] == calibrated["kl"]


def test_the_same_inputs_give_the_same_bytes(model: Source, dataset: Source, tmp_path: Path) -> None:
    first, second = (Workspace(tmp_path / name).step(quantise, config(), model, dataset) for name in "ab")
    assert first.files == second.files


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_killed_and_resumed_is_never_killed(
    model: Source, dataset: Source, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = Workspace(tmp_path / "calm").step(quantise, config(precision=precision), model, dataset)
    calls = iter(range(100))

    def killed_in_the_second_layer(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return gptq(*arguments, **options)

    workspace = Workspace(tmp_path / "killed")
    monkeypatch.setattr("genwerk.inference.quantisation.quantise.gptq", killed_in_the_second_layer)
    with pytest.raises(KeyboardInterrupt):
        workspace.step(quantise, config(precision=precision), model, dataset)
    again = workspace.step(quantise, config(precision=precision), model, dataset)
    assert next(calls) == 10  # four matrices and one more, then only the second layer's four
    assert again.files == calm.files


def test_an_adapter_is_merged_first(model: Source, dataset: Source, adapter_path: Path, tmp_path: Path) -> None:
    adapter = Source.of_folder("adapter", adapter_path)
    made = Workspace(tmp_path / "w").step(quantise, config(precision="int8"), model, dataset, adapter)
    merged, base = load_decoder(model.path), load_decoder(model.path)
    load_adapter(merged, "drawn", adapter_path)
    merge_adapter(merged, "drawn")
    engine = Engine.load(made.path, precision="int8")
    tokens = engine.tokenizer.encode("while the condition is true")
    served = torch.from_numpy(engine.logits(tokens))
    with torch.no_grad():
        near, far = (kl_divergence(one(torch.tensor([tokens]))[0], served).mean() for one in (merged, base))
    assert near < 0.1 * far


def test_beyond_its_bound_it_is_refused_with_both_figures(model: Source, dataset: Source, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    with pytest.raises(ModelError, match=r"calibrated is .* at most 1e-09 .* to nearest has") as refused:
        workspace.step(quantise, config(most_kl=1e-9), model, dataset)
    assert "windows" in refused.value.remedy
    assert not workspace.artifacts()


def test_without_a_word_the_bounds_are_those_of_the_precision() -> None:
    assert QuantiseConfig().bounds == BOUNDS["int4"] and BOUNDS["int4"].kl == 0.06
    assert QuantiseConfig(precision="int8").bounds.kl == 0.008
    assert QuantiseConfig(most_kl=0.5).bounds.kl == 0.5


def test_without_gptq_each_weight_is_rounded_by_itself(model: Source) -> None:
    """Then only the grid is fitted, and no weight moves further than a step of it."""
    decoder = load_decoder(model.path)
    before = decoder.layers[0].mlp.down.weight.detach().clone()
    found = calibrate(decoder, [list(range(60))] * 4, config(gptq=False, smooth=None))
    grid = found.grids["0.down"]
    moved = (decoder.layers[0].mlp.down.weight.detach() - before).abs()
    assert moved.max() <= 3 * grid.scale.max()
    assert all(row["calibrated"] <= row["nearest"] for row in found.rows)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_calibrated_weights_never_lose_more_than_the_nearest(precision: str) -> None:
    """Even where inputs are no multiple of what is turned together."""
    decoder = draw(DecoderConfig(**BASE))
    assert decoder.config.d_model % TURNED and decoder.config.d_ff % TURNED
    windows = [random_tokens(60, 97, seed) for seed in range(4)]
    found = calibrate(decoder, windows, config(precision=precision, smooth=None))
    assert all(row["calibrated"] <= row["nearest"] for row in found.rows)
    assert any(row["calibrated"] < row["nearest"] for row in found.rows)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_where_the_nearest_values_are_kept_later_layers_see_them_too(
    model: Source, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(weight: torch.Tensor, gram: torch.Tensor, precision: str, **_: Any) -> Rounded:
        grid = widest_grid(weight, precision)
        return round_nearest(weight, grid._replace(scale=3 * grid.scale))

    monkeypatch.setattr("genwerk.inference.quantisation.quantise.gptq", worse)
    decoder = load_decoder(model.path)
    plain = unpack_decoder(pack_decoder(decoder, precision))
    found = calibrate(decoder, [list(range(60))] * 4, config(precision=precision, smooth=None))
    assert all(row["calibrated"] == row["nearest"] for row in found.rows)
    served = unpack_decoder(pack_decoder(decoder, precision, found.grids))
    for layer, block in enumerate(decoder.layers):
        for name, linear in matrices(block).items():
            assert torch.equal(linear.weight, matrices(plain.layers[layer])[name].weight)
            torch.testing.assert_close(matrices(served.layers[layer])[name].weight, linear.weight)


def test_a_mixture_of_experts_is_refused_by_name(dataset: Source, model: Source, tmp_path: Path) -> None:
    dense = load_decoder(model.path).config
    save_decoder(Decoder(replace(dense, n_experts=3, n_experts_per_token=2, architecture="mixtral")), model.path)
    with pytest.raises(ModelError, match="experts are not calibrated"):
        Workspace(tmp_path / "workspace").step(quantise, config(), model, dataset)
