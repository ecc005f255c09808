"""A decoder-only transformer in the shape of Llama, SmolLM2, Mistral, Mixtral, Qwen2 and Qwen3, chosen by switches.

Sources: Vaswani et al. (2017); Touvron et al. (2023), Llama; Ainslie et al. (2023), grouped queries; Shazeer (2020),
SwiGLU; Zhang and Sennrich (2019), RMSNorm; Jiang et al. (2023), Mistral; Yang et al. (2025), Qwen3.

    x <- x + O softmax(rope(q) rope(k)^T / sqrt(D) + causal) v,   q, k, v = parts of QKV rms(x)
    x <- x + W_down ( silu(W_gate rms(x)) * W_up rms(x) )
    logits = W_vocab rms(x)

B batch, T tokens of this call, S tokens seen so far, H query heads, K key-value heads, D size of a head.

Chosen:   one forward for training, evaluation and sampling; q, k, v share one product, so do gate and up; the query
          heads that share a key head become rows of one attention at T = 1, so keys are never repeated; no mask is
          built where causality alone says enough.
Left out: dropout (none of these families uses it), learnt attention sinks.
Try it:   genwerk generate --model smollm2-135m-instruct "Once upon a time"
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.feed_forward import MLP, Experts
from genwerk.models.kv_cache import Cache
from genwerk.models.linear import Linear
from genwerk.models.rope import RopeScaling
from genwerk.models.rope_table import RopeTable, rotate

__all__ = ["Decoder", "DecoderConfig", "RopeScaling"]


@dataclass(frozen=True, slots=True)
class Positions:
    """What the layers of one call share.

    cos, sin  rotations, (T, 1, D)
    mask      (T, S), or None where causality alone says enough
    unseen    positions that are left out of the keys
    near      rotations of the queries towards the first keys, `sinks` of them; None: they are the same
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None = None
    unseen: range = range(0)
    near: tuple[Tensor, Tensor] | None = None
    sinks: int = 0


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.shape, self.eps, self.root = (size,), eps, math.sqrt(size)
        self.floor = torch.tensor(math.sqrt(size * eps), device="cpu")
        self.zero = torch.tensor(0.0, device="cpu")

    def hf_slots(self) -> list[tuple[str, Tensor]]:
        return [("weight", self.weight.detach())]

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] > 1 or x.dtype != torch.float32 or torch.is_grad_enabled():
            return F.rms_norm(x, self.shape, self.weight, self.eps)
        # One token: PyTorch's takes eleven operators on a CPU, these four. sqrt(D) x w / sqrt(|x|^2 + D eps)
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.floor)
        return torch.addcdiv(self.zero, x * self.weight, length, value=self.root)


