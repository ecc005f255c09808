"""The arithmetic of int8 as PyTorch would do it: what the kernels are held against."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.layout import head_size
from genwerk.inference.native.pack import turn
from genwerk.models.decoder import Attention, Decoder
from genwerk.models.feed_forward import MLP, Experts
from genwerk.models.linear import Linear
from genwerk.models.lora import adapter_products
from genwerk.models.rope_table import rotate


def turned(rows: Tensor, sizes: tuple[int, ...] = ()) -> Tensor:
    """(T, K) -> (T, K'), as pack.py has it; `sizes`: of a head and of a head filled up, where heads are filled up."""
    if sizes:
        rows = F.pad(rows.unflatten(-1, (-1, sizes[0])), (0, sizes[1] - sizes[0])).flatten(-2)
    return turn(rows)


def whole_weight(weight: Tensor, sizes: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Whole numbers (N, K') and scales (N,) of the turned weight."""
    weight = turned(weight.detach(), sizes)
    scale = (weight.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / scale[:, None]).round(), scale


@dataclass
class Reference:
    """The same arithmetic in PyTorch; `margin` is how near any rounded activation or value of a row came to a
    half, (T,).

    tiles    attention in bfloat16, as tile registers have it; else keys and values are float16, the rest float32.
    """

    model: Decoder
    name: str | None = None
    tiles: bool = False
    margin: Tensor = field(default_factory=lambda: torch.tensor(1.0))
    _whole: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def product(self, x: Tensor, weight: Tensor, sizes: tuple[int, ...] = ()) -> Tensor:
        """x W^T with x (T, K) turned and rounded by rows. `sizes`: of a head, and of a head filled up."""
        if id(weight) not in self._whole:
            self._whole[id(weight)] = whole_weight(weight, sizes)
        whole, scale = self._whole[id(weight)]
        x = turned(x, sizes)
        step = x.abs().amax(-1, keepdim=True) / 127  # (T, 1)
        fine = torch.where(step > 0, x / step, 0)
        self.margin = torch.minimum(self.margin, ((fine.frac().abs() - 0.5).abs()).amin(-1))
        exact = fine.round().double() @ whole.double().t()  # (T, N)
        return (exact.float() * step) * scale

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
        seen = (at <= at[:, None]) & (at > at[:, None] - (config.window_of(attention.layer) or length))
        self.margin = torch.minimum(self.margin, clearness(v, 7 if self.tiles else 10)[0])
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = attend_tiles(q, k, v, seen) if self.tiles else attend(q, k, v, seen)
        return self.linear(mixed[0].transpose(0, 1).flatten(1), attention.out, sizes)

    def feed_forward(self, x: Tensor, part: MLP | Experts) -> Tensor:
        if isinstance(part, MLP):
            gate, up = self.linear(x, part.gate_up).chunk(2, -1)
            return self.linear(F.silu(gate) * up, part.down)
        shares, chosen = part.router(x).softmax(-1).topk(part.n_chosen, -1)  # not rounded
        shares = shares / shares.sum(-1, keepdim=True) if part.normalise else shares
        margin, mixed = self.margin, torch.zeros_like(x)
        for number, expert in enumerate(part.experts):
            assert isinstance(expert, MLP)
            rows, places = torch.where(chosen == number)
            if len(rows):
                self.margin = margin.expand(len(x))[rows]
                mixed[rows] += self.feed_forward(x[rows], expert) * shares[rows, places, None]
                margin = margin.expand(len(x)).clone().index_copy_(0, rows, self.margin)
        self.margin = margin
        return mixed

    @torch.no_grad()
    def logits(self, tokens: list[int]) -> Tensor:
        """(T, V) of one sequence from its beginning."""
        model, config = self.model, self.model.config
        self.margin = torch.tensor(1.0)
        whole, scale = whole_weight(model.embed_tokens)
        x = turned(whole[tokens] * scale[tokens, None])[:, : config.d_model]
        sizes = (config.head_dim, head_size(config))
        for block in model.layers:
            x = x + self.attention(block.input_layernorm(x), block.self_attn, sizes)
            x = x + self.feed_forward(block.post_attention_layernorm(x), block.mlp)
        return self.product(model.norm(x), model.embed_tokens if model.lm_head is None else model.lm_head)


def clearness(x: Tensor, bits: int) -> Tensor:
    """How near any of (..., H, D) comes to the middle between two numbers of so many bits of fraction, (...,)."""
    places = x.double() / torch.exp2(x.double().abs().clamp_min(1e-30).log2().floor() - bits)
    return ((places.frac().abs() - 0.5).abs()).amin((-1, -2)).float()


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
