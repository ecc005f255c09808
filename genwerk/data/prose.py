"""Which sentences of a section are prose, and which words are distinctive: what examples and questions are made of."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from genwerk.core.types import Document
from genwerk.data.sections import Section, split_sections
from genwerk.data.sentences import split_sentences

_WORD = re.compile(r"\b(?!\d)\w{4,32}\b")
_NOT_PROSE = re.compile(r"[\W\d_](?<!\s)")
_CODE = re.compile(r">>>|::=|==|=>|->|\(\)\s*:|[{}\\|]|https?://|\s=\s")
_STOPWORD_LIST = (
    "about above after again against also although always another because been before being below between both "
    "called cannot could does doing done down during each either else even every following from further given "
    "have having here however into itself just like made make many more most much must need never none nothing "
    "often once only other otherwise over part same section should since some such than that their them then "
    "there therefore these they this those though through thus under until upon used using usually very want "
    "were what when where whether which while will with within without would your "
    "aber alle allem allen alles auch beim dann dass dazu diese diesem diesen dieser dieses doch durch eine einem "
    "einen einer eines etwas gegen haben hatte hier ihre ihrem ihren ihrer immer jede jedem jeden jeder jedes kann "
    "kein keine keinen können mehr muss müssen nach nicht noch oder ohne sehr sein seine seinem seinen seiner "
    "sich sind sowie über unter werden wird wenn wenige wurde wurden zwischen zwar"
)
_STOPWORDS = frozenset(_STOPWORD_LIST.split())


@dataclass(frozen=True, slots=True)
class ProseSection:
    """A section with the spans of its prose sentences (offsets in the document).

    leads  whether nothing but code or grammar stands before the first of them, so that it says what the title means.
    """

    section: Section
    sentences: tuple[tuple[int, int], ...]
    leads: bool


def prose_sections(document: Document) -> list[ProseSection]:
    """Sections of `document` that have at least one prose sentence."""
    found = []
    for section in split_sections(document):
        body = document.text[section.body : section.end]
        spans = [(section.body + start, section.body + end) for start, end in split_sentences(body)]
        kept = tuple(span for span in spans if is_prose(document.text[span[0] : span[1]]))
        if kept:
            before = document.text[section.body : kept[0][0]].strip()
            found.append(ProseSection(section, kept, not before or _CODE.search(before) is not None))
    return found


def is_prose(sentence: str) -> bool:
    """A whole sentence of words: 5 to 60 of them, a capital or quote first, a stop last, no code."""
    words = sentence.split()
    if not 5 <= len(words) <= 60 or len(sentence) > 400 or sentence.rstrip("\"'”’)")[-1:] not in tuple(".!?"):
        return False
    if not (sentence[0].isupper() or sentence[0] in '"“„') or _CODE.search(sentence):
        return False
    return len(_NOT_PROSE.findall(sentence)) <= 0.2 * len(sentence)


def words_of(text: str) -> list[str]:
    """Content words of at least four letters, lower case, in order."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOPWORDS and word.strip("_")]


class Rarity:
    """How rare each word is: log(documents / documents with the word)."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._frequency: Counter[str] = Counter()
        self._documents = 0
        for text in texts:
            self._frequency.update(set(words_of(text)))
            self._documents += 1

    def distinctive(self, text: str, count: int, *, without: Sequence[str] = ()) -> list[str]:
        """The `count` rarest different words of `text`, in the order in which they stand there."""
        excluded = set(without)
        words = [word for word in dict.fromkeys(words_of(text)) if word not in excluded]
        rarest = sorted(words, key=lambda word: (-self.score(word), word))[:count]
        return [word for word in words if word in rarest]

    def score(self, word: str) -> float:
        return math.log((1 + self._documents) / (1 + self._frequency[word]))


def fold(text: str) -> str:
    """Letters and digits only, lower case, single spaces: equal for texts that differ in layout alone."""
    return " ".join(re.findall(r"\w+", text.lower()))
