"""Follow-up questions: in how many labelled conversations the query has the words it needs, and none it must not have.

    python benchmarks/follow_ups.py

Three ways beside each other: the last question alone, with the one before it put in front, and resolved (follow_up.py),
by rules alone and with MiniLM for the nearest word. `heldout` conversations were written after the rules.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch

from genwerk.core.types import Message
from genwerk.evaluation.measures import Measure
from genwerk.recipe import fetch_source
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.follow_up import retrieval_query

FILE = Path(__file__).parents[1] / "tests" / "retrieval" / "conversations.jsonl"


def main() -> None:
    torch.set_num_threads(2)
    embed = Embedder.load(fetch_source("minilm").path).embed
    ways: dict[str, Callable[[list[str]], str]] = {
        "last question": lambda asked: asked[-1],
        "with the one before": lambda asked: " ".join(asked[-2:]),
        "resolved by rules": lambda asked: retrieval_query([Message("user", text) for text in asked]),
        "rules and MiniLM": lambda asked: retrieval_query([Message("user", text) for text in asked], embed),
    }
    conversations = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    parts = defaultdict(list)
    for one in conversations:
        parts["held out" if one["kind"] == "heldout" else "seen while writing"].append(one)
    print(f"| query | {' | '.join(f'{part} ({len(some)})' for part, some in parts.items())} |")
    print(f"| --- |{' --- |' * len(parts)}")
    for name, way in ways.items():
        cells = []
        for some in parts.values():
            share = Measure.share("", sum(right(one, way(one["asked"])) for one in some), len(some), "")
            cells.append(f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})")
        print(f"| {name} | {' | '.join(cells)} |")


def right(conversation: dict[str, list[str]], query: str) -> bool:
    words = set(re.findall(r"\w+", query.casefold()))
    needs, without = ({word.casefold() for word in conversation.get(key, ())} for key in ("needs", "without"))
    return needs <= words and not without & words


if __name__ == "__main__":
    main()
