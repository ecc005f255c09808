"""The arithmetic of int8 bit for bit as the kernels do it, in PyTorch: the same sums in the same order.

    fma(a, b, c)   a b + c rounded once: GCC contracts every product that is added to something
    sums           sixteen lanes, each in its order, then folded in halves (vector.h)
    products       of whole numbers, exact whatever their order
    tiles          of 32 pairs of bfloat16: even ones and odd ones each in their order, then both, then what was there

All rows of a prompt are taken at once; no number of a row depends on another row but through keys and values.

Left out: adapters, experts, sinks, and the variant `portable`, which has no fused product and sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from quantised_reference import turned, whole_weight
from torch import Tensor
from torch.nn import functional as F

from genwerk.inference.native.layout import PANEL, head_size
from genwerk.models.decoder import Attention, Block, Decoder
from genwerk.models.feed_forward import MLP
from genwerk.models.linear import Linear

LANES, STRIP = 16, 256  # lanes of a vector; keys whose scores share a largest one in tile registers
_EXACT_INPUTS = 1024  # products of two bytes that float32 adds up without rounding: 1024 · 127² < 2^24


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a b + c of float32, rounded once. The product is exact in float64; where its sum with c was rounded to the middle
    between two numbers of float32, it is first put back to the side it came from."""
    product, added = a.double() * b.double(), c.double()
    total = product + added
    middle = (total.view(torch.int64) & 0x1FFFFFFF) == 0x10000000
    if middle.any():
        left, right, rounded = (part.expand_as(total)[middle] for part in (product, added, total))
        part = rounded - left
        error = (left - (rounded - part)) + (right - part)
        side = torch.where(error > 0, torch.inf, -torch.inf).double()
        total[middle] = torch.where(error == 0, rounded, torch.nextafter(rounded, side))
    return total.float()


def exponential(x: Tensor) -> Tensor:
    """e^x as vector.h has it."""

    def number(value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float32)

    bounded = x.clamp(-87.0, 88.0)
    n = (bounded.double() * number(1.44269504088896341).double()).round().float()
    r = fma(-n, number(0.693359375), bounded)
    r = fma(n, number(2.12194440e-4), r)
    p = number(1.9875691500e-4)
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = fma(p, r, number(coefficient))
    p = fma(p, r * r, r) + 1.0
    return torch.where(x < -87.0, 0.0, torch.ldexp(p, n))


def folded(lanes: Tensor) -> Tensor:
    """(..., 16) -> (..., 1), added up in halves."""
    while lanes.shape[-1] > 1:
        left, right = lanes.chunk(2, -1)
        lanes = left + right
    return lanes


def normalised(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) * weight over the last axis."""
    squares = torch.zeros(*x.shape[:-1], LANES)
    for part in F.pad(x, (0, -x.shape[-1] % LANES)).split(LANES, -1):
        squares = fma(part, part, squares)
    mean = folded(squares) / x.shape[-1]
    inverse = 1.0 / (mean + eps).double().sqrt().float()  # PyTorch's root of float32 may miss the last bit
    return x * inverse * weight


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (T, H, D) turned to the positions of `cos` and `sin`, (T, 1, D / 2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((fma(a, cos, -(b * sin)), fma(b, cos, a * sin)), -1)


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Online softmax over blocks of 32 keys (attention.h). q, k, v and the result (H, T, D), q scaled; seen (T, T)."""
    out, top = torch.zeros_like(q), torch.full_like(q[..., :1], -1e30)
    total = torch.zeros(*q.shape[:-1], LANES)
    for first in range(0, q.shape[1], PANEL):
        keys, values = (part[:, first : first + PANEL] for part in (k, v))
        count = keys.shape[1]
        rows = q[:, first:]  # those before see nothing of this block
        s = torch.zeros(*rows.shape[:2], count)
        for each, key in zip(rows.split(1, -1), keys.transpose(1, 2).split(1, 1), strict=True):
            s = fma(each, key, s)
        s = F.pad(s.masked_fill(~seen[first:, first : first + PANEL], -torch.inf), (0, PANEL - count), value=-torch.inf)
        before = top[:, first:]
        best = torch.maximum(before, s.amax(-1, keepdim=True))
        shrink = torch.where(best == before, 1.0, exponential(before - best))
        p = exponential(s - best)
        total[:, first:] = fma(total[:, first:], shrink, p[..., :LANES]) + p[..., LANES:]
        mixed = out[:, first:] * shrink
        for weight, value in zip(p.split(1, -1), values.split(1, 1), strict=False):
            mixed = fma(weight, value, mixed)
        out[:, first:], top[:, first:] = mixed, best
    return out * (1.0 / folded(total))


