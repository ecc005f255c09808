"""Keys and values of one batch of sequences, kept between steps so that each token is computed once.

Memory is taken as it is needed: the first tokens get room for 256 positions, and the room doubles up to `capacity`.
New entries are written in place; layers read views, so nothing is copied at a step but what stays beside a window.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.models.decoder_config import DecoderConfig

__all__ = ["Cache", "KVCache"]

_FIRST_ROOM = 256


class Cache(Protocol):
    """What a decoder needs of a cache: how many positions are valid, and a place for new ones. See `KVCache`."""

    length: int

    def append(self, layer: int, keys: Tensor, values: Tensor, unseen: range = range(0)) -> tuple[Tensor, Tensor]: ...

    def advance(self, tokens: int) -> None: ...


class KVCache:
    """Cache of a decoder: per layer keys and values (B, K, S, D), of which the first `length` positions are valid.

    batch      number of sequences of equal length.
    capacity   most positions it may hold; appending beyond it raises ModelError.
    """

    def __init__(
        self,
        config: DecoderConfig,
        capacity: int,
        *,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.length, self.capacity = 0, capacity
        self._room = min(_FIRST_ROOM, capacity)
        shape = (batch, config.n_kv_heads, self._room, config.head_dim)
        with torch.inference_mode(False):
            self._keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
            self._values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]

    def append(self, layer: int, keys: Tensor, values: Tensor, unseen: range = range(0)) -> tuple[Tensor, Tensor]:
        """Write (B, K, T, D) of one layer after `length`; returns (B, K, S, D), all positions but the `unseen` ones.

        `length` moves once all layers have written: `advance`. Raises ModelError beyond `capacity`.
        """
        start, stop = self.length, self.length + keys.shape[2]
        if stop > self._room:
            self._grow(stop)
        kept_keys, kept_values = self._keys[layer], self._values[layer]
        kept_keys.narrow(2, start, stop - start).copy_(keys)
        kept_values.narrow(2, start, stop - start).copy_(values)
        return _seen(kept_keys.narrow(2, 0, stop), unseen), _seen(kept_values.narrow(2, 0, stop), unseen)

    def advance(self, tokens: int) -> None:
        """Count `tokens` positions, written by every layer, as valid."""
        self.length += tokens

    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on. Raises ModelError if fewer are held."""
        if not 0 <= length <= self.length:
            raise ModelError(f"cannot truncate a cache of {self.length} positions to {length}")
        self.length = length

    @torch.inference_mode(False)
    def _grow(self, needed: int) -> None:
        if needed > self.capacity:
            raise ModelError(
                f"the key-value cache holds {self.capacity} positions, {needed} are needed",
                remedy="Make it with a larger capacity, or shorten the prompt.",
            )
        self._room = min(max(needed, 2 * self._room), self.capacity)
        self._keys = [self._moved(old) for old in self._keys]
        self._values = [self._moved(old) for old in self._values]

    def _moved(self, old: Tensor) -> Tensor:
        new = old.new_zeros((*old.shape[:2], self._room, old.shape[3]))
        new[:, :, : self.length] = old[:, :, : self.length]
        return new


def _seen(kept: Tensor, unseen: range) -> Tensor:
    """(B, K, S, D) without some positions: a view where they are the first."""
    rest = kept[:, :, unseen.stop :]
    return rest if unseen.start == 0 else torch.cat((kept[:, :, : unseen.start], rest), 2)
