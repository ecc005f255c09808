"""What is said without the model, in the language of the question, and which language that is.

    language of a question = the one with more of its function words; of a tie, what py3langid takes it for

Chosen:   English and German have texts of their own; a question in another language is answered in English where
          nothing of the documents can be shown. Questions are too short for the detector alone.
Left out: translating what documents say: a sentence that is cited is in the language of its document.
"""

from __future__ import annotations

from dataclasses import dataclass

from genwerk.data.language import identify
from genwerk.retrieval.words import words_of

__all__ = ["ABSTAIN_TEXT", "HELD_BACK_TEXT", "Replies", "language_of_text", "replies_in"]

_ENGLISH = """
    the a an of to is are was were do does did what which who whom whose when where why how and or not with from for on
    in at by can could may might must should will would it its they this that these those there than then if about has
    have had you your my our be been
"""
_GERMAN = """
    der die das den dem des ein eine einen einem einer ist sind war waren was welche welcher welches welchen wer wem wen
    wann wo warum wieso wie und oder nicht mit von vom für auf im am zu zum zur kann können darf dürfen muss müssen soll
    sollte wird werden es sie er ihr sein ihre dies diese dieser dieses dort als wenn über hat haben hatte man mein
    unser bei beim nach aus ich wir gibt unter
"""
_WORDS = {"en": frozenset(_ENGLISH.split()), "de": frozenset(_GERMAN.split())}
_SURE, _LONG = 0.9, 30  # the detector is believed of texts so long, if it is so sure


@dataclass(frozen=True, slots=True)
class Replies:
    """The fixed sentences of an assistant."""

    abstain: str
    held_back: str


REPLIES = {
    "en": Replies(
        "The documents do not seem to answer this question.", "A passage was found, but a rule holds it back."
    ),
    "de": Replies(
        "Die Dokumente scheinen diese Frage nicht zu beantworten.",
        "Eine Stelle wurde gefunden, aber eine Regel hält sie zurück.",
    ),
}
ABSTAIN_TEXT, HELD_BACK_TEXT = REPLIES["en"].abstain, REPLIES["en"].held_back


def replies_in(language: str) -> Replies:
    """In that language where it is known, else in English."""
    return REPLIES.get(language, REPLIES["en"])


def language_of_text(text: str) -> str:
    """ISO 639-1 of a question or a sentence; English where nothing says otherwise."""
    words = [word.folded for word in words_of(text)]
    counts = {code: sum(word in own for word in words) for code, own in _WORDS.items()}
    if counts["en"] != counts["de"]:
        return max(counts, key=lambda code: counts[code])
    found = identify(text)
    if len(text) >= _LONG and found.probability >= _SURE:
        return found.code
    return identify(text, tuple(_WORDS)).code if words else "en"
