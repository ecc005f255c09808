"""Terms: what of a text is looked up. Words folded to lower case, cut to their stems, without accents.

Source: Porter (1980; 2001), Snowball, as PyStemmer has it, one algorithm for each language.

    "The Häuser's 10:30 trains"  →  english: the haus s 10:30 train

A text is cut by the rules of its document's language; a question has no language, so each of its words is looked up in
every form that the languages of the collection give it.

Chosen:   a document that does not say its language is taken for English; a language without an algorithm keeps its
          words whole.
Left out: parts of German compounds; words of scripts without spaces are looked up as they stand between spaces.
Try it:   python -c "from genwerk.retrieval.terms import terms_of; print(terms_of('Running trains'))"
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Mapping
from functools import lru_cache

from Stemmer import Stemmer

__all__ = ["forms_of", "language_of", "terms_of"]

_TERM = re.compile(r"\d+(?:[.,:]\d+)*|[^\W_]+")
_SNOWBALL = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "nb": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
_LONGEST = 64  # characters; longer ones are keys and data, and are looked up by their beginning
_CACHED = 1 << 18
_local = threading.local()


def terms_of(text: str, language: str = "en") -> list[str]:
    """Terms of a text in `language` (ISO 639-1), in order, repetitions kept."""
    return [_term(word, language) for word in _TERM.findall(text.casefold())]


def forms_of(word: str, languages: Collection[str]) -> tuple[str, ...]:
    """Every term that the words of a question may stand for in a collection of these languages."""
    found = (term for language in sorted(languages) or ["en"] for term in terms_of(word, language))
    return tuple(dict.fromkeys(found))


def language_of(metadata: Mapping[str, str]) -> str:
    """The language by whose rules a document is cut."""
    return metadata.get("language") or "en"


@lru_cache(maxsize=_CACHED)
def _term(word: str, language: str) -> str:
    name = _SNOWBALL.get(language)
    term = word if name is None else _stemmer(name).stemWord(word)
    if not term.isascii():
        decomposed = unicodedata.normalize("NFD", term)
        term = "".join(character for character in decomposed if not unicodedata.combining(character)) or term
    return str(term[:_LONGEST])


def _stemmer(name: str) -> Stemmer:
    """One a thread: they are not made to be shared."""
    if not hasattr(_local, "stemmers"):
        _local.stemmers = {}
    if name not in _local.stemmers:
        _local.stemmers[name] = Stemmer(name, 0)
    return _local.stemmers[name]
