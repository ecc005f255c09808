"""Runs small enough for a test: made-up pages, a decoder of a few thousand weights; also a script to be killed.

python tiny_runs.py pretrain|sft|distill INPUTS RUN
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genwerk.alignment.distill import DistillConfig, distill_draft
from genwerk.alignment.sft import SFTConfig, train_sft
from genwerk.core.events import EventLog
from genwerk.core.types import Document
from genwerk.core.workspace import Artifact, Step
from genwerk.data.documents import write_documents
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.huggingface import save_decoder
from genwerk.tokenizers.bpe import TrainTokenizerConfig, train_tokenizer
from genwerk.training.pretrain import PretrainConfig, pretrain
from genwerk.training.tokenise import TokeniseConfig, tokenise

PRETRAIN: dict[str, Any] = {
    "depth": 1, "steps": 40, "batch_tokens": 128, "context": 32, "lr": 2e-3, "warmup": 4, "accumulation": 2,
    "eval_every": 10, "eval_tokens": 512, "checkpoint_every": 4,
}  # fmt: skip
SFT: dict[str, Any] = {
    "rank": 2, "alpha": 4.0, "dropout": 0.1, "steps": 24, "batch": 3, "micro_tokens": 700, "warmup": 2,
    "eval_examples": 3, "checkpoint_every": 3, "lr": 5e-3,
}  # fmt: skip
DISTILL: dict[str, Any] = {
    "depth": 1, "words": 128, "texts": 20, "own_tokens": 12, "context": 48, "likeliest": 8, "steps": 24, "batch": 3,
    "warmup": 2, "eval_texts": 4, "eval_every": 10, "checkpoint_every": 3, "precision": "float32",
}  # fmt: skip

_THINGS = ("lantern", "anchor", "barrel", "compass", "ledger", "rudder", "canvas", "kettle", "mortar", "chisel")
_PLACES = (
    "Almeria",
    "Bergen",
    "Cadiz",
    "Dieppe",
    "Esbjerg",
    "Faro",
    "Genoa",
    "Izmir",
    "Jaffa",
    "Kiel",
    "Malmo",
    "Nice",
)
_DEEDS = ("repaired", "weighed", "painted", "counted", "borrowed", "traded", "repainted", "inspected", "delivered")
_WHEN = ("before the spring tide", "after the long winter", "during the harvest fair", "in the third week of May")


@dataclass(frozen=True)
class Inputs:
    """Artifacts in folders of `root`."""

    root: Path

    def __getattr__(self, name: str) -> Artifact:
        return artifact(self.root / name)


def artifact(path: Path) -> Artifact:
    """A folder as an artifact, as far as a step function looks at it."""
    return Artifact(path.name, path.name, path, (), {"name": path.name}, {}, "", {}, "", "")


def make_step(root: Path) -> Step:
    """A step that writes to `root/out`; its scratch is kept from one attempt to the next."""
    for name in ("out", "scratch"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return Step("tiny", root / "out", root / "scratch", EventLog(root))


def pages(count: int = 12) -> list[Document]:
    """Pages of made-up prose with headings, the same on every machine; every fourth is held out."""
    draw = random.Random(5)
    made = []
    for number in range(count):
        place = _PLACES[number % len(_PLACES)]
        parts = [f"# Harbour of {place}\n"]
        for thing in draw.sample(_THINGS, 4):
            sentences = [
                f"The {draw.choice(_THINGS)} of {place} was {draw.choice(_DEEDS)} by {draw.randrange(2, 90)} sailors "
                f"{draw.choice(_WHEN)}, and the {thing} was {draw.choice(_DEEDS)} with it."
                for _ in range(3)
            ]
            parts.append(f"## The {thing} at {place}\n\n" + " ".join(sentences) + "\n")
        split = "heldout" if number % 4 == 3 else "train"
        made.append(Document.create(f"{place}.md", "\n".join(parts), metadata={"split": split, "language": "en"}))
    return made


def make_inputs(root: Path) -> Inputs:
    """Write dataset, tokenizer, tokens and base below `root`."""
    found = Inputs(root)
    for name in ("dataset", "tokenizer", "tokens", "base"):
        (root / name).mkdir(parents=True)
    write_documents(root / "dataset", pages())
    steps = {
        name: Step(name, root / name, root / f"{name}-scratch", EventLog(root)) for name in ("tokenizer", "tokens")
    }
    train_tokenizer(TrainTokenizerConfig(vocab_size=400), steps["tokenizer"], found.dataset)
    counts = tokenise(TokeniseConfig(), steps["tokens"], found.dataset, found.tokenizer)
    torch.manual_seed(1)
    shape = DecoderConfig(int(counts["vocab_size"]), 16, 2, 2, 1, 8, 32, 1024)
    save_decoder(Decoder(shape), root / "base", root / "tokenizer")
    return found


def run_pretrain(inputs: Inputs, root: Path, **changes: Any) -> Path:
    """Pretrain below `root`; returns the folder of the result."""
    step = make_step(root)
    pretrain(PretrainConfig(**PRETRAIN | changes), step, inputs.tokens, inputs.tokenizer)
    return step.out


def run_sft(inputs: Inputs, root: Path, **changes: Any) -> Path:
    """Tune below `root`; returns the folder of the result."""
    step = make_step(root)
    train_sft(SFTConfig(**SFT | changes), step, inputs.base, inputs.dataset)
    return step.out


def run_distill(inputs: Inputs, root: Path, **changes: Any) -> Path:
    """Distil a draft of the base below `root`; returns the folder of the result."""
    step = make_step(root)
    distill_draft(DistillConfig(**DISTILL | changes), step, inputs.base, inputs.dataset)
    return step.out


if __name__ == "__main__":
    kind, given, target = sys.argv[1:]
    torch.set_num_threads(1)
    {"pretrain": run_pretrain, "sft": run_sft, "distill": run_distill}[kind](Inputs(Path(given)), Path(target))
