"""A U-Net for clips: every frame is seen by the same weights, and frames look at each other place by place.

Source: Ho et al. (2022), Video diffusion models, section 3; Shaw et al. (2018), Self-attention with relative position
representations, for what tells frames apart.

    stage   as in unet.py, of each frame alone; at the levels named all places of a frame look at each other (space);
            then every place looks at itself in all frames (time), at all levels but the finest
    time    softmax_u( q_t k_u / sqrt(d) + b(t - u) ) v_u          b: a number for each head and distance

Chosen:   a frame costs what a picture costs, and a clip T times that; what is told of form is learned from each frame.
Left out: time at the finest level, where it costs most and coarser ones have said where things are.
Try it:   pytest tests/models/test_video_unet.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.models.unet import Attention, UNet, norm, zero

__all__ = ["VideoUNet"]


class VideoUNet(nn.Module):
    """(B, T, H, W) at times (B,) between 0 and 1 to the same; sizes: width, multipliers, … as in unet.py, of a frame.

    Raises ModelError as UNet does.
    """

    def __init__(self, frames: int, *, attention: Sequence[int] = (), **sizes: Any) -> None:
        super().__init__()
        self.frames, self.space = frames, frozenset(attention)
        self.unet = UNet(1, look=self._look, **sizes)

    def forward(self, x: Tensor, time: Tensor, given: Tensor | None = None) -> Tensor:
        frames = x.flatten(0, 1)[:, None]  # (B T, 1, H, W)
        many = None if given is None else given.repeat_interleave(self.frames, 0)
        found: Tensor = self.unet(frames, time.repeat_interleave(self.frames), many)
        return found.view(x.shape)

    def _look(self, level: int, channels: int) -> nn.Module | None:
        space = [Attention(channels)] if level in self.space else []
        return nn.Sequential(*space, TimeAttention(channels, self.frames)) if level else None


class TimeAttention(nn.Module):
    """Every place looks at itself in all frames: (B T, C, H, W) to the same."""

    def __init__(self, size: int, frames: int, head: int = 32) -> None:
        super().__init__()
        self.heads, self.frames = max(1, size // head), frames
        self.norm, self.qkv, self.out = norm(size), nn.Linear(size, 3 * size), zero(nn.Conv2d(size, size, 1))
        self.near = nn.Parameter(torch.zeros(self.heads, 2 * frames - 1))
        self.distance: Tensor
        apart = torch.arange(frames)[:, None] - torch.arange(frames) + frames - 1
        self.register_buffer("distance", apart, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        N, C, H, W = x.shape
        B, T = N // self.frames, self.frames
        h = self.norm(x).view(B, T, C, H * W).permute(0, 3, 1, 2)  # (B, H W, T, C)
        q, k, v = self.qkv(h).view(B * H * W, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=self.near[:, self.distance])  # (B H W, heads, T, d)
        back = seen.transpose(1, 2).reshape(B, H * W, T, C).permute(0, 2, 3, 1).reshape(N, C, H, W)
        found: Tensor = x + self.out(back)
        return found
