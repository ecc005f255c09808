"""Follow-up questions: what is searched for when a question leans on the ones before it.

    "How do I install it on Linux?"          "And on Windows?"    →  How do I install it on Windows?
    "How long does the X100 run?"            "What about X200?"   →  How long does the X200 run?
    "Wie lang ist die Elbe?"                 "Wem gehört sie?"    →  Elbe Wem gehört sie?

    stands     a question with words of its own: it is searched as it is, and is the new topic
    swaps      one that only names something else (`and …?`): this takes the place of its counterpart in the question
               before: the phrase with the same preposition, else the word of the same shape (X100, X200), else the
               word that is nearest in meaning, if any is near; else it is put behind
    points     one with a pronoun, or with too few words of its own: the words of the topic are put in front of it

Chosen:   rules for English and German over all questions of the chat, so that a topic is carried through several
          turns; a pronoun whose noun stands in the same question does not point back, nor does the `it` of `is it
          possible to`.
Left out: rewriting by the model: it costs a prompt's time before the search can begin. Names from the answers between.
Try it:   pytest tests/retrieval/test_follow_up.py
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from genwerk.core.types import Message
from genwerk.retrieval.words import STOP_WORDS, Word, words_of

__all__ = ["retrieval_query"]

Embed = Callable[[Sequence[str]], np.ndarray]

_NEAR = 0.35  # cosine above which a word counts as another's counterpart
_FEW = 2  # content words of a question that may lean on its topic without a pronoun
_SWAPPED = 4  # content words at most of a question that only names something else
_LEAD = re.compile(
    r"\s*(?:(?:and|but|or|so|ok|okay|also|und|aber|oder|auch)\b[\s,]*)?"
    r"(?:(?:then|what|how)\s+about\b|what\s+if\b|(?:and|but|or|also|und|aber|oder|auch)\b|"
    r"was\s+ist\s+mit\b|wie\s+(?:ist|sieht|steht)\s+(?:es|das)\s+(?:mit|bei)\b)?[\s,]*",
    re.IGNORECASE,
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PRONOUNS = _set(
    "it its itself they them their theirs he him his she her hers this these those there both former latter ones "
    "er ihn ihm sie ihr ihre ihren ihrem ihrer seine seinen seinem seiner es dies diese diesen diesem dieser dieses "
    "jene jener beide dabei dadurch dafür dagegen damit daran darauf daraus darin darüber davon "
    "dazu dort dorthin derselbe dieselbe dasselbe"
)
_AFTER_THAT = _set("is was does did do can could will would should has had work works mean means happen happens apply")
_BEFORE_THAT = _set("is was does did do about of for with by after before like than can will would should")
_ASKING = _set(
    "what who whom whose which when where why how is are was were do does did can could will would should may must has "
    "have wer wen wem was wann wo woher wohin warum wieso weshalb wie wieviel welche welcher welches welchen ist sind "
    "war hat haben kann darf muss soll gibt"
)
_PREPOSITIONS = {
    word: number
    for number, group in enumerate((
        "in on at under within inside auf unter im am bei beim an", "for für", "with mit", "without ohne",
        "from aus von vom", "to nach zum zur zu", "after", "before vor", "during während", "by durch",
    ))
    for word in group.split()
}  # fmt: skip
_CONJUNCTIONS = _set(
    "when before after if because while until once and that wenn bevor nachdem weil dass bis sobald und während"
)
_ARTICLES = _set("the der die das den dem des")
_OF = _set("of in on for von vom der des in im auf am für")
_LIGHT = _set(
    "long much many old tall big far often work works working happen happens need want help find make makes made "
    "difference way explain show describe list give please think about say said take takes look exactly "
    "lange lang groß hoch viel viele alt weit oft heißt funktioniert gibt geben bedeutet brauche braucht mache macht "
    "erkläre erklären zeige nenne bitte genau unterschied darf gelten gilt heute kostet"
)
_EXPLETIVE = re.compile(
    r"\b(?:is|was|will|would) it (?:be )?\w+ (?:to|that|for)\b|\bdoes it (?:take|cost|mean) .*\bto\b|\bgibt es\b|"
    r"\bes gibt\b|\b(?:ist|wäre) es \w+,? (?:zu|dass|wenn)\b|\bes \w+,? (?:zu|dass)\b",
    re.IGNORECASE,
)


def retrieval_query(messages: Sequence[Message], embed: Embed | None = None) -> str:
    """What is searched for the last question of a chat. `embed` tells which word a new one stands for.

    Empty where no user message has text.
    """
    asked = [text for message in messages if message.role == "user" and (text := message.content.strip())]
    resolved, topic = "", list[str]()
    for question in asked:
        rest = _LEAD.sub("", question, count=1).strip()
        if not resolved or not rest:
            resolved, topic = question, topic_words(question)
        elif _only_names(question, rest):
            resolved = _swapped(resolved, rest, embed)
            topic = topic_words(resolved)
        elif _points(question):
            resolved = " ".join([*(word for word in topic if word.casefold() not in rest.casefold()), rest])
            topic = list(dict.fromkeys([*topic[:_SWAPPED], *topic_words(rest)]))
        else:
            resolved, topic = question, topic_words(question)
    return resolved


def topic_words(question: str) -> list[str]:
    """The words of a question that say what it is about, as written, in order."""
    words = [word for word in words_of(question) if word.folded not in STOP_WORDS]
    kept = [word.text for word in words if word.folded not in _LIGHT and word.folded not in _PRONOUNS]
    return list(dict.fromkeys(kept or [word.text for word in words]))


def _content(words: Sequence[Word]) -> list[Word]:
    return [word for word in words if word.folded not in STOP_WORDS and word.folded not in _PRONOUNS]


def _only_names(question: str, rest: str) -> bool:
    """Whether the question is nothing but another name, alone or after `and`, `what about`."""
    words = words_of(rest)
    if not words or any(word.folded in _PRONOUNS for word in words) or len(_content(words)) > _SWAPPED:
        return False
    led = len(rest) < len(question)
    return words[0].folded not in _ASKING and (led or len(words) <= _FEW) and bool(_content(words))


def _points(question: str) -> bool:
    """Whether the question has a pronoun whose noun it does not hold itself, or too few words to be searched alone."""
    words = words_of(_EXPLETIVE.sub(" ", question))
    if any(_is_pronoun(words, place) and not _has_own_noun(words[:place]) for place in range(len(words))):
        return True
    content = _content(words)
    if not [word for word in content if word.folded not in _LIGHT]:
        return True
    if len(content) > _FEW:
        return False
    return any(_names_a_part(words, place) for place, word in enumerate(words) if word.folded in _ARTICLES)


def _is_pronoun(words: Sequence[Word], place: int) -> bool:
    word = words[place]
    following, before = words[place + 1 : place + 3], words[place - 1].folded if place else ""
    if word.folded == "that":
        return not following or following[0].folded in _AFTER_THAT or before in _BEFORE_THAT
    if word.folded == "das":
        return not any(one.text[0].isupper() for one in following)
    if word.folded == "there":
        return not following or before in {"from", "over", "in"}
    if word.folded == "one":
        return before in {"which", "this", "that", "other"}
    if word.folded in {"sie", "ihr", "ihre", "ihren", "ihrem", "ihrer"} and word.text[0].isupper() and place:
        return False  # the polite form
    return word.folded in _PRONOUNS


def _has_own_noun(before: Sequence[Word]) -> bool:
    """Whether a noun that a pronoun may stand for comes before it, in another clause of the same question."""
    places = [place for place, word in enumerate(before) if word.folded in _CONJUNCTIONS and place]
    if not places:
        return False
    clause = before[: places[-1]]
    named = any(word.folded in _ARTICLES | {"a", "an", "ein", "eine", "einen"} for word in clause)
    return named or len(_content(clause)) >= _FEW


def _names_a_part(words: Sequence[Word], place: int) -> bool:
    """Whether `the …` at this place says nothing of what it is part of: no `of …`, no name, no superlative."""
    following = words[place + 1 :]
    german = words[place].folded != "the"
    named = any(word.text[0].isupper() for word in following) and not german
    whose = any(word.folded in _OF for word in following)
    superlative = any(re.search(r"est(?:e[nrs]?)?$", word.folded) for word in following)
    return bool(following) and not (named or whose or superlative)


def _swapped(before: str, rest: str, embed: Embed | None) -> str:
    """`before` with `rest` in the place of its counterpart, or behind it."""
    new = rest.rstrip(" ?.!")
    words, named = words_of(before), words_of(new)
    if named[0].folded in _PREPOSITIONS:
        group = _PREPOSITIONS[named[0].folded]
        for place, word in enumerate(words):
            if place and _PREPOSITIONS.get(word.folded) == group:
                end = next((k for k in range(place + 1, len(words)) if _ends_phrase(words, k)), len(words))
                return f"{before[: word.start]}{new}{before[words[end - 1].end :]}"
    content = [word for word in _content(words) if word.folded not in _LIGHT]
    head = " ".join(word.text for word in _content(named))
    counterpart = _counterpart(content, head, embed) if len(content) > 1 else None
    if counterpart is None:
        return f"{before.rstrip(' ?.!')} {new}"
    return f"{before[: counterpart.start]}{head}{before[counterpart.end :]}"


def _ends_phrase(words: Sequence[Word], place: int) -> bool:
    word = words[place]
    return word.folded in _PREPOSITIONS or word.folded in _ASKING or word.folded in _CONJUNCTIONS


def _counterpart(content: Sequence[Word], head: str, embed: Embed | None) -> Word | None:
    """The word that `head` stands for: of the same shape, or the nearest in meaning."""
    shape = _shape(head)
    alike = [word for word in content if shape and _shape(word.text) == shape]
    if alike:
        return alike[-1]
    if embed is None:
        return None
    vectors = embed([head, *(word.text for word in content)])
    likeness = vectors[1:] @ vectors[0]
    best = int(np.argmax(likeness))
    return content[best] if likeness[best] >= _NEAR else None


def _shape(text: str) -> str:
    """Letters as A or a and digits as 0, runs as one; empty for a plain word, whose shape says nothing."""
    shape = re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", lambda found: "A" if found.group().isupper() else "a", text))
    return shape if any(one != other for one, other in pairwise(shape)) or shape in {"A", "0"} else ""
