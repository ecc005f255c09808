"""How near the vectors of int16 are to those of float32, over several thousand real texts of every kind.

For each kind its mean and its lowest cosine, and the text that has it: what counts is that no single passage strays.

    python benchmarks/embed_cosines.py                # 1,000 texts of each kind with MiniLM
    python benchmarks/embed_cosines.py --each 50      # in a minute
    python benchmarks/embed_cosines.py --model e5
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from pydoc_data.topics import topics

import torch

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.cache import cache_directory
from genwerk.core.types import Document
from genwerk.core.workspace import Workspace
from genwerk.data.boolq import read_boolq
from genwerk.data.documents import load_documents
from genwerk.data.prepare import PrepareConfig
from genwerk.data.sources import source_fingerprint
from genwerk.recipe import fetch_source
from genwerk.retrieval.chunking import Limits, RecursiveChunker
from genwerk.retrieval.embedding import Embedder

HANDBOOK = "deb:debian-handbook=11.20220922!/usr/share/doc/debian-handbook/html/de-DE/"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=1000, help="texts of each kind")
    parser.add_argument("--model", choices=["minilm", "e5"], default="minilm")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    path = fetch_source(chosen.model).path
    exact, rounded = Embedder.load(path, "float32"), Embedder.load(path, "int16")
    if rounded.precision != "int16":
        parser.error("int16 cannot be had here, see above")
    print(f"{'':16} texts  tokens  mean     lowest   of")
    for kind, texts in kinds(exact, chosen.each).items():
        cosines = (exact.embed(texts) * rounded.embed(texts)).sum(-1)
        worst, tokens = int(cosines.argmin()), sum(exact.count_tokens(texts))
        line = f"{kind:16} {len(texts):5} {tokens:7}  {cosines.mean():.5f}  {cosines[worst]:.5f}"
        print(f"{line}  {texts[worst][:40]!r}", flush=True)


def kinds(embedder: Embedder, each: int) -> dict[str, list[str]]:
    """Texts by what they are, drawn with a fixed seed."""
    draw = random.Random(0)
    boolq = read_boolq(fetch(KNOWN["boolq"].spec, KNOWN["boolq"].sha256))
    source = [(path.name, path.read_text()) for path in sorted(Path(random.__file__).parent.glob("*.py"))]
    words = " ".join(topics.values()).split()
    starts = [draw.randrange(len(words) - 4) for _ in range(each)]
    found = {
        "documentation": chunks(embedder, list(topics.items())),
        "paragraphs": [document.text for document in boolq.documents],
        "questions": [question.text for question in boolq.questions],
        "German": chunks(embedder, german()),
        "code": chunks(embedder, draw.sample(source, 40)),
        "1 to 4 words": [" ".join(words[start : start + 1 + number % 4]) for number, start in enumerate(starts)],
        "single signs": [chr(number) for number in (*range(33, 127), *range(0xA1, 0x180), *range(0x4E00, 0x4E40))],
    }
    return {kind: draw.sample(texts, min(each, len(texts))) for kind, texts in found.items()}


def chunks(embedder: Embedder, texts: list[tuple[str, str]]) -> list[str]:
    """As the index cuts them."""
    cut = RecursiveChunker(Limits(count_tokens=embedder.count_tokens, max_tokens=embedder.window)).chunk
    return [text[chunk.start : chunk.end] for name, text in texts for chunk in cut(Document.create(name, text))]


def german() -> list[tuple[str, str]]:
    """The pages of Debian's handbook."""
    sources = (str(fetch(HANDBOOK)),)
    config = PrepareConfig(sources=sources, languages=("de",), license="GPL-2.0-or-later")
    workspace = Workspace(cache_directory() / "benchmarks" / "embed" / "workspace")
    made = workspace.step("genwerk.data.prepare:prepare", config, source_fingerprint(sources), kind="dataset")
    return [(document.source, document.text) for document in load_documents(made.path)]


if __name__ == "__main__":
    main()
