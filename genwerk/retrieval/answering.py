"""Grounded answers: retrieve, let the model write, and let through only what a retrieved passage says.

    query ─ search ─ enough? ─ prompt ─ model ─┬─ sentence ─ guard ─ align ─ verify ─ shown with its citation
               │        └ no: abstain          └─ nothing left: the best passage is quoted
               └─ Passages first, then a Sentence each, then Done

The model is never trusted with citations: its own markers are taken off, and each sentence is tied to a span of a
passage by the server, cut out of the document again and compared byte by byte, before it leaves.

Chosen:   a sentence is held back until it is whole and checked; one that no passage supports, or that only
          repeats a heading, is dropped; an unfinished one at the end is dropped unless its beginning stands in a
          passage, whose whole sentence is then shown.
Left out: rewriting of follow-up questions by the model (the question before is put in front of a short one).
Try it:   genwerk chat
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field

from genwerk.core.errors import RequestError
from genwerk.core.types import Citation, Message, Request, Sampling, Usage, Verdict
from genwerk.data.prompting import grounded_messages
from genwerk.data.sentences import split_sentences
from genwerk.inference.engine import Delta
from genwerk.retrieval.abstention import Abstention
from genwerk.retrieval.answer_events import AnswerEvent, Done, Passages, Sentence
from genwerk.retrieval.citations import Passage, align, strip_markers, verify
from genwerk.retrieval.extract import best_quote, is_readable
from genwerk.retrieval.index import Index
from genwerk.retrieval.reading import Reader
from genwerk.retrieval.search import Search
from genwerk.retrieval.words import content_words, words_of

__all__ = [
    "ABSTAIN_TEXT",
    "HELD_BACK_TEXT",
    "AnswerEvent",
    "Answerer",
    "Done",
    "Passages",
    "Sentence",
    "retrieval_query",
]

Generate = Callable[[Request], Iterator[Delta]]
Check = Callable[[str], Verdict]
CountTokens = Callable[[Sequence[Message]], int]

ABSTAIN_TEXT = "The documents do not seem to answer this question."
HELD_BACK_TEXT = "A passage was found, but a rule holds it back."
_HISTORY = 2
_HISTORY_CHARS = 800
_REPEATS = 3
_SHORT_QUESTION_WORDS = 2
_POINTING = frozenset(
    ["it", "its", "they", "them", "their", "this", "that", "these", "those", "he", "she", "es", "sie", "dies", "das"]
)


@dataclass(slots=True)
class _Draft:
    """What has been written so far in one answer."""

    passages: list[Passage]
    sentences: list[Sentence] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    repeats: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    finish_reason: str = "stop"


class Answerer:
    """Answers questions from an index. Holds no state between answers.

    abstention        None answers whatever is found.
    generate          the engine's stream; closed as soon as nothing more is needed.
    count_tokens      of messages in the model's template; the prompt has at most `prompt_tokens` of them, but always
                      the best passage. Without it a token is taken for three characters.
    check             the output guards' verdict on one sentence.
    """

    def __init__(
        self,
        index: Index,
        searcher: Search,
        generate: Generate,
        abstention: Abstention | None,
        *,
        count_tokens: CountTokens | None = None,
        check: Check | None = None,
        k: int = 8,
        prompt_tokens: int = 900,
        groups: Collection[str] = (),
    ) -> None:
        self._index, self._searcher, self._generate = index, searcher, generate
        self._reader = Reader(index)
        self._abstention, self._count_tokens = abstention, count_tokens or _estimate_tokens
        self._check = check or _pass
        self._k, self._prompt_tokens, self._groups = k, prompt_tokens, groups

    def answer(
        self, messages: Sequence[Message], sampling: Sampling | None = None, adapter: str | None = None, user: str = ""
    ) -> Iterator[AnswerEvent]:
        """Passages, then each sentence as soon as it is verified, then Done.

        Raises RequestError when there is no question, or whatever the engine refuses (a prompt too long for it).
        """
        sampling = sampling or Sampling()
        question = _question(messages)
        query = retrieval_query(messages)
        found = self._searcher.look(query, self._k, groups=self._groups)
        score, threshold = found.signals.cosine, -1.0
        if self._abstention is not None:
            score, threshold = self._abstention.score(found.signals), self._abstention.threshold
        results = self._reader.read(found.results)
        yield Passages(results, query, score, threshold)
        if not results or score < threshold:
            yield Sentence(ABSTAIN_TEXT, None)
            yield Done(ABSTAIN_TEXT, (), True, Usage(0, 0), "stop")
            return
        passages = [Passage(item.chunk, self._index.document(item.chunk.document_id)) for item in results]
        prompt, used = self._prompt(question, passages, _history(messages))
        draft = _Draft(used)
        yield from self._write(Request(prompt, sampling, adapter, user), draft)
        kept = len(draft.sentences)
        if not kept:
            yield from self._quote(query, draft)
        if not draft.sentences:
            yield Sentence(HELD_BACK_TEXT if draft.verdicts else ABSTAIN_TEXT, None)
        yield _done(draft, kept)

    def _prompt(
        self, question: str, passages: list[Passage], history: Sequence[Message]
    ) -> tuple[tuple[Message, ...], list[Passage]]:
        """The prompt with as many of the best passages as fit, at least one."""
        used = 1
        prompt = grounded_messages(question, [passages[0].text], history)
        for count in range(2, len(passages) + 1):
            longer = grounded_messages(question, [passage.text for passage in passages[:count]], history)
            if self._count_tokens(longer) > self._prompt_tokens:
                break
            prompt, used = longer, count
        return prompt, passages[:used]

    def _write(self, request: Request, draft: _Draft) -> Iterator[Sentence]:
        """Let the model write; yields each sentence that holds."""
        held = ""
        deltas = self._generate(request)
        with closing(deltas) if isinstance(deltas, Generator) else nullcontext():
            for delta in deltas:
                held += delta.text
                if delta.token is not None:
                    draft.tokens.append(delta.token)
                draft.usage = delta.usage or draft.usage
                draft.finish_reason = delta.finish_reason or draft.finish_reason
                spans = split_sentences(held) if delta.text.strip() else []
                for start, end in spans[:-1]:
                    yield from self._consider(held[start:end], draft)
                if len(spans) > 1:
                    held = held[spans[-1][0] :]
                if draft.repeats >= _REPEATS:
                    return
        for start, end in split_sentences(held):
            unfinished = draft.finish_reason == "length" and end == len(held.rstrip())
            yield from self._consider(held[start:end], draft, unfinished=unfinished)

    def _consider(self, written: str, draft: _Draft, *, unfinished: bool = False) -> Iterator[Sentence]:
        """One sentence of the model: yields it if the guards pass it and a passage says it."""
        text = strip_markers(written)
        if not words_of(text):
            return
        if any(sentence.text == text for sentence in draft.sentences):
            draft.repeats += 1
            return
        citation = align(written, draft.passages)
        if citation is None or not is_readable(citation.quote) or not self._holds(citation):
            draft.dropped.append(text)
            draft.repeats += draft.dropped.count(text) > 1
            return
        if unfinished or len(words_of(text)) == len(words_of(citation.quote)):
            text = " ".join(citation.quote.split())  # the document's own spelling, and the whole sentence
        yield from self._emit(text, citation, draft, quoted=False)

    def _quote(self, query: str, draft: _Draft) -> Iterator[Sentence]:
        citation = best_quote(query, draft.passages, self._searcher.embedder)
        if citation is not None and self._holds(citation):
            yield from self._emit(" ".join(citation.quote.split()), citation, draft, quoted=True)

    def _emit(self, text: str, citation: Citation, draft: _Draft, *, quoted: bool) -> Iterator[Sentence]:
        """Guard the text, number the citation, keep both."""
        if any(sentence.text == text for sentence in draft.sentences):
            return
        verdict = self._check(text)
        draft.verdicts.append(verdict)
        if not verdict.allowed:
            draft.dropped.append(text)
            return
        if citation not in draft.citations:
            draft.citations.append(citation)
        sentence = Sentence(verdict.text, citation, draft.citations.index(citation) + 1, quoted)
        draft.sentences.append(sentence)
        yield sentence

    def _holds(self, citation: Citation) -> bool:
        return verify(citation, self._index.document(citation.document_id))


def _done(draft: _Draft, kept: int) -> Done:
    text = " ".join(sentence.shown for sentence in draft.sentences)
    return Done(
        text=text or (HELD_BACK_TEXT if draft.verdicts else ABSTAIN_TEXT),
        citations=tuple(draft.citations),
        abstained=not draft.sentences,
        usage=draft.usage,
        finish_reason="content_filter" if draft.verdicts and not draft.sentences else draft.finish_reason,
        kept=kept,
        dropped=tuple(draft.dropped),
        quoted=bool(draft.sentences) and not kept,
        verdicts=tuple(draft.verdicts),
        tokens=tuple(draft.tokens),
    )


def retrieval_query(messages: Sequence[Message]) -> str:
    """What is searched for: the last question, with the one before it if it is short or points back at something."""
    asked = [message.content for message in messages if message.role == "user"]
    last = _question(messages)
    points = any(word.folded in _POINTING for word in words_of(last))
    if len(asked) > 1 and (points or len(content_words(last)) <= _SHORT_QUESTION_WORDS):
        return f"{asked[-2].strip()} {last}"
    return last


def _question(messages: Sequence[Message]) -> str:
    last = next((message.content.strip() for message in reversed(messages) if message.role == "user"), "")
    if not last:
        raise RequestError("there is no question", param="messages", remedy="End with a user message that has text.")
    return last


def _history(messages: Sequence[Message]) -> list[Message]:
    """The last turns before the question, as far as they are short enough not to crowd out the passages."""
    last = max(place for place, message in enumerate(messages) if message.role == "user")
    kept = [message for message in messages[:last] if message.role != "system"][-_HISTORY:]
    return kept if sum(len(message.content) for message in kept) <= _HISTORY_CHARS else []


def _estimate_tokens(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages) // 3


def _pass(text: str) -> Verdict:
    return Verdict(True, text, "output", "")
