"""How often a misspelled word is set right, and how long that takes, as the vocabulary grows.

Words of the Python reference get one or two random mistakes; the nearest term must be the word's own. The vocabulary is
that of the reference and as many made-up words as are asked for, which lie as near to each other as real ones do.

    python benchmarks/typos.py                # 10^4, 10^5 and 10^6 terms, 500 words each
    python benchmarks/typos.py --quick        # 10^4 terms, 50 words
"""

from __future__ import annotations

import argparse
import random
import statistics
import string
import time
from collections import Counter
from pydoc_data.topics import topics

from genwerk.retrieval.spelling import Vocabulary, nearest
from genwerk.retrieval.terms import terms_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--words", type=int, default=500)
    chosen = parser.parse_args()
    sizes, words = ([10_000], 50) if chosen.quick else ([10_000, 100_000, 1_000_000], chosen.words)
    counts = Counter(term for text in topics.values() for term in terms_of(text) if term.isalpha() and term.isascii())
    draw = random.Random(0)
    asked = draw.choices([term for term in counts if len(term) >= 5], k=words)
    print("| terms | mistakes | set right | ms a word: median | 95th percentile | table, MB |\n|" + "---|" * 6)
    for size in sizes:
        held = Vocabulary.of([*counts, *made_up(list(counts), size - len(counts), draw)])
        bytes_ = sum(array.nbytes for array in (held.letters, held.ends, held.masks, held.sizes))
        for most in (1, 2):
            right, took = 0, []
            for term in (term for term in asked if len(term) >= 3 * most + 2):
                wrong = misspelled(term, most, draw)
                started = time.perf_counter()
                found = nearest(wrong, wrong, [held], lambda one: counts.get(one, 1))
                took.append(1000 * (time.perf_counter() - started))
                right += found is not None and found[0] == term
            slow = statistics.quantiles(took, n=20)[-1]
            print(f"| {len(held):,} | {most} | {right / len(took):.1%} | {statistics.median(took):.1f} | {slow:.1f} | "
                  f"{bytes_ / 1e6:.1f} |")  # fmt: skip


def made_up(terms: list[str], n: int, draw: random.Random) -> set[str]:
    """Words joined of the beginning of one and the end of another, as many as are asked for."""
    found: set[str] = set()
    while len(found) < n:
        one, other = draw.choice(terms), draw.choice(terms)
        found.add(one[: draw.randint(2, 6)] + draw.choice(string.ascii_lowercase) + other[-draw.randint(1, 5) :])
    return found


def misspelled(term: str, most: int, draw: random.Random) -> str:
    """`term` with so many mistakes behind its first letter: one left out, put in, changed, or two that swap places."""
    letters = list(term)
    for _ in range(most):
        place, kind = draw.randrange(1, len(letters) - 1), draw.randrange(4)
        if kind == 0:
            del letters[place]
        elif kind == 1:
            letters.insert(place, draw.choice(string.ascii_lowercase))
        elif kind == 2:
            letters[place] = draw.choice(string.ascii_lowercase)
        else:
            letters[place : place + 2] = letters[place : place + 2][::-1]
    return "".join(letters)


if __name__ == "__main__":
    main()
