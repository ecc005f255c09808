"""8-bit products are the arithmetic they claim to be: exact whole numbers in groups of 32, one scale per output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from small_models import BASE, SHAPES, all_rows, blocks_for, draw, make_native, native, random_tokens, small_model
from torch import Tensor
from torch.nn import functional as F

from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.runner import Chunk
from genwerk.models.decoder import Attention, Decoder, DecoderConfig
from genwerk.models.linear import Linear
from genwerk.models.lora import adapter, adapter_products
from genwerk.models.rope import rotate

GROUP = 32  # inputs that share a scale
NEAR = 2e-4  # an activation this close to a half may be rounded either way, as the last bit of the sums before it falls
FLIP = 0.3  # most that one activation rounded the other way changes a logit here


def whole_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (N, K) in float64 and scales (N,)."""
    scale = (weight.detach().abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight.detach() / scale[:, None]).round().double(), scale


@dataclass
class Reference:
    """The same arithmetic in PyTorch; `margin` is how near any rounded activation of a row came to a half, (T,).

    tiles    attention in bfloat16, as tile registers have it; else keys and values are float16, the rest float32.
    """

    model: Decoder
    name: str | None = None
    tiles: bool = False
    margin: Tensor = field(default_factory=lambda: torch.tensor(1.0))

    def product(self, x: Tensor, weight: Tensor, sizes: tuple[int, ...] = ()) -> Tensor:
        """x W^T with x (T, K) rounded in groups. `sizes`: of a head, and of a head filled up."""
        whole, scale = whole_weight(weight)
        x, whole = grouped(x, sizes), grouped(whole, sizes)  # (T, G, 32), (N, G, 32)
        step = x.abs().amax(-1, keepdim=True) / 127  # (T, G, 1)
        fine = torch.where(step > 0, x / step, 0)
        self.margin = torch.minimum(self.margin, ((fine.frac().abs() - 0.5).abs()).amin((-1, -2)))
        exact = torch.einsum("tgi,ngi->tng", fine.round().double(), whole)  # whole numbers below 2^53
        return (exact.float() * step.transpose(1, 2)).sum(-1) * scale

    def linear(self, x: Tensor, linear: Linear, sizes: tuple[int, ...] = ()) -> Tensor:
        y = self.product(x, linear.weight, sizes)
        if linear.bias is not None:
            y = y + linear.bias
        low_rank = None if self.name is None else adapter_products(linear, self.name)
        return y if low_rank is None else y + x @ low_rank.a.t() @ low_rank.b.t()

    def attention(self, x: Tensor, attention: Attention, sizes: tuple[int, int]) -> Tensor:
        config, length = self.model.config, x.shape[0]
        rotated = config.n_heads + config.n_kv_heads
        qkv = self.linear(x, attention.qkv).view(1, length, -1, config.head_dim)
        qk, v = qkv.split((rotated, config.n_kv_heads), 2)
        if attention.qk_norm is not None:
            rows = attention.qk_norm[attention.norm_rows]
            qk = F.rms_norm(qk, (config.head_dim,), None, config.norm_eps) * rows
        q, k = rotate(qk, *self.model.rope.rows(0, length, x)).split((config.n_heads, config.n_kv_heads), 2)
        at = torch.arange(length)
        seen = (at <= at[:, None]) & (at > at[:, None] - (config.sliding_window or length))
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = attend_tiles(q, k, v, seen) if self.tiles else attend(q, k, v, seen)
        return self.linear(mixed[0].transpose(0, 1).flatten(1), attention.out, sizes)

    @torch.no_grad()
    def logits(self, tokens: list[int]) -> Tensor:
        """(T, V) of one sequence from its beginning."""
        model, config = self.model, self.model.config
        whole, scale = whole_weight(model.embed_tokens)
        x = whole[tokens].float() * scale[tokens, None]
        size = -(-config.head_dim // 16) * 16
        sizes = (config.head_dim, size if config.n_heads * size % GROUP == 0 else -(-size // GROUP) * GROUP)
        for block in model.layers:
            x = x + self.attention(block.input_layernorm(x), block.self_attn, sizes)
            gate, up = self.linear(block.post_attention_layernorm(x), block.mlp.gate_up).chunk(2, -1)
            x = x + self.linear(F.silu(gate) * up, block.mlp.down)
        return self.product(model.norm(x), model.embed_tokens if model.lm_head is None else model.lm_head)


def in_tiles(runner: NativeDecoder) -> bool:
    return bool(runner.keys.dtype == "uint16")


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k.half().float(), v.half().float(), attn_mask=seen, enable_gqa=True)


def attend_tiles(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """What is multiplied is bfloat16, sums are not. Up to 256 keys."""
    share = q.shape[1] // k.shape[1]
    q, k, v = ((x.bfloat16().float()) for x in (q * q.shape[-1] ** -0.5, k, v))
    k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
    s = (q @ k.transpose(-1, -2)).masked_fill(~seen, -torch.inf)
    p = (s - s.amax(-1, keepdim=True)).exp()
    return p.bfloat16().float() @ v / p.sum(-1, keepdim=True)


def grouped(rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """(T, K) -> (T, G, 32), filled up with zeros; with `sizes` (of a head, padded) each head for itself."""
    if sizes:
        rows = F.pad(rows.unflatten(-1, (-1, sizes[0])), (0, sizes[1] - sizes[0])).flatten(-2)
    return F.pad(rows, (0, -rows.shape[-1] % GROUP)).unflatten(-1, (-1, GROUP))


def silent(config: DecoderConfig) -> Decoder:
    """A model whose layers add nothing: logits are one product with the norm of one row of the embeddings."""
    model = draw(config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Linear) and module.rows.keys() & {"o_proj", "down_proj"}:
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
    return model


def singles(runner: NativeDecoder, name: str | None = None) -> Iterator[tuple[int, Tensor]]:
    """Some tokens, each alone, as the first of a sequence: logits (V,)."""
    for token in range(0, 96, 4):
        yield token, runner.step([Chunk([token], 0, [0], name)])[0]


@pytest.mark.parametrize("d_model", [16, 32, 48, 100])
def test_one_matrix_is_the_reference_product(d_model: int, variant: str) -> None:
    model = silent(DecoderConfig(**BASE | {"d_model": d_model, "n_layers": 1}))
    runner = make_native(model, precision="int8", blocks=1, variant=variant, threads=1)
    clear = 0
    for token, logits in singles(runner):
        reference = Reference(model)
        expected = reference.logits([token])[0]
        if reference.margin > NEAR:
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
            clear += 1
    assert clear >= 16


@pytest.mark.parametrize("name", [None, "some"])
@pytest.mark.parametrize("shape", ["everything", "llama-biases", "qwen3", "head-48", "head-64", "odd-d_ff"])
def test_a_whole_model_is_the_reference_of_each_token(shape: str, name: str | None, variant: str) -> None:
    clear, runner = 0, native(shape, variant, precision="int8")
    for token, logits in singles(runner, name):
        reference = Reference(small_model(shape), name, in_tiles(runner))
        expected = reference.logits([token])[0]
        if reference.margin > NEAR:
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
            clear += 1
    assert clear >= 8


@pytest.mark.parametrize("shape", ["everything", "mistral", "qwen2", "head-10"])
def test_a_prompt_is_the_reference_but_for_flips_of_a_rounding(shape: str, variant: str) -> None:
    runner = native(shape, variant, precision="int8")
    tokens = random_tokens(60, runner.config.vocab_size)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(60), "all")])
    error = (rows - Reference(small_model(shape), "all", in_tiles(runner)).logits(tokens)).abs().amax(-1)  # (T,)
    assert in_tiles(runner) or error.median() < 1e-5  # in tiles more is rounded, so more flips
    assert error.max() < FLIP


def test_a_prompt_in_tile_registers_is_the_reference_but_for_flips(variant: str) -> None:
    if variant != "amx":
        pytest.skip("the others have none")
    runner = native("head-64", variant, precision="int8")
    tokens = random_tokens(250, runner.config.vocab_size)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(250), "all")])
    reference = Reference(small_model("head-64"), "all", tiles=True).logits(tokens)
    near = Reference(small_model("head-64"), "all").logits(tokens)
    error, other = ((rows - expected).abs().amax(-1) for expected in (reference, near))  # (T,)
    assert error.max() < FLIP
    assert error.mean() < 0.5 * other.mean()


