"""Documents to token shards: `train.bin` and `heldout.bin`, what is needed for bits per byte, and whose text they are.

    train.bin, heldout.bin   tokens of the documents of each split, each document ended by the end-of-text token
    token_bytes.npy          (V,) uint16: bytes of text each token spells, 0 for control tokens
    meta.json                vocabulary, end-of-text token, counts per split
    documents.json           id and sha256 of every document per split, so that lineage can tell what a model saw

Try it:   genwerk run recipes/quickstart.yaml --no-serve
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from genwerk.core.atomic import write_json
from genwerk.core.config import Config
from genwerk.core.errors import DataError, ModelError
from genwerk.core.types import Document
from genwerk.core.workspace import Artifact, Step
from genwerk.data.documents import load_documents
from genwerk.data.shards import tokenize_documents
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["TokeniseConfig", "seen", "tokenise"]


class TokeniseConfig(Config):
    """How documents become tokens; the tokenizer decides everything so far."""


def tokenise(
    config: TokeniseConfig, step: Step, dataset: Artifact, tokenizer: Artifact
) -> Mapping[str, float | int | str]:
    """Write the shards of a dataset artifact with a tokenizer artifact; returns token and byte counts.

    Raises DataError when no document is in the training split, ModelError when the tokenizer has no end-of-text token.
    """
    encoder = Tokenizer.load(tokenizer.path)
    if not encoder.eos_ids:
        raise ModelError(
            "the tokenizer has no end-of-text token", where=str(tokenizer.path), remedy="Set eos_token in its config."
        )
    eos = min(encoder.eos_ids)
    splits: dict[str, list[Document]] = {"train": [], "heldout": []}
    for document in load_documents(dataset.path):
        splits[document.metadata.get("split", "train")].append(document)
    if not splits["train"]:
        raise DataError(
            "no document is in the training split", where=str(dataset), remedy="Add documents, or lower `data.holdout`."
        )
    dtype = np.uint16 if encoder.vocab_size <= 1 << 16 else np.uint32
    meta: dict[str, int] = {"vocab_size": encoder.vocab_size, "eos_id": eos}
    for split, documents in splits.items():
        counts = tokenize_documents(documents, encoder.encode, eos, step.out / f"{split}.bin", dtype=dtype)
        meta |= {
            f"{split}_documents": counts.documents,
            f"{split}_tokens": counts.tokens,
            f"{split}_bytes": counts.bytes,
        }
    np.save(step.out / "token_bytes.npy", token_sizes(encoder))
    write_json(step.out / "meta.json", meta)
    write_json(step.out / "documents.json", {split: seen(documents) for split, documents in splits.items()})
    return meta


def token_sizes(tokenizer: Tokenizer) -> npt.NDArray[np.uint16]:
    """(V,) bytes of text each token spells; control tokens spell none."""
    sizes = [
        0 if token in tokenizer.special_ids or token in tokenizer.eos_ids else len(tokenizer.token_bytes(token))
        for token in range(tokenizer.vocab_size)
    ]
    return np.array(sizes, np.uint16)


def seen(documents: Iterable[Document]) -> list[dict[str, str]]:
    """Id and sha256 of documents, in order of their ids: what `documents.json` holds."""
    return [{"id": item.id, "sha256": item.sha256} for item in sorted(documents, key=lambda item: item.id)]
