"""GGUF files: small ones written with the reference library, damaged ones, and SmolLM2 beside transformers."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genwerk.core.errors import ModelError
from genwerk.core.types import Message
from genwerk.models.gguf import convert_gguf
from genwerk.models.gguf_file import NO_FLOATS, GGUFFile
from genwerk.models.huggingface import load_decoder
from genwerk.models.kv_cache import KVCache
from genwerk.tokenizers.byte_alphabet import LETTER_OF_BYTE
from genwerk.tokenizers.tokenizer import Tokenizer

LETTERS = [LETTER_OF_BYTE[byte] for byte in range(256)]
VOCABULARY = ["<|end|>", *LETTERS, "th", "the", "<tool>"]  # 260 tokens
SETTINGS: dict[str, Any] = {
    "vocab_size": 260, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2, "rms_norm_eps": 1e-5,
    "eos_token_id": 0, "bos_token_id": 0,
}  # fmt: skip
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def gguf_name(name: str) -> str:
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        stem, _, suffix = rest.rpartition(".")
        return f"blk.{layer}.{NAMES[stem]}.{suffix}"
    return {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }[name]


def interleave(values: np.ndarray, n_heads: int) -> np.ndarray:
    """The order llama files have: what llama.cpp's converter does to q and k."""
    return values.reshape(n_heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def write_gguf(
    path: Path, model: transformers.PreTrainedModel, kind: str, quantisation: str = "F32", pre: str = "smollm"
) -> None:
    config, writer = model.config, gguf.GGUFWriter(path, kind)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if kind == "qwen3":
        writer.add_key_length(config.head_dim)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([3, *[1] * 258, 4])
    writer.add_token_merges(["t h", "th e"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}")
    type_ = gguf.GGMLQuantizationType[quantisation]
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            values = interleave(values, config.num_attention_heads if "q_proj" in name else config.num_key_value_heads)
        if values.ndim == 2 and quantisation != "F32":
            writer.add_tensor(gguf_name(name), gguf.quantize(values, type_), raw_dtype=type_)
        else:
            writer.add_tensor(gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def build(kind: str, **changes: Any) -> transformers.PreTrainedModel:
    torch.manual_seed(2)
    config = getattr(transformers, f"{kind}Config")(**SETTINGS | changes)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Llama", {"tie_word_embeddings": True}),
        ("Llama", {"tie_word_embeddings": False}),
        ("Qwen2", {"tie_word_embeddings": True}),
        ("Qwen3", {"tie_word_embeddings": False, "head_dim": 32}),
    ],
)
@torch.inference_mode()
def test_unquantised_file_gives_equal_logits(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = build(kind, **changes)
    write_gguf(tmp_path / "m.gguf", theirs, kind.lower(), pre="smollm" if kind == "Llama" else "qwen2")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "out")
    tokens = torch.randint(0, 260, (1, 30), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(load_decoder(tmp_path / "out")(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(again(tokens).logits, theirs(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("quantisation", ["F16", "BF16", "Q8_0", "Q5_1", "Q4_1", "Q4_0"])
def test_quantised_tensors_equal_the_reference(quantisation: str, tmp_path: Path) -> None:
    model = build("Llama", tie_word_embeddings=True)
    write_gguf(tmp_path / "m.gguf", model, "llama", quantisation)
    reader, ours = gguf.GGUFReader(tmp_path / "m.gguf"), GGUFFile(tmp_path / "m.gguf")
    assert {tensor.name for tensor in reader.tensors} == set(ours.tensors)
    for tensor in reader.tensors:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.tensor(tensor.name), expected.astype(np.float32))


def test_metadata_equals_the_reference_reader(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", build("Llama"), "llama")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    expected = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert GGUFFile(tmp_path / "m.gguf").metadata == expected


def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", build("Llama"), "llama")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "out")
    tokenizer = Tokenizer.load(tmp_path / "out")
    assert tokenizer.eos_ids == {0}
    assert tokenizer.special_ids == {0}
    assert tokenizer.encode("the<tool>") == [258, 259]
    assert tokenizer.apply_chat_template([Message("user", "hi")]) == "hi<|end|>"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_file_is_refused_wherever_it_ends(share: float, tmp_path: Path) -> None:
    whole_file, cut_file = tmp_path / "m.gguf", tmp_path / "cut.gguf"
    if not whole_file.exists():
        write_gguf(whole_file, build("Llama"), "llama")
    whole = whole_file.read_bytes()
    end = max(tensor.start + tensor.size for tensor in GGUFFile(whole_file).tensors.values())  # padding may be cut
    cut_file.write_bytes(whole[: int(end * share)])
    with pytest.raises(ModelError, match=r"cut\.gguf"):
        convert_gguf(cut_file, tmp_path / "out")


def test_other_files_and_missing_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such GGUF file"):
        convert_gguf(tmp_path / "none.gguf", tmp_path / "out")
    (tmp_path / "pdf.gguf").write_bytes(b"%PDF-1.4" + bytes(100))
    with pytest.raises(ModelError, match="no GGUF file"):
        convert_gguf(tmp_path / "pdf.gguf", tmp_path / "out")
    (tmp_path / "old.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(ModelError, match="version 1 is not supported"):
        convert_gguf(tmp_path / "old.gguf", tmp_path / "out")


def test_types_without_floats_are_those_that_the_package_cannot_turn_into_any() -> None:
    """The package has a class for each type that it reads, named as the type; F32 and F16 need none."""
    read = [kind for kind in gguf.GGML_QUANT_SIZES if kind.name in ("F32", "F16") or hasattr(gguf.quants, kind.name)]
    assert {kind.name for kind in gguf.GGML_QUANT_SIZES if kind not in read} == NO_FLOATS
    for kind in read:
        assert gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind).size


@pytest.mark.parametrize("quantisation", ["Q8_1", "Q8_K", "I8", "F64"])
def test_a_type_that_nobody_turns_into_floats_is_named_with_those_that_are(quantisation: str, tmp_path: Path) -> None:
    type_, writer = gguf.GGMLQuantizationType[quantisation], gguf.GGUFWriter(tmp_path / "odd.gguf", "llama")
    writer.add_tensor("odd", np.zeros((2, gguf.GGML_QUANT_SIZES[type_][1]), np.uint8), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=rf"tensor odd of type {quantisation} cannot be read") as caught:
        GGUFFile(tmp_path / "odd.gguf").tensor("odd")
    assert "Q4" in caught.value.remedy


def test_unknown_architecture_and_tokenizer_are_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", build("Llama"), "gemma3")
    with pytest.raises(ModelError, match="architecture 'gemma3'"):
        convert_gguf(tmp_path / "a.gguf", tmp_path / "out")
    write_gguf(tmp_path / "b.gguf", build("Llama"), "llama", pre="tekken")
    with pytest.raises(ModelError, match="rule 'tekken'"):
        convert_gguf(tmp_path / "b.gguf", tmp_path / "out")


PROMPTS = ["What is the capital of France?", "Write a haiku about a lighthouse."]
TEXTS = [
    "In 2024 there were 365 + 1 days, or 8.784 hours.",
    "Größe: 12.345 € – „Straße“, Übermut & naïve café",
    "🙂👩‍👩‍👧 漢字 العربية",
    "def f(x):\n    return x ** 2  # tab:\t\n\n\n",
    "  leading,   inner and trailing   ",
    "<|im_start|>user\nhi<|im_end|> it's we'll I'M",
]


@pytest.mark.slow
def test_smollm2_speaks_as_in_transformers(smollm2_gguf: Path, tmp_path: Path) -> None:
    """transformers reads the same GGUF file (a minute and a half), then both continue the same chats greedily."""
    started = time.perf_counter()
    convert_gguf(smollm2_gguf, tmp_path)
    print(f"\nSmolLM2-135M converted in {time.perf_counter() - started:.1f} s")
    ours, tokenizer = load_decoder(tmp_path), Tokenizer.load(tmp_path)
    where = {"pretrained_model_name_or_path": smollm2_gguf.parent, "gguf_file": smollm2_gguf.name}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    for text in TEXTS:
        assert tokenizer.encode(text) == their_tokenizer(text)["input_ids"]
        assert tokenizer.decode(tokenizer.encode(text), skip_special=False) == text
    for prompt in PROMPTS:
        chat = [{"role": "user", "content": prompt}]
        text = their_tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = tokenizer.encode_chat([Message("user", prompt)])
        assert tokenizer.decode(ids, skip_special=False) == text
        expected = theirs.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :].tolist()
        cache, step = KVCache(ours.config, len(ids) + 24), torch.tensor([ids])
        with torch.inference_mode():
            for token in expected:
                best = int(ours.logits(ours.hidden(step, cache=cache)[:, -1]).argmax())
                assert best == token
                step = torch.tensor([[best]])
