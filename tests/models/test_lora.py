"""Adapters: merged = W + BA, parity with peft in both directions, switching, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from genwerk.core.errors import ModelError
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder
from genwerk.models.lora import (
    LoraConfig,
    active_adapter,
    adapter,
    adapter_parameters,
    add_adapter,
    load_adapter,
    merge_adapter,
    remove_adapter,
    save_adapter,
    use_adapter,
)

TOKENS = torch.randint(0, 97, (2, 24), generator=torch.Generator().manual_seed(4))
SETS = {
    "all": LoraConfig(rank=4, alpha=6.0),
    "two parts": LoraConfig(rank=3, alpha=3.0, targets=("q_proj", "v_proj")),
    "one side": LoraConfig(rank=5, alpha=20.0, targets=("up_proj", "down_proj")),
}


def shake(model: Decoder, name: str) -> None:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in adapter_parameters(model, name):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(params=sorted(SETS))
def config(request: pytest.FixtureRequest) -> LoraConfig:
    return SETS[request.param]


@pytest.fixture
def model(small_dir: Path) -> Decoder:
    return load_decoder(small_dir)


@torch.no_grad()
def test_merged_weight_is_w_plus_scaled_ba(model: Decoder, config: LoraConfig) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    add_adapter(model, "a", config, seed=1)
    shake(model, "a")
    expected = model(TOKENS)
    qkv = model.layers[0].self_attn.qkv
    if "v_proj" in config.targets:
        a, b = next(iter(qkv.adapters.values())).part("v_proj")
        wanted = before["layers.0.self_attn.qkv.weight"][qkv.rows["v_proj"]] + config.alpha / config.rank * (b @ a)
    merge_adapter(model, "a")
    if "v_proj" in config.targets:
        torch.testing.assert_close(qkv.weight[qkv.rows["v_proj"]], wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(model(TOKENS), expected, atol=1e-4, rtol=1e-5)
    assert model.state_dict().keys() == before.keys()


@torch.no_grad()
def test_fresh_adapter_changes_nothing_and_is_the_same_for_a_seed(model: Decoder) -> None:
    expected = model(TOKENS)
    add_adapter(model, "a", LoraConfig(), seed=7)
    add_adapter(model, "b", LoraConfig(), seed=7)
    torch.testing.assert_close(model(TOKENS), expected, atol=0, rtol=0)
    for one, other in zip(adapter_parameters(model, "a"), adapter_parameters(model, "b"), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_peft_loads_our_adapter_with_equal_logits(
    small_dir: Path, model: Decoder, config: LoraConfig, tmp_path: Path
) -> None:
    add_adapter(model, "a", config, seed=1)
    shake(model, "a")
    save_adapter(model, "a", tmp_path / "adapter", "small")
    base = transformers.AutoModelForCausalLM.from_pretrained(small_dir)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(theirs(TOKENS).logits, model(TOKENS), atol=1e-4, rtol=0)


@torch.no_grad()
def test_we_load_an_adapter_made_by_peft(small_dir: Path, model: Decoder, config: LoraConfig, tmp_path: Path) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(small_dir)
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=int(config.alpha), target_modules=list(config.targets), task_type="CAUSAL_LM"
    )
    theirs = peft.get_peft_model(base, settings).eval()
    for key, parameter in theirs.named_parameters():
        if "lora_" in key:
            parameter.copy_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "adapter")
    load_adapter(model, "theirs", tmp_path / "adapter")
    plain = model(TOKENS)
    use_adapter(model, "theirs")
    torch.testing.assert_close(model(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=0)
    assert (model(TOKENS) - plain).abs().max() > 0.1


def test_training_moves_the_adapter_only_and_answers_follow_at_once(model: Decoder) -> None:
    add_adapter(model, "a", LoraConfig(rank=4, dropout=0.1), seed=1)
    base = {key: value.clone() for key, value in model.state_dict().items() if "adapters" not in key}
    for fused in (False, True):
        optimiser = torch.optim.AdamW(adapter_parameters(model, "a"), lr=0.05, fused=fused)
        with torch.no_grad():
            before = model(TOKENS)  # keeps the spread product; it must not outlive the update
        for _ in range(2):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(TOKENS)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
            optimiser.step()
        with torch.no_grad():
            assert (model(TOKENS) - before).abs().max() > 1e-3
    assert all(torch.equal(model.state_dict()[key], value) for key, value in base.items())


@torch.no_grad()
def test_adapters_switch_and_the_base_comes_back(model: Decoder) -> None:
    plain = model(TOKENS)
    for number, name in enumerate(("keys", "b")):  # `keys` would clash with an attribute of a module dictionary
        add_adapter(model, name, SETS["all"], seed=number)
        shake(model, name)
    second = model(TOKENS)
    assert active_adapter(model) == "b"
    with adapter(model, "keys"):
        first = model(TOKENS)
    with adapter(model, None):
        assert torch.equal(model(TOKENS), plain)
    assert torch.equal(model(TOKENS), second)
    assert not torch.equal(first, second)
    remove_adapter(model, "b")
    assert torch.equal(model(TOKENS), plain)
    with pytest.raises(ModelError, match=r"no adapter `b`.*Known adapters: keys"):
        use_adapter(model, "b")


def spoil_config(path: Path, **changes: object) -> None:
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"target_modules": ["fc1"]}, "no weight named fc1"),
        ({"r": 3}, "is \\(4, 48\\), the model needs \\(3, 48\\)"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_adapter_that_does_not_fit_is_refused(
    model: Decoder, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    add_adapter(model, "a", SETS["all"], seed=1)
    save_adapter(model, "a", tmp_path, "small")
    spoil_config(tmp_path, **changes)
    with pytest.raises(ModelError, match=message):
        load_adapter(model, "b", tmp_path)
    with pytest.raises(ModelError, match="no adapter"):
        use_adapter(model, "b")  # nothing half-loaded is left behind


def test_missing_and_truncated_adapter_files_are_named(model: Decoder, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"adapter_config\.json is missing"):
        load_adapter(model, "b", tmp_path)
    add_adapter(model, "a", SETS["all"], seed=1)
    save_adapter(model, "a", tmp_path, "small")
    weights = tmp_path / "adapter_model.safetensors"
    tensors = load_file(weights)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"adapter_model.safetensors has \d+ of \d+ bytes"):
        load_adapter(model, "b", tmp_path)
    save_file({**tensors, "base_model.model.lm_head.lora_A.weight": torch.zeros(4, 48)}, weights)
    with pytest.raises(ModelError, match="no place for"):
        load_adapter(model, "b", tmp_path)


def test_names_must_be_free(model: Decoder) -> None:
    add_adapter(model, "a", SETS["all"], seed=1)
    with pytest.raises(ModelError, match="already has"):
        add_adapter(model, "a", SETS["all"], seed=1)


def test_parameters_are_counted_as_peft_counts_them(model: Decoder, small_dir: Path) -> None:
    add_adapter(model, "a", SETS["all"], seed=1)
    base = transformers.AutoModelForCausalLM.from_pretrained(small_dir)
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=list(SETS["all"].targets)))
    count = sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    assert count == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count == sum(p.numel() for p in adapter_parameters(model, "a"))