def raised(x: Tensor) -> tuple[Tensor, Tensor]:
    """2^x by a polynomial in what is left of x beside the next whole number, and that number."""
    n = x.round()
    p = torch.tensor(0.05500859)
    for coefficient in (0.24221038, 0.6932829, 1.0):
        p = fma(p, x - n, torch.tensor(coefficient))
    return torch.ldexp(p, n), n


def power_of_two(x: Tensor) -> Tensor:
    """2^x for x <= 0 as attention_tiles.h has it; less than 2^-126 is 0."""
    power, n = raised(x.clamp_min(-160.0))
    return torch.where(n < -126, 0.0, power)


def tile_products(a: Tensor, b: Tensor) -> Tensor:
    """a b^T for a (H, R, K) and b (H, C, K), K a multiple of 32: 32 at a time, of those even and odd ones apart."""
    total = torch.zeros(*a.shape[:2], b.shape[1])
    for left, right in zip(a.split(PANEL, -1), b.split(PANEL, -1), strict=True):
        both = torch.zeros(2, *total.shape)
        pairs = (part.unflatten(-1, (-1, 2)).permute(2, 3, 0, 1) for part in (left, right))  # (16, 2, H, R or C)
        for x, y in zip(*pairs, strict=True):
            both = torch.addcmul(both, x[..., None], y[:, :, None])  # a product of two bfloat16 is exact
        total = total + (both[0] + both[1])
    return total


