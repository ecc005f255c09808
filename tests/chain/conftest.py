"""A whole recipe small enough to run many times: a few real pages, a decoder trained on them from scratch."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics

import pytest

PAGES = ("assert", "for", "while", "with", "try", "import", "class", "lambda", "yield", "pass", "del", "global")

RECIPE = """\
name: tiny
documents: {documents}
data: {{license: PSF-2.0, holdout: 0.25}}
tokenizer: {{vocab_size: 512}}
base: {{train: {{depth: 1, steps: 30, batch_tokens: 512, context: 64, eval_every: 10, checkpoint_every: 5}}}}
tune: [{{sft: {{rank: 4, steps: 12, checkpoint_every: 3}}}}]
distill: {{depth: 1, words: 128, texts: 16, own_tokens: 16, context: 64, steps: 12, eval_texts: 4, checkpoint_every: 3}}
retrieval: {{n_questions: 20}}
evaluate: {{measures: [perplexity, retrieval, citations, abstention], n_questions: 20, n_answers: 2}}
gates: ["citations.valid == 1.0"]
"""


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pages of the Python reference as text files."""
    folder = tmp_path_factory.mktemp("pages")
    for name in PAGES:
        (folder / f"{name}.txt").write_text(topics[name], encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(pages: Path, minilm_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe over these pages; the embedder's weights are in the cache before a run is timed or killed."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE.format(documents=pages), encoding="utf-8")
    return path
