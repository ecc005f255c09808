"""Tokens one after another: from logits of the next one, a number of the draw's own, and what a rule allows.

    p = softmax( logits / temperature ),  tokens that the rule refuses at 0
    token = the first one at which the sum of p exceeds u          u = Phi(noise), uniform, one a token and draw

Chosen:   the inverse of the distribution function instead of a categorical generator: each draw has its own numbers, so
          it is the same alone or among many; a sum in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from genwerk.data.sequences import BEGIN, END, PAD
from genwerk.generators.family import Ask, Preview

__all__ = ["draw_tokens", "pick"]


def draw_tokens(
    following: Callable[[Tensor], Tensor], ask: Ask, noise: Tensor, device: torch.device
) -> Iterator[Preview]:
    """One preview a token, of (count, length) tokens; the last one when all draws have ended, or are full.

    following   logits (count, V) of what follows these last tokens (count,), BEGIN at first
    noise       (count, length) standard normal numbers
    """
    length = noise.shape[1]
    chance = torch.special.ndtr(noise.double()).to(device)  # (count, length)
    x = torch.full((ask.count, length), PAD, device=device)
    last, ended = (
        torch.full((ask.count,), BEGIN, device=device),
        torch.zeros(ask.count, dtype=torch.bool, device=device),
    )
    start = x.clone() if ask.start is None else ask.start.to(device)
    keep = torch.full_like(x, ask.start is not None, dtype=torch.bool) if ask.keep is None else ask.keep.to(device)
    if ask.rule is not None:
        ask.rule.begin(ask.count)
    for place in range(length):
        allowed, logits = _allowed(ask, length - place, device), following(last)
        awaited = (keep & (start != PAD))[:, place + 1 :].any(1)  # what is kept further on is not cut off
        early = awaited[:, None] & (torch.arange(logits.shape[1], device=device) == END)
        found = pick(logits.masked_fill(early, -torch.inf), chance[:, place], ask.temperature, allowed)
        found = torch.where(keep[:, place], start[:, place], found)
        found = torch.where(ended, PAD, found)
        if ask.rule is not None:
            ask.rule.take(found.cpu().numpy())
        x[:, place], last, ended = found, found, ended | (found == END)
        done = length if ended.all() else place + 1
        yield Preview(x, done, length)
        if done == length:
            return


def pick(logits: Tensor, chance: Tensor, temperature: float, allowed: Tensor | None = None) -> Tensor:
    """(B,) tokens from logits (B, V), chance (B,) in [0, 1] and what is allowed (B, V); a temperature of 0 takes the
    likeliest one."""
    never = torch.arange(logits.shape[1], device=logits.device)
    logits = logits.double().masked_fill((never == PAD) | (never == BEGIN), -torch.inf)
    if allowed is not None:
        alive = allowed[:, PAD].logical_not()
        logits = logits.masked_fill(~allowed & alive[:, None], -torch.inf)
    if temperature == 0.0:
        return logits.argmax(1)
    # Less the largest, so that no quotient is too large for a number.
    total = ((logits - logits.amax(1, keepdim=True)) / temperature).softmax(1).cumsum(1)
    # Never before the first token with a share, nor beyond the last: the sum may end a hair below 1.
    sought = chance[:, None].clamp(min=torch.finfo(total.dtype).tiny) * total[:, -1:]
    return (total < sought).sum(1).clamp(max=logits.shape[1] - 1)


def _allowed(ask: Ask, left: int, device: torch.device) -> Tensor | None:
    return None if ask.rule is None else torch.from_numpy(np.ascontiguousarray(ask.rule.allowed(left))).to(device)
