"""Texts as vectors that a generator can be asked by: those of an encoder of sentences (all-MiniLM-L6-v2).

A text that is longer than the encoder's window is refused, never cut; a picture without a text has the vector 0, which
means that nothing is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genwerk.core.artifact import Source
from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError, RequestError
from genwerk.core.progress import track
from genwerk.core.workspace import Artifact, Step
from genwerk.data.pictures import load_pictures
from genwerk.models.encoder import embed_tokens, load_encoder
from genwerk.tokenizers.tokenizer import read_tokenizer

__all__ = ["CaptionEncoder", "CaptionsConfig", "embed_captions", "load_vectors"]

_TOGETHER = 64


class CaptionsConfig(Config):
    """Which encoder; it is named in the generator, which asks it for every prompt."""

    encoder: str = Field("minilm", description="known name, spec or directory of the encoder")


class CaptionEncoder:
    """An encoder with its tokenizer."""

    def __init__(self, path: Path) -> None:
        self._encoder, self._tokenizer = load_encoder(path), read_tokenizer(path)
        self.dimension, self.window = self._encoder.config.d_model, self._encoder.config.max_tokens

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N, dimension) of length 1; 0 for an empty text. Raises RequestError for one that is too long."""
        sequences = [found.ids for found in self._tokenizer.encode_batch_fast(list(texts))]
        for text, sequence in zip(texts, sequences, strict=True):
            if len(sequence) > self.window:
                what = f"a text of {len(sequence)} tokens is longer than the encoder reads: {text[:40]}…"
                raise RequestError(what, param="prompt", remedy=f"Say it in {self.window} tokens.")
        found = torch.zeros(len(texts), self.dimension)
        asked = [place for place, text in enumerate(texts) if text.strip()]
        for start in range(0, len(asked), _TOGETHER):
            places = asked[start : start + _TOGETHER]
            with torch.no_grad():
                found[places] = embed_tokens(self._encoder, [sequences[place] for place in places])
        return found


def embed_captions(
    config: CaptionsConfig, step: Step, pictures: Artifact, encoder: Source
) -> Mapping[str, float | int | str]:
    """Vectors of the texts of a pictures artifact: train.npy and heldout.npy. Raises DataError where none has one."""
    reader, counts = CaptionEncoder(encoder.path), {}
    for split in ("train", "heldout"):
        texts = load_pictures(pictures.path, split).texts
        with track(f"texts, {split}", total=len(texts), unit="texts") as bar:
            parts = []
            for start in range(0, len(texts), 256):
                parts.append(reader.embed(texts[start : start + 256]))
                bar.advance(len(parts[-1]))
        np.save(step.out / f"{split}.npy", torch.cat(parts).numpy())
        counts[split] = sum(bool(text.strip()) for text in texts)
    if not counts["train"]:
        remedy = "Write metadata.jsonl with `file_name` and `text`, or NAME.txt beside NAME.png."
        raise DataError("no picture has a text, so none can be asked for", where=str(pictures), remedy=remedy)
    write_json(step.out / "encoder.json", {"encoder": config.encoder, "dimension": reader.dimension})
    return {**counts, "dimension": reader.dimension}


def load_vectors(path: Path) -> tuple[Tensor, Tensor]:
    """What `embed_captions` wrote: of what is learned from, and of what is held out."""
    train, held_out = (torch.from_numpy(np.load(path / f"{split}.npy")) for split in ("train", "heldout"))
    return train, held_out
