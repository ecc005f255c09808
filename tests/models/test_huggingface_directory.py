"""Directories that are sharded, 16-bit, incomplete or damaged: read, or refused with the file's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from genwerk.core.errors import GenwerkError, ModelError
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.hf_config import config_from_hf, config_to_hf
from genwerk.models.huggingface import load_decoder, save_decoder
from genwerk.models.rope import RopeScaling

TOKENS = torch.randint(0, 97, (1, 20), generator=torch.Generator().manual_seed(4))


def change_config(path: Path, **changes: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@torch.inference_mode()
def test_sharded_weights_are_read(small_dir: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(small_dir)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="60KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    assert torch.equal(load_decoder(tmp_path / "sharded")(TOKENS), load_decoder(small_dir)(TOKENS))
    next((tmp_path / "sharded").glob("model-00002*")).unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-\d+\.safetensors is missing"):
        load_decoder(tmp_path / "sharded")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_weights_are_widened_without_loss(small_dir: Path, dtype: torch.dtype) -> None:
    file = small_dir / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    model = load_decoder(small_dir)
    assert model.dtype == torch.float32
    assert torch.equal(model.embed_tokens, tensors["model.embed_tokens.weight"].float())


def test_weights_come_in_the_asked_precision(small_dir: Path) -> None:
    model = load_decoder(small_dir, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    with torch.inference_mode():
        assert (model(TOKENS) - load_decoder(small_dir)(TOKENS)).abs().max() < 0.3


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_weights_are_refused_wherever_they_end(small_dir: Path, share: float) -> None:
    file = small_dir / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    try:
        with pytest.raises(ModelError, match=r"model\.safetensors.*fetch it again"):
            load_decoder(small_dir)
    finally:
        file.write_bytes(whole)


def test_missing_files_are_named(small_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_decoder(tmp_path / "nowhere")
    (small_dir / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        load_decoder(small_dir)


def test_wrong_missing_and_surplus_weights_are_named(small_dir: Path) -> None:
    file = small_dir / "model.safetensors"
    tensors = load_file(file)
    change_config(small_dir, intermediate_size=64)
    with pytest.raises(ModelError, match=r"gate_proj\.weight is \(80, 48\), config\.json asks for \(64, 48\)"):
        load_decoder(small_dir)
    change_config(small_dir, intermediate_size=80)
    save_file({**tensors, "model.layers.0.adaptive.weight": torch.zeros(2)}, file)
    with pytest.raises(ModelError, match="adaptive"):
        load_decoder(small_dir)
    del tensors["model.norm.weight"]
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"model\.norm\.weight is missing"):
        load_decoder(small_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt_neox"}, "gpt_neox"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope.*middle of a text"),
        ({"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e4}}, "proportional.*linear, dynamic, yarn"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "linear.*wrong value: 'factor'"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial rotary"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"num_attention_heads": 5}, "5 query heads"),
        ({"vocab_size": "many"}, "wrong value"),
    ],
)
def test_what_the_network_cannot_do_is_refused(small_dir: Path, changes: dict[str, Any], message: str) -> None:
    change_config(small_dir, **changes)
    with pytest.raises(ModelError, match=message):
        load_decoder(small_dir)


def test_config_json_that_is_no_json_is_named(small_dir: Path) -> None:
    (small_dir / "config.json").write_text('{"model_type": "llama", ')
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_decoder(small_dir)


CONFIG = {
    "vocab_size": 90, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "d_ff": 48,
    "max_positions": 128,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        DecoderConfig(**CONFIG),
        DecoderConfig(**CONFIG, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 64), rope_theta=5e5),
        DecoderConfig(**CONFIG, rope_scaling=RopeScaling("dynamic", 8.0)),
        DecoderConfig(
            **CONFIG,
            rope_scaling=RopeScaling(
                "yarn",
                2.0,
                original_max_positions=64,
                attention_factor=1.5,
                beta_fast=9.0,
                beta_slow=3.0,
                truncate=False,
            ),
        ),
        DecoderConfig(**CONFIG, architecture="qwen2", qkv_bias=True, tie_embeddings=False),
        DecoderConfig(**CONFIG, architecture="qwen3", qk_norm=True, sliding_window=16),
        DecoderConfig(**CONFIG, architecture="qwen3", qk_norm=True, sliding_window=16, full_layers=(0,)),
        DecoderConfig(**CONFIG, architecture="qwen2", qkv_bias=True, sliding_window=16, full_layers=(1,)),
        DecoderConfig(**CONFIG, architecture="mistral", sliding_window=16),
    ],
)
def test_config_survives_the_round_trip(config: DecoderConfig) -> None:
    assert config_from_hf(json.loads(json.dumps(config_to_hf(config)))) == config


def test_a_mix_no_family_has_is_not_written_under_a_wrong_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mix of switches"):
        save_decoder(Decoder(DecoderConfig(**CONFIG, qk_norm=True, architecture="llama")), tmp_path)
    with pytest.raises(ModelError, match="mix of switches"):
        save_decoder(Decoder(DecoderConfig(**CONFIG, sliding_window=16, sinks=4, architecture="mistral")), tmp_path)


def test_saving_twice_writes_the_same_bytes_and_a_full_disk_leaves_the_old(
    small_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_decoder(small_dir)
    save_decoder(model, tmp_path / "a")
    save_decoder(model, tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genwerk.models.weights.save_file", full)
    before = (tmp_path / "a" / "model.safetensors").read_bytes()
    with pytest.raises(GenwerkError, match="disk is full"):
        save_decoder(model, tmp_path / "a")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == before
    assert not list((tmp_path / "a").glob(".*"))


def test_yarn_counts_where_the_config_says_the_length_before_it(small_dir: Path) -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 512}
    change_config(small_dir, rope_parameters=yarn)
    model = load_decoder(small_dir)
    assert model.config.max_positions == 4 * 512
    save_decoder(model, small_dir.parent / "again")
    assert load_decoder(small_dir.parent / "again").config == model.config
    change_config(small_dir, max_position_embeddings=1500)
    assert load_decoder(small_dir).config.max_positions == 1500