def attend_tiles(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Online softmax over strips of 256 keys in bfloat16 (attention_tiles.h); as `attend`."""
    length, log2_e = q.shape[1], torch.tensor(1.44269504088896341)
    q, k = (F.pad(part, (0, -part.shape[-1] % PANEL)) for part in (q, k))
    k, v = (F.pad(part, (0, 0, 0, -length % PANEL)) for part in (k, v))
    seen = F.pad(seen, (0, -length % PANEL))
    out, top = torch.zeros(*q.shape[:2], v.shape[-1]), torch.full_like(q[..., :1], -1e30)
    total = torch.zeros(*q.shape[:2], LANES)
    for first in range(0, length, STRIP):
        keys = slice(first, first + STRIP)
        s = tile_products(q, k[:, keys]).masked_fill(~seen[:, keys], -torch.inf)
        best = torch.maximum(top, s.amax(-1, keepdim=True))
        shrink, top = power_of_two((top - best) * log2_e), best
        p = power_of_two(fma(s, log2_e, -(top * log2_e)))
        sums = [total * shrink, torch.zeros_like(total)]
        for number, part in enumerate(p.split(LANES, -1)):
            sums[number % 2] = sums[number % 2] + part
        total = sums[0] + sums[1]
        out = fma(out, shrink, tile_products(p.bfloat16().float(), v[:, keys].transpose(1, 2)))
    return out * (1.0 / folded(total))


Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass
class ExactReference:
    """`logits` equals what a NativeDecoder of `model` answers in int8.

    tiles    attention is done in tile registers, over keys and values in bfloat16.
    attend   attention over another cache: of queries, keys, values (H, T, D) as they are, and what is seen.
    """

    model: Decoder
    tiles: bool = False
    attend: Attend | None = None
    _whole: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def weight(self, weight: Tensor, sizes: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        if id(weight) not in self._whole:
            self._whole[id(weight)] = whole_weight(weight, sizes)
        return self._whole[id(weight)]

    def product(self, x: Tensor, weight: Tensor, sizes: tuple[int, ...] = ()) -> Tensor:
        """x W^T with x (T, K) turned and rounded by rows. `sizes`: of a head, and of a head filled up."""
        whole, scale = self.weight(weight, sizes)
        x = turned(x, sizes)
        top = x.abs().amax(-1, keepdim=True)  # (T, 1)
        inverse = torch.where(top > 0, torch.tensor(127.0) / top, 0.0)  # a plain number times 1 / top is rounded twice
        whole_x = (x.double() * inverse.double()).round().float()
        parts = zip(whole_x.split(_EXACT_INPUTS, 1), whole.split(_EXACT_INPUTS, 1), strict=True)
        exact = sum(((left @ right.t()).double() for left, right in parts), torch.zeros(1))  # (T, N)
        return exact.float() * (top / 127.0) * scale

    def linear(self, x: Tensor, linear: Linear, sizes: tuple[int, ...] = ()) -> Tensor:
        y = self.product(x, linear.weight, sizes)
        return y if linear.bias is None else y + linear.bias

    def attention(self, x: Tensor, attention: Attention) -> Tensor:
        config, length = self.model.config, x.shape[0]
        heads, groups, size = config.n_heads, config.n_kv_heads, config.head_dim
        q, k, v = self.linear(x, attention.qkv).view(length, -1, size).split((heads, groups, groups), 1)
        if attention.qk_norm is not None:
            q, k = (normalised(part, attention.qk_norm[i], config.norm_eps) for i, part in enumerate((q, k)))
        cos, sin = self.model.rope.rows(0, config.max_positions, x)
        half = slice(size // 2, size)
        q, k = (rotated(part, cos[:length, :, half], sin[:length, :, half]) for part in (q, k))
        soften = 1.0 / torch.tensor(float(size)).double().sqrt().float()
        q = q * soften
        if self.attend is None:
            q = q.to(torch.bfloat16 if self.tiles else torch.float32)
            k, v = (part.to(torch.bfloat16 if self.tiles else torch.float16) for part in (k, v))
        k, v = (part.repeat_interleave(heads // groups, 1) for part in (k, v))
        q, k, v = (part.float().transpose(0, 1) for part in (q, k, v))
        at = torch.arange(length)
        seen = (at <= at[:, None]) & (at > at[:, None] - (config.window_of(attention.layer) or length))
        over = self.attend or (attend_tiles if self.tiles else attend)
        mixed = over(q, k, v, seen).transpose(0, 1).flatten(1)
        return self.linear(mixed, attention.out, (size, head_size(config)))

    @torch.no_grad()
    def logits(self, tokens: list[int]) -> Tensor:
        """(T, V) of one sequence from its beginning."""
        model, config = self.model, self.model.config
        whole, scale = self.weight(model.embed_tokens)
        x = (turned(whole[tokens]) * scale[tokens, None])[:, : config.d_model]
        for block in model.layers:
            assert isinstance(block, Block) and isinstance(block.mlp, MLP)
            x = self.attention(normalised(x, block.input_layernorm.weight, config.norm_eps), block.self_attn) + x
            normal = normalised(x, block.post_attention_layernorm.weight, config.norm_eps)
            gate, up = self.linear(normal, block.mlp.gate_up).chunk(2, -1)
            x = self.linear(gate / (1.0 + exponential(-gate)) * up, block.mlp.down) + x
        final = normalised(x, model.norm.weight, config.norm_eps)
        return self.product(final, model.embed_tokens if model.lm_head is None else model.lm_head)