class Attention(nn.Module):
    """Causal self-attention with grouped queries."""

    qk_norm: nn.Parameter | None

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim, self.eps = layer, config.head_dim, config.norm_eps
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        q_size, kv_size = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.qkv = Linear(
            config.d_model, {"q_proj": q_size, "k_proj": kv_size, "v_proj": kv_size}, bias=config.qkv_bias
        )
        self.out = Linear(q_size, {"o_proj": config.d_model}, bias=config.o_bias)
        # Row 0 scales queries, row 1 keys; `norm_rows` says which row each head takes.
        self.register_parameter("qk_norm", nn.Parameter(torch.ones(2, config.head_dim)) if config.qk_norm else None)
        self.norm_rows = [0] * config.n_heads + [1] * config.n_kv_heads

    def hf_slots(self) -> list[tuple[str, Tensor]]:
        """What is not in a `Linear`, by its name on disk."""
        rows = () if self.qk_norm is None else self.qk_norm.detach().unbind()
        return list(zip(("q_norm.weight", "k_norm.weight"), rows, strict=False))

    def forward(self, x: Tensor, at: Positions, cache: Cache | None) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model)."""
        batch, length, _ = x.shape
        heads, rotated = self.n_heads, self.n_heads + self.n_kv_heads
        qkv = self.qkv(x).view(batch, length, rotated + self.n_kv_heads, self.head_dim)
        qk, v = qkv.split_with_sizes((rotated, self.n_kv_heads), 2)  # (B, T, H + K, D)
        if self.qk_norm is not None:
            qk = F.rms_norm(qk, (self.head_dim,), None, self.eps) * self.qk_norm[self.norm_rows]
        turned = rotate(qk, at.cos, at.sin)
        q, k = turned.split_with_sizes((heads, self.n_kv_heads), 2)
        k, v = k.transpose(1, 2), v.transpose(1, 2)  # (B, K, T, D)
        if cache is not None:
            k, v = cache.append(self.layer, k, v, at.unseen)  # (B, K, S, D)
        if at.near is not None:
            mixed = attend_with_sinks(q, rotate(qk[:, :, :heads], *at.near), k, v, at)
        elif length == 1:
            q = q.reshape(batch, self.n_kv_heads, -1, self.head_dim)  # (B, K, H / K, D)
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = F.scaled_dot_product_attention(
                q.transpose(1, 2), k, v, attn_mask=at.mask, is_causal=at.mask is None, enable_gqa=True
            ).transpose(1, 2)
        return self.out(mixed.reshape(batch, length, -1))  # type: ignore[no-any-return]


def attend_with_sinks(q: Tensor, near: Tensor, k: Tensor, v: Tensor, at: Positions) -> Tensor:
    """The sinks see queries that are turned to another position: both kinds of scores from one product of double width.

    q, near (B, T, H, D), k, v (B, K, S, D) -> (B, T, H, D)
    """
    sinks, rest = k[:, :, : at.sinks], k[:, :, at.sinks :]
    k = torch.cat((F.pad(sinks, (k.shape[-1], 0)), F.pad(rest, (0, k.shape[-1]))), 2)  # (B, K, S, 2 D)
    q = torch.cat((q, near), -1).transpose(1, 2)
    scale = v.shape[-1] ** -0.5
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=at.mask, scale=scale, enable_gqa=True)
    return mixed.transpose(1, 2)


class Block(nn.Module):
    """One layer: attention, then the feed-forward part, each behind its norm and added to the stream."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp: nn.Module
        if config.n_experts:
            self.mlp = Experts(
                config.d_model,
                config.d_ff,
                config.n_experts,
                config.n_experts_per_token,
                normalise=config.normalise_experts,
            )
        else:
            self.mlp = MLP(config.d_model, config.d_ff)

    def forward(self, x: Tensor, at: Positions, cache: Cache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), at, cache)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The whole network. Weights are drawn N(0, 0.02) from torch's generator, those that end a layer
    N(0, 0.02 / sqrt(2 n_layers)); with `draw` false they are left as the memory was, to be filled."""

    lm_head: nn.Parameter | None

    def __init__(self, config: DecoderConfig, *, draw: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        head = None if config.tie_embeddings else nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.register_parameter("lm_head", head)
        self.rope = RopeTable(config.head_dim, config.rope_theta, config.rope_scaling)
        if draw:
            self.initialise()

    def initialise(self) -> None:
        """Draw all weights anew."""
        nn.init.normal_(self.embed_tokens, std=0.02)
        if self.lm_head is not None:
            nn.init.normal_(self.lm_head, std=0.02)
        ending = 0.02 / math.sqrt(2 * self.config.n_layers)
        for module in self.modules():
            if isinstance(module, Linear):
                module.initialise(ending if module.rows.keys() & {"o_proj", "down_proj"} else 0.02)

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.dtype

    def forward(self, tokens: Tensor, *, cache: Cache | None = None, also: Tensor | None = None) -> Tensor:
        """Logits of all positions: (B, T) int64 -> (B, T, V) float32; see `hidden`."""
        return self.logits(self.hidden(tokens, cache=cache, also=also))

    def hidden(self, tokens: Tensor, *, cache: Cache | None = None, also: Tensor | None = None) -> Tensor:
        """States after the final norm: (B, T) -> (B, T, d_model); also: what is added to the embeddings.

        With a cache, `tokens` continue what it holds and are appended to it; without, they start at position 0.
        Raises ModelError when the cache is full.
        """
        length = tokens.shape[1]
        places = self.positions(cache.length if cache is not None else 0, length)
        x = F.embedding(tokens, self.embed_tokens)
        if also is not None:
            x = x + also
        for block, at in zip(self.layers, places, strict=True):
            x = block(x, at, cache)
        if cache is not None:
            cache.advance(length)
        return self.norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., d_model) -> (..., V) float32."""
        return F.linear(hidden, self.embed_tokens if self.lm_head is None else self.lm_head).float()

    def positions(self, start: int, length: int) -> tuple[Positions, ...]:
        """What each layer needs when `length` tokens follow `start` others; layers of a kind share it."""
        windows = [self.config.window_of(layer) for layer in range(self.config.n_layers)]
        kinds = {window: self._positions(start, length, window) for window in set(windows)}
        return tuple(kinds[window] for window in windows)

    def _positions(self, start: int, length: int, window: int | None) -> Positions:
        stop = start + length
        cos, sin = self.rope.rows(start, stop, self.embed_tokens)
        sinks = self.config.sinks if window else 0
        if window is None or stop <= window + sinks:  # every token sees all before it
            if start == 0 or length == 1:
                return Positions(cos, sin)
            window = stop
        unseen = range(sinks, max(sinks, start + 1 - window))
        near = self._near(start, stop, window + sinks) if sinks and stop > window + sinks else None
        if length == 1:
            return Positions(cos, sin, None, unseen, near, sinks)
        query = torch.arange(start, stop, device=self.device)[:, None]
        key = torch.cat((query.new_tensor(range(sinks)), torch.arange(unseen.stop, stop, device=self.device)))  # (S,)
        mask = torch.zeros(length, len(key), dtype=self.dtype, device=self.device)  # (T, S)
        hidden = (key > query) | ((key <= query - window) & (key >= sinks))
        return Positions(cos, sin, mask.masked_fill_(hidden, float("-inf")), unseen, near, sinks)

    def _near(self, start: int, stop: int, most: int) -> tuple[Tensor, Tensor]:
        """Rotations of positions start..stop, none beyond `most`."""
        cos, sin = self.rope.rows(0, most, self.embed_tokens)
        place = torch.arange(start, stop, device=self.device).clamp(max=most - 1)
        return cos[place], sin[place]
