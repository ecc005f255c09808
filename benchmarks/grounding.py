"""The grounding score: how well it tells a sentence beside its own quote from one beside words that do not hold it.

Sentences of the Python language reference. True pairs: a sentence, whole or shortened by rule (up to two fifths of its
words left out), and the sentence it was cut from. False pairs: the same beside the likest other sentence of the
collection; and the sentence with a number or a word changed for another of the collection, beside its source.

    python benchmarks/grounding.py            # 1,500 sentences, half of the documents fitted on, half measured on
    python benchmarks/grounding.py --quick    # 200 sentences

Prints the weights to be written into `retrieval/support.py`, and the area under the ROC curve of each part.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from genwerk.core.types import Document
from genwerk.data.prepare import PrepareConfig, read_documents
from genwerk.data.prose import prose_sections
from genwerk.recipe import fetch_source
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.support import WEIGHTS, share_held
from genwerk.retrieval.words import content_words

HARDEST = 0.4  # of a sentence's words that are left out at most


@dataclass(frozen=True)
class Pair:
    kind: str
    claim: str
    quote: str
    fitted: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1500)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    documents = list(read_documents(PrepareConfig(sources=("python:topics",))))
    embedder = Embedder.load(fetch_source("minilm").path)
    pairs = make_pairs(documents, embedder, 200 if chosen.quick else chosen.sentences)
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.claim, pair.quote)))
    rows = dict(zip(texts, embedder.embed(texts), strict=True))
    x = np.array([(share_held(one.claim, one.quote), float(rows[one.claim] @ rows[one.quote])) for one in pairs])
    y = np.array([one.kind in ("whole", "shortened") for one in pairs])
    fitted = np.array([one.fitted for one in pairs])
    model = LogisticRegression(C=10.0).fit(x[fitted], y[fitted])
    bias, (words, cosine) = model.intercept_[0], model.coef_[0]
    print(f"weights fitted: {bias:.1f}, {words:.1f}, {cosine:.1f}   in use: {WEIGHTS}")
    scores = WEIGHTS[0] + x @ np.array(WEIGHTS[1:])
    for name, values in (("words", x[:, 0]), ("cosine", x[:, 1]), ("score", scores)):
        print(f"AUC {name:7s} {roc_auc_score(y[~fitted], values[~fitted]):.3f}   on {int((~fitted).sum())} pairs")
    for kind in dict.fromkeys(one.kind for one in pairs):
        own = np.array([one.kind == kind and not one.fitted for one in pairs])
        shown = 1.0 / (1.0 + np.exp(-scores[own]))
        low, middle, high = np.quantile(shown, [0.05, 0.5, 0.95])
        print(f"{kind:10s} {int(own.sum()):5d} pairs   score {middle:.2f} (5 to 95 %: {low:.2f} to {high:.2f})")


def make_pairs(documents: list[Document], embedder: Embedder, most: int) -> list[Pair]:
    """Four pairs of every sentence."""
    draw = random.Random(0)
    found = [
        (" ".join(document.text[start:end].split()), number % 2 == 0)
        for number, document in enumerate(documents)
        for prose in prose_sections(document)
        for start, end in prose.sentences
    ]
    sentences = draw.sample(sorted(set(found)), min(most, len(set(found))))
    vectors = embedder.embed([text for text, _ in sentences])
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1.0)
    vocabulary = [word.text for text, _ in sentences for word in content_words(text)]
    pairs = []
    for number, (text, fitted) in enumerate(sentences):
        other = sentences[int(likeness[number].argmax())][0]
        claim = shortened(text, draw)
        pairs += [
            Pair("whole", text, text, fitted), Pair("shortened", claim, text, fitted),
            Pair("neighbour", claim, other, fitted), Pair("changed", changed(text, vocabulary, draw), text, fitted),
        ]  # fmt: skip
    return pairs


def shortened(text: str, draw: random.Random) -> str:
    """Without a run of its words."""
    words = text.split()
    gone = draw.randint(1, max(1, int(HARDEST * len(words))))
    start = draw.randint(0, len(words) - gone)
    return " ".join([*words[:start], *words[start + gone :]])


def changed(text: str, vocabulary: list[str], draw: random.Random) -> str:
    """With one number, or else one content word, changed."""
    words = content_words(text)
    numbers = [word for word in words if word.text[0].isdigit()]
    word = draw.choice(numbers or words)
    new = str(draw.randint(2, 99)) if numbers else draw.choice(vocabulary)
    return f"{text[: word.start]}{new}{text[word.end :]}"


if __name__ == "__main__":
    main()
