"""Linear warm-up and cosine decay of the learning rate.

Source: Loshchilov and Hutter (2017), SGDR, eq. 5, without restarts; warm-up as in Goyal et al. (2017).

    m(s) = (s + 1) / w                                                   for s < w
    m(s) = floor + (1 - floor) / 2 * (1 + cos(pi * (s - w) / (n - w)))   for w <= s < n

s, n, w   step from 0, number of steps, warm-up steps
floor     what is left of the learning rate at the end, as a fraction

Chosen:   a multiplier, so that groups with different learning rates share one schedule; the first step already moves.
Left out: restarts and warm-up by tokens.
"""

from __future__ import annotations

import math

__all__ = ["cosine_with_warmup"]


def cosine_with_warmup(step: int, total: int, warmup: int, floor: float = 0.0) -> float:
    """What to multiply the learning rate with at `step` (from 0) of `total`; between 0 and 1, `floor` after the end."""
    if step < warmup:
        return (step + 1) / warmup
    if step >= total:
        return floor
    turned = math.pi * (step - warmup) / (total - warmup)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(turned))
