"""Chat examples for tuning, made from the documents themselves: question, numbered passages, cited answer.

    system, user   `grounded_messages` over the gold passage and one distractor, in random order
    assistant      sentences of the gold passage, word for word with line breaks as spaces, and [k], the gold's number

Titles give questions whose answer is the section's first sentences; distinctive words give questions whose answer is
the sentence they stand in. Distractors come from the same split, so that no held-out text is trained on. Examples are
short because training on two cores pays for every token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genwerk.core.types import Document, Message
from genwerk.data.prompting import grounded_messages, join_lines
from genwerk.data.prose import ProseSection, Rarity, fold, prose_sections, words_of
from genwerk.data.questions import is_generic, terms_question, title_question
from genwerk.data.sentences import split_sentences

_GOLD_CHARS = 700
_ANSWER_CHARS = 300


@dataclass(frozen=True, slots=True)
class ChatExample:
    """A chat whose last message, the assistant's, is to be learned."""

    messages: tuple[Message, ...]
    document_id: str
    split: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    document: Document
    question: str
    passage: str
    answer: str


def make_chat_examples(
    documents: Sequence[Document], *, seed: int, limit: int | None = None, max_chars: int = 1300
) -> list[ChatExample]:
    """Examples with prompts of at most `max_chars` characters, documents in turn, the same for the same seed.

    `limit` counts the examples of both splits together; documents without prose give none.
    """
    rarity = Rarity(document.text for document in documents)
    chosen = sorted(documents, key=lambda document: document.id)
    random.Random(f"{seed}").shuffle(chosen)
    queues = [_candidates(document, rarity, seed) for document in chosen]
    candidates: list[_Candidate] = []
    seen: set[str] = set()
    for turn in range(max(map(len, queues), default=0)):
        for candidate in (queue[turn] for queue in queues if turn < len(queue)):
            if (key := fold(candidate.question + candidate.answer)) not in seen:
                seen.add(key)
                candidates.append(candidate)
    examples = _with_distractors(candidates, seed, max_chars)
    return [example for _, example in zip(range(limit), examples, strict=False)] if limit is not None else [*examples]


def _with_distractors(candidates: list[_Candidate], seed: int, max_chars: int) -> Iterator[ChatExample]:
    pools: dict[str, list[_Candidate]] = {}
    for candidate in candidates:
        pools.setdefault(_split(candidate.document), []).append(candidate)
    for index, candidate in enumerate(candidates):
        draw = random.Random(f"{seed} {index} {candidate.document.id}")
        language = candidate.document.metadata.get("language", "en")
        alone = grounded_messages(candidate.question, [candidate.passage], language=language)
        base = sum(len(message.content) for message in alone)
        distractor = _distractor(candidate, pools[_split(candidate.document)], max_chars - base - 8, draw)
        passages = [candidate.passage, *([distractor] if distractor else [])]
        draw.shuffle(passages)
        prompt = grounded_messages(candidate.question, passages, language=language)
        if sum(len(message.content) for message in prompt) <= max_chars:
            answer = f"{candidate.answer} [{passages.index(candidate.passage) + 1}]"
            yield ChatExample(
                (*prompt, Message("assistant", answer)), candidate.document.id, _split(candidate.document)
            )


def _distractor(gold: _Candidate, pool: list[_Candidate], room: int, draw: random.Random) -> str:
    """The beginning of another section's passage that does not hold the answer; empty where none fits."""
    for _ in range(8):
        other = draw.choice(pool)
        if other.passage != gold.passage and fold(gold.answer) not in fold(other.passage):
            spans = [end for _, end in split_sentences(other.passage) if end <= min(room, 450)]
            if spans:
                return other.passage[: spans[-1]]
    return ""


def _candidates(document: Document, rarity: Rarity, seed: int) -> list[_Candidate]:
    draw = random.Random(f"{seed} {document.id}")
    language = document.metadata.get("language", "en")
    found = []
    for prose in prose_sections(document):
        section = prose.section
        title_words = words_of(section.title)
        by_title = section.level > 0 and prose.leads and not is_generic(section.title) and draw.random() < 0.6
        first = 0 if by_title else draw.randrange(len(prose.sentences))
        spans = _answer_spans(document.text, prose, first, 2 if by_title else 1)
        answer = " ".join(join_lines(document.text[start:end]) for start, end in spans)
        terms = rarity.distinctive(answer, 3, without=title_words)
        if not by_title and len(terms) < 3:
            continue
        hint = terms[0] if by_title and terms and draw.random() < 0.3 else ""
        question = (
            title_question(section.title, language, draw, hint) if by_title else terms_question(terms, language, draw)
        )
        passage = _passage(document.text, prose, spans)
        if spans and fold(answer) in fold(passage):
            found.append(_Candidate(document, question, passage, answer))
    draw.shuffle(found)
    return found


def _answer_spans(text: str, prose: ProseSection, first: int, most: int) -> list[tuple[int, int]]:
    """Up to `most` prose sentences that follow each other directly, from number `first` on."""
    spans: list[tuple[int, int]] = []
    for start, end in prose.sentences[first : first + most]:
        adjacent = not spans or not text[spans[-1][1] : start].strip()
        if not adjacent or end - (spans[0][0] if spans else start) > _ANSWER_CHARS:
            break
        spans.append((start, end))
    return spans


def _passage(text: str, prose: ProseSection, spans: list[tuple[int, int]]) -> str:
    """Whole sentences of the section around `spans`, heading included where it fits, at most _GOLD_CHARS long."""
    if not spans:
        return ""
    section = prose.section
    start = section.start if spans[-1][1] - section.start <= _GOLD_CHARS - 100 else spans[0][0]
    ends = [start + end for _, end in split_sentences(text[start : section.end]) if end <= _GOLD_CHARS]
    return text[start : max([spans[-1][1], *ends])]


def _split(document: Document) -> str:
    return document.metadata.get("split", "train")
