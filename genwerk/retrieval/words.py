"""Words of a text as search and citations see them: what carries meaning and what only holds a sentence together."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["STOP_WORDS", "Word", "content_words", "stem", "words_of"]

_WORD = re.compile(r"(?:(?<![\w\]).])[-−])?\d+(?:[.,:]\d+)*%?|[^\W_]+(?:['’][^\W\d_]+)*", re.UNICODE)

_STOP = """
    a about above across after again against all also although am an and any are as at be because been before being
    below between both but by can could did do does doing done down during each either else ever every few for from
    further get got had has have having he her here hers him his how however i if in into is it its itself just let like
    many may me might mine more most much must my no nor not now of off often on once one only onto or other others our
    out over own per rather s said same say says she should since so some still such t than that the their them then
    there these they this those though through thus to too under until up upon us use used uses using very was we were
    what when where whether which while who whom whose why will with within without would yet you your yours
    explain tell know mean means
    aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist da dabei dadurch
    damit dann das dass dein dem den denn der deren des dessen die dies diese diesem diesen dieser dieses doch dort du
    durch ein eine einem einen einer eines er es etwas euch euer für gegen hat hatte hier hinter ich ihm ihn ihnen ihr
    ihre im in ins ist ja jede jedem jeden jeder jedes jedoch kann kein keine können machen man mein mich mir mit muss
    nach nicht noch nun nur ob oder ohne sehr sein seine sich sie sind so soll sollte sondern um und uns unter vom von
    vor wann war waren warum was weil welche welcher wenn wer werden wie wieder will wir wird wo worden wurde wurden zu
    zum zur zwischen über"""
STOP_WORDS = frozenset(_STOP.split())


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: as written, folded to lower case, and its span text[start:end]."""

    text: str
    folded: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """All words and numbers of `text` in order. A number keeps its sign, points and colons: -1.5, 10:30."""
    return [Word(m.group(), m.group().casefold().replace("’", "'"), m.start(), m.end()) for m in _WORD.finditer(text)]


def content_words(text: str) -> list[Word]:
    """Words that carry meaning: no stop words."""
    return [word for word in words_of(text) if word.folded not in STOP_WORDS]


def stem(folded: str) -> str:
    """A rough English stem, so that `returns`, `returned` and `returning` compare as one. Short words stay."""
    if len(folded) <= 3 or not folded.isalpha():
        return folded
    for ending, put in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        root = folded[: len(folded) - len(ending)]
        if folded.endswith(ending) and not folded.endswith(("ss", "us", "is")) and len(root) >= 3:
            return (root + put).rstrip("e") if put == "" else root + put
    return folded.rstrip("e") if len(folded) > 4 else folded
