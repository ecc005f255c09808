"""Known-item questions: questions whose answer is known to stand in one place, made from the documents themselves.

Two styles, taken in turn:

    title   from a section's title in a natural wording, every second one with a distinctive word of the section's text,
            so that finding it takes more than matching the heading; gold span: the section
    terms   from the rarest words of one sentence, none of them in the title; gold span: that sentence

Whatever occurs twice in the collection (a title, a passage, a sentence) is not asked about, for its place would not be
unique. A chunk answers a question when it overlaps text[start:end] of the question's document.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from genwerk.core.types import Document
from genwerk.data.prose import ProseSection, Rarity, fold, prose_sections, words_of

_NAME = re.compile(r"[A-Za-z_][\w.]*(?:\(\))?$")
_GENERIC_LIST = (
    "abstract arguments attributes background beispiel beispiele contents description einleitung example examples "
    "exceptions hinweis hinweise inhalt introduction methods note notes overview parameters raises references "
    "remarks return returns summary todo usage warning warnings zusammenfassung"
)
_GENERIC = frozenset(_GENERIC_LIST.split())
_FEWEST_WORDS = 8  # in a sentence that is asked for by its words
_TEMPLATES = {
    "en": {
        "name": (
            "What does {title} do?", "What is {title} for?", "How is {title} used?", "When would I use {title}?",
            "Can you explain {title}?",
        ),
        "topic": (
            "What should I know about {title}?", "Can you explain {title}?", "What is said about {title}?",
            "How does it work: {title}?", "What is the rule for {title}?",
        ),
        "hint": (
            "What does {title} have to do with {term}?", "What does the part on {title} say about {term}?",
            "What is said about {term} under {title}?", "In {title}, what is the role of {term}?",
        ),
        "terms": (
            "What is said about {terms}?", "How are {terms} connected?", "Where do {terms} come together?",
            "What do I need to know about {terms}?",
        ),
        "and": (" and ",),
    },
    "de": {
        "name": ("Was macht {title}?", "Wozu dient {title}?", "Wie wird {title} verwendet?"),
        "topic": (
            "Was ist über „{title}“ zu wissen?", "Was steht in den Unterlagen zu „{title}“?",
            "Was ist mit „{title}“ gemeint?",
        ),
        "hint": ("Was hat „{title}“ mit {term} zu tun?", "Was steht unter „{title}“ über {term}?"),
        "terms": ("Was wird über {terms} gesagt?", "Wie hängen {terms} zusammen?"),
        "and": (" und ",),
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A question answered by text[start:end] of the document; `style` is title or terms, `split` the document's."""

    text: str
    document_id: str
    start: int
    end: int
    split: str
    style: str


def known_item_questions(
    documents: Sequence[Document], *, seed: int, limit: int | None = None, split: str | None = None
) -> list[Question]:
    """Up to `limit` questions, spread over the documents in turn; the same for the same documents and seed.

    With `split` only documents of that split are asked about, while uniqueness is still judged over all of `documents`.
    """
    sections = {document.id: prose_sections(document) for document in documents}
    unique = _Unique(documents, sections)
    rarity = Rarity(document.text for document in documents)
    chosen = [document for document in documents if split is None or document.metadata.get("split") == split]
    chosen.sort(key=lambda document: document.id)
    random.Random(f"{seed}").shuffle(chosen)
    queues = [_document_questions(document, sections[document.id], unique, rarity, seed) for document in chosen]
    questions: list[Question] = []
    for turn in range(max(map(len, queues), default=0)):
        questions += [queue[turn] for queue in queues if turn < len(queue)]
    return questions if limit is None else questions[:limit]


def title_question(title: str, language: str, draw: random.Random, term: str = "") -> str:
    """A question about `title` in a wording drawn at random; with `term`, about that word under the title."""
    templates = _TEMPLATES.get(language, _TEMPLATES["en"])
    name = _NAME.match(title) is not None and ("." in title or "_" in title or "(" in title or title.islower())
    kind = "hint" if term else "name" if name else "topic"
    shown = title if name or language == "de" else _lower_first(title)
    return draw.choice(templates[kind]).format(title=shown, term=term)


def terms_question(terms: Sequence[str], language: str, draw: random.Random) -> str:
    """A question about two or more words that stand together in one sentence."""
    templates = _TEMPLATES.get(language, _TEMPLATES["en"])
    joined = templates["and"][0].join([", ".join(terms[:-1]), terms[-1]]) if len(terms) > 1 else terms[0]
    return draw.choice(templates["terms"]).format(terms=joined)


def is_generic(title: str) -> bool:
    """Whether a title names no subject of its own (Notes, Examples, ...)."""
    return title.lower().strip(" .:") in _GENERIC or not any(character.isalpha() for character in title)


class _Unique:
    """What occurs exactly once in the collection: titles, sections' beginnings, sentences."""

    def __init__(self, documents: Sequence[Document], sections: dict[str, list[ProseSection]]) -> None:
        self._count: Counter[str] = Counter()
        for document in documents:
            for prose in sections[document.id]:
                self._count[f"title {fold(prose.section.title)}"] += 1
                for start, end in prose.sentences:
                    self._count[f"sentence {fold(document.text[start:end])}"] += 1

    def title(self, title: str) -> bool:
        return self._count[f"title {fold(title)}"] == 1

    def sentence(self, sentence: str) -> bool:
        return self._count[f"sentence {fold(sentence)}"] == 1


def _document_questions(
    document: Document, sections: list[ProseSection], unique: _Unique, rarity: Rarity, seed: int
) -> list[Question]:
    draw = random.Random(f"{seed} {document.id}")
    split, language = document.metadata.get("split", "train"), document.metadata.get("language", "en")
    by_style: list[list[Question]] = [[], []]
    for prose in sections:
        section, text = prose.section, document.text
        spans = [span for span in prose.sentences if unique.sentence(text[span[0] : span[1]])]
        if not spans or section.level == 0:
            continue
        title_words = words_of(section.title)
        asked = prose.leads and unique.title(section.title) and not is_generic(section.title)
        if asked and spans[0] == prose.sentences[0]:
            term = rarity.distinctive(text[spans[0][0] : spans[-1][1]], 1, without=title_words)
            hint = term[0] if term and len(by_style[0]) % 2 else ""
            wording = title_question(section.title, language, draw, hint)
            by_style[0].append(Question(wording, document.id, section.start, section.end, split, "title"))
        start, end = draw.choice(spans)
        terms = rarity.distinctive(text[start:end], 3, without=title_words)
        if len(terms) == 3 and len(text[start:end].split()) >= _FEWEST_WORDS:
            wording = terms_question(terms, language, draw)
            by_style[1].append(Question(wording, document.id, start, end, split, "terms"))
    for queue in by_style:
        draw.shuffle(queue)
    return _alternate(by_style[0], by_style[1], first=draw.randrange(2))


def _alternate(one: list[Question], other: list[Question], *, first: int) -> list[Question]:
    queues = [one, other] if first == 0 else [other, one]
    longest = max(len(one), len(other))
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def _lower_first(title: str) -> str:
    """Lower the first letter of a sentence-case title; names, acronyms and Title Case stay."""
    words = title.split()
    plain = len(words) > 1 and words[0][1:].islower() and not any(word[:1].isupper() for word in words[1:])
    return title[0].lower() + title[1:] if plain else title
