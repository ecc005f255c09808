"""Parity with transformers: same weights, same logits, same greedy tokens; and directories read in both directions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder, save_decoder
from genwerk.models.kv_cache import KVCache

Build = Callable[[str], transformers.PreTrainedModel]


def greedy(model: Decoder, prompt: torch.Tensor, count: int) -> list[int]:
    cache = KVCache(model.config, prompt.shape[1] + count)
    tokens, step = [], prompt
    for _ in range(count):
        best = int(model.logits(model.hidden(step, cache=cache)[:, -1]).argmax())
        tokens.append(best)
        step = torch.tensor([[best]])
    return tokens


@torch.inference_mode()
def test_logits_equal_transformers(shape: str, reference: Build, tmp_path: Path) -> None:
    theirs = reference(shape)
    theirs.save_pretrained(tmp_path)
    ours = load_decoder(tmp_path)
    tokens = torch.randint(0, 97, (2, 90), generator=torch.Generator().manual_seed(0))
    expected = theirs(tokens).logits
    assert expected.std() > 0.5  # weights large enough that an error would show
    torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_greedy_tokens_with_a_cache_equal_transformers(shape: str, reference: Build, tmp_path: Path) -> None:
    theirs = reference(shape)
    theirs.save_pretrained(tmp_path)
    ours = load_decoder(tmp_path)
    prompt = torch.randint(0, 97, (1, 13), generator=torch.Generator().manual_seed(1))
    expected = theirs.generate(prompt, max_new_tokens=40, do_sample=False, pad_token_id=0)[0, 13:].tolist()
    assert greedy(ours, prompt, 40) == expected


@torch.inference_mode()
def test_a_directory_written_by_us_loads_in_transformers(shape: str, reference: Build, tmp_path: Path) -> None:
    reference(shape).save_pretrained(tmp_path / "theirs")
    ours = load_decoder(tmp_path / "theirs")
    save_decoder(ours, tmp_path / "ours")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    tokens = torch.randint(0, 97, (1, 70), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(again(tokens).logits, ours(tokens), atol=1e-4, rtol=0)
    torch.testing.assert_close(load_decoder(tmp_path / "ours")(tokens), ours(tokens), atol=0, rtol=0)


def test_gradients_equal_transformers(reference: Build, tmp_path: Path) -> None:
    theirs = reference("qwen3")
    theirs.save_pretrained(tmp_path)
    ours = load_decoder(tmp_path).train()
    tokens = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(3))
    theirs(tokens, labels=tokens).loss.backward()
    logits = ours(tokens)[:, :-1]
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    attention = theirs.model.layers[1].self_attn
    expected = torch.cat([part.weight.grad for part in (attention.q_proj, attention.k_proj, attention.v_proj)])
    torch.testing.assert_close(ours.layers[1].self_attn.qkv.weight.grad, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.embed_tokens.grad, theirs.model.embed_tokens.weight.grad, atol=1e-5, rtol=1e-4)
