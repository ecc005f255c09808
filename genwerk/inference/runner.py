"""What the engine needs of a network: run tokens of several sequences, whose keys and values lie in numbered blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from genwerk.inference.logits import Logits
from genwerk.models.decoder_config import DecoderConfig

__all__ = ["BLOCK", "Chunk", "Runner", "cache_title", "window_title"]

BLOCK = 32  # positions of a cache block


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of one sequence at the positions from `start` on.

    table    block i of it holds positions 32 i .. 32 i + 31; those before `start` were written by earlier steps. Where
             nothing in it is seen any more (`DecoderConfig.view`), an entry may say anything.
    wanted   of how many tokens, counted from the last, logits are computed; at least one.
    """

    tokens: Sequence[int]
    start: int
    table: Sequence[int]
    adapter: str | None = None
    wanted: int = 1


class Runner(Protocol):
    """One step at a time. The numbers of a chunk never depend on the other chunks of its step.

    precision of the weights: float32, int8, int4, or a wider or narrower float of PyTorch's
    aligned   1 if they do not depend either on how a sequence is cut into chunks; else prompts must be cut at multiples
              of this many positions, and answers be run token by token, for the same numbers to come out.
    """

    config: DecoderConfig
    precision: str
    aligned: int
    blocks: int
    adapters: tuple[str, ...]

    @property
    def title(self) -> str:
        """What computes, for receipts: engine, precision, instruction set."""
        ...

    def add_adapter(self, name: str, path: Path) -> None:
        """Read an adapter in peft's format. Raises ModelError for a name or files that do not fit."""
        ...

    def remove_adapter(self, name: str) -> None:
        """Drop an adapter that no chunk will name again."""
        ...

    def read_blocks(self, blocks: Sequence[int]) -> bytes:
        """Keys and values in these blocks, as many bytes for each, in a form of the runner's own."""
        ...

    def write_blocks(self, blocks: Sequence[int], data: bytes) -> None:
        """Put back what `read_blocks` gave. Raises ValueError for another number of bytes."""
        ...

    def copy_blocks(self, copies: Sequence[tuple[int, int]]) -> None:
        """Write what the first block of each pair holds into the second, one pair after the other."""
        ...

    def step(self, chunks: Sequence[Chunk]) -> Logits:
        """Logits after the last `wanted` tokens of each chunk, one below the other: (sum of wanted, V)."""
        ...


def cache_title(cache: str) -> str:
    """The part of a title that says how keys and values are kept; empty for `auto` (see `receipt.cache_of`)."""
    return "" if cache == "auto" else f", cache {cache}"


def window_title(config: DecoderConfig) -> str:
    """The part of a title that says what is seen of a text; empty for all of it (see `receipt.window_of`)."""
    if config.view is None:
        return ""
    return f", window {config.view.size}" + (f" and {config.view.sinks} sinks" if config.view.sinks else "")
