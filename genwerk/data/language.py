"""Which language a text is in: py3langid (naive Bayes over byte n-grams, 97 languages) on its first 2,000 characters.

    identify(text) -> Language(code, probability)
    choose_language(text, ("de", "en")) -> (Language, may it stay)

With a list of wanted languages a text is dropped only when another language is clearly more probable: short texts,
tables and code are often taken for something exotic. Then the most probable wanted language is noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_CHARACTERS = 2000
_CERTAIN = 0.9
_TOO_SHORT_TO_SAY = 60


@dataclass(frozen=True, slots=True)
class Language:
    """ISO 639-1 code and how probable it is among the candidates, 0 to 1."""

    code: str
    probability: float


def identify(text: str, among: Sequence[str] = ()) -> Language:
    """The most probable language of `text`, of all or only of those in `among`."""
    code, probability = _identifier(tuple(sorted(among))).classify(text[:_CHARACTERS])
    return Language(str(code), float(probability))


def choose_language(text: str, wanted: Sequence[str]) -> tuple[Language, bool]:
    """The language to note for `text`, and whether it may stay when only `wanted` languages are kept (none: all)."""
    best = identify(text)
    if not wanted or best.code in wanted:
        return best, True
    if best.probability >= _CERTAIN and len(text) >= _TOO_SHORT_TO_SAY:
        return best, False
    return identify(text, wanted), True


def unknown_languages(codes: Sequence[str]) -> list[str]:
    """Those of `codes` that cannot be told."""
    known = set(_identifier(()).nb_classes)
    return [code for code in codes if code not in known]


@lru_cache(maxsize=8)
def _identifier(among: tuple[str, ...]) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # loads its model: 0.2 s, not wanted by --help

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if among:
        identifier.set_languages(list(among))
    return identifier
