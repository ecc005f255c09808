"""Attention over a cache in bytes bit for bit as the kernels do it (attention_bytes.h): see exact_reference.py."""

from __future__ import annotations

from functools import partial

import torch
from exact_reference import LANES, STRIP, ExactReference, fma, folded, raised
from torch import Tensor
from torch.nn import functional as F

from genwerk.inference.native.layout import head_size
from genwerk.models.decoder import Decoder

FINE, LOG2_E = 16383.0, 1.44269504088896341
_TURNED = {64: 0.125, 32: 0.17677669529663689, 16: 0.25}


def hadamard(x: Tensor) -> Tensor:
    """The last axis times the Hadamard matrix, numbers that lie far from each other first."""
    distance = x.shape[-1] // 2
    while distance:
        left, right = x.unflatten(-1, (-1, 2, distance)).unbind(-2)
        x = torch.stack((left + right, left - right), -2).flatten(-3)
        distance //= 2
    return x


def turned_head(x: Tensor, head: int) -> Tensor:
    """(..., D) filled up to `head`: 64 numbers are turned together, of what is left 32 and 16."""
    x, parts = F.pad(x, (0, head - x.shape[-1])), []
    for size, scale in _TURNED.items():
        count = x.shape[-1] // size * size
        parts.append((hadamard(x[..., :count].unflatten(-1, (-1, size))) * torch.tensor(scale)).flatten(-2))
        x = x[..., count:]
    return torch.cat(parts, -1)


def rounded(x: Tensor, inverse: Tensor) -> Tensor:
    """x times `inverse` to the nearest whole number, the product unrounded."""
    return (x.double() * inverse.double()).round().float()


def to_bytes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of (..., D), and their scales (..., 1)."""
    top = x.abs().amax(-1, keepdim=True)
    return rounded(x, torch.where(top > 0, torch.tensor(127.0) / top, 0.0)), top / torch.tensor(127.0)


def power(x: Tensor) -> Tensor:
    """2^x for x <= 0; below 2^-100 it is 0."""
    return torch.where(x < -100.0, 0.0, raised(x.clamp_min(-100.0))[0])


def attend_bytes(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, *, head: int) -> Tensor:
    """Over strips of 256 keys, in whole numbers; q, k, v and the result (H, T, D), q scaled, seen (T, T)."""
    size, length = v.shape[-1], q.shape[1]
    q, q_scale = to_bytes(turned_head(q, head))
    q_scale = q_scale * torch.tensor(LOG2_E)
    k, k_scale = to_bytes(turned_head(k, head))
    v, v_scale = to_bytes(v)
    fill = -length % STRIP
    seen = F.pad(seen, (0, fill))
    k, v, k_scale, v_scale = (F.pad(part, (0, 0, 0, fill)) for part in (k, v, k_scale, v_scale))
    out, top = torch.zeros(*q.shape[:2], size), torch.full_like(q[..., :1], -1e30)
    total = torch.zeros(*q.shape[:2], LANES)
    for first in range(0, length, STRIP):
        keys = slice(first, first + STRIP)
        s = (q @ k[:, keys].transpose(1, 2)) * q_scale * k_scale[:, keys].transpose(1, 2)
        s = s.masked_fill(~seen[:, keys], -torch.inf)
        best = torch.maximum(top, s.amax(-1, keepdim=True))
        shrink, top = power(top - best), best
        p = power(s - best)
        total = total * shrink
        for part in p.split(LANES, -1):
            total = total + part
        weights = p * v_scale[:, keys].transpose(1, 2)
        most = weights.amax(-1, keepdim=True)
        step = torch.where(most < 1e-30, 0.0, most / torch.tensor(FINE))
        whole = rounded(weights, torch.where(step > 0, 1.0 / step, 0.0))
        sums = (whole.double() @ v[:, keys].double()).float()
        out = fma(out, shrink, sums * step)
    return out * (1.0 / folded(total))


def over_bytes(model: Decoder) -> ExactReference:
    """The reference of `model` with its keys and values in bytes."""
    return ExactReference(model, attend=partial(attend_bytes, head=head_size(model.config)))