def test_halves_are_rounded_to_even(variant: str) -> None:
    config = DecoderConfig(**BASE | {"d_model": 32, "n_layers": 1, "vocab_size": 32, "norm_eps": 0.0}, qkv_bias=False)
    model = silent(config)
    halves = torch.tensor([127.0, *(i + 0.5 for i in range(-16, 15))])
    with torch.no_grad():
        model.embed_tokens.copy_(127 * torch.eye(32))
        model.embed_tokens[0] = 127.0  # its norm is 1 in every place
        model.norm.weight.copy_(halves)
    logits = make_native(model, precision="int8", blocks=1, variant=variant).step([Chunk([0], 0, [0])])[0]
    assert torch.equal(logits[1:], 127 * halves.round()[1:])


def test_a_row_of_zeros_and_an_output_of_zeros_stay_zero(variant: str) -> None:
    model = silent(DecoderConfig(**BASE))
    with torch.no_grad():
        model.embed_tokens[5] = 0.0
    runner = make_native(model, precision="int8", blocks=1, variant=variant)
    assert not runner.step([Chunk([5], 0, [0])]).any()
    assert runner.step([Chunk([6], 0, [0])])[0, 5] == 0.0


@pytest.mark.parametrize("size", [1e-20, 1e-36, 1e-38, 1e-42])
def test_activations_of_almost_nothing_round_to_almost_nothing(size: float, variant: str) -> None:
    model = silent(DecoderConfig(**BASE))
    with torch.no_grad():
        model.norm.weight.mul_(size)
    logits = make_native(model, precision="int8", blocks=1, variant=variant).step([Chunk([5], 0, [0])])
    assert logits.abs().max() <= 100 * size


@pytest.mark.parametrize("shape", ["everything", "llama", "mistral"])
def test_all_instruction_sets_agree(shape: str, variant: str) -> None:
    runner, portable = (native(shape, one, precision="int8") for one in (variant, "portable"))
    if in_tiles(runner):
        pytest.skip("tile registers round more")
    clear = 0
    for (token, actual), (_, expected) in zip(singles(runner), singles(portable), strict=True):
        reference = Reference(small_model(shape))
        reference.logits([token])
        if reference.margin > NEAR:
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
            clear += 1
    assert clear >= 8


@pytest.mark.parametrize("name", [None, "all"])
@pytest.mark.parametrize("shape", SHAPES)
def test_8_bits_stay_near_float32(shape: str, name: str | None) -> None:
    model = small_model(shape)
    tokens = random_tokens(50, model.config.vocab_size)
    (rows,) = all_rows(native(shape, precision="int8"), [Chunk(tokens, 0, [0, 1], name)])
    with torch.inference_mode(), adapter(model, name):
        expected = model(torch.tensor([tokens]))[0]
    error = (rows - expected).square().mean().sqrt() / expected.std()
    assert error < 0.08
