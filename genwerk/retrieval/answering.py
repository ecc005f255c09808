"""Grounded answers: retrieve, let the model write, and let through only what a retrieved passage says.

    chat ─ query ─ search ─ enough? ─ context ─ model ─┬─ sentence ─ align ─ verify ─ guard ─ shown with its citation
                     │        └ no: abstain            └─ nothing left: the best passage is quoted
                     └─ Passages first, then a Sentence each, then Done

The model is never trusted with citations: its own markers are taken off, and each sentence is tied to a span of a
passage by the server, cut out of the document again and compared byte by byte, before it leaves. A marker only says
which of equally good passages is tried first.

Chosen:   a sentence is held back until it is whole and checked; one that no passage supports, that only repeats a
          heading, or that was not asked for (from another passage than the one that would be quoted, farther from the
          question by more than `slack`, and without the words of it that the quote lacks) is dropped; an unfinished one
          at the end is dropped unless its beginning stands in a passage, whose whole sentence is then shown. Several
          answers are drawn with seeds that follow each other, and at temperature 0.7 where the caller asks for 0, at
          which they would all be the same.
Left out: rewriting of follow-up questions by the model (follow_up.py has rules).
Try it:   genwerk chat
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Self

from genwerk.core.errors import RequestError
from genwerk.core.types import Citation, Document, Message, Request, Retrieved, Sampling, Usage, Verdict
from genwerk.data.prompting import grounded_messages
from genwerk.data.sentences import split_sentences
from genwerk.inference.engine import Delta
from genwerk.retrieval.abstention import Abstention
from genwerk.retrieval.agreement import Claim, agreed
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.answer_events import AnswerEvent, Done, Passages, Sentence
from genwerk.retrieval.citations import Passage, align, may_be_shown, strip_markers
from genwerk.retrieval.cited_form import begins_marker, cited_form, marker_of
from genwerk.retrieval.context import Shown, best_at_ends, compress, distinct, fit_budget
from genwerk.retrieval.extract import Quote, best_quote, is_readable, nearness, says_the_rest
from genwerk.retrieval.follow_up import retrieval_query
from genwerk.retrieval.index import Index
from genwerk.retrieval.reading import Reader
from genwerk.retrieval.replies import language_of_text, replies_in
from genwerk.retrieval.search import Findings, Search
from genwerk.retrieval.support import score_support
from genwerk.retrieval.words import words_of

__all__ = ["AnswerEvent", "Answerer", "Done", "Passages", "Sentence"]

Generate = Callable[[Request], Iterator[Delta]]
Check = Callable[[str], Verdict]
CountTokens = Callable[[Sequence[Message]], int]

_HISTORY = 2
_HISTORY_CHARS = 800
_REPEATS = 3
_TEMPERATURE = 0.7


@dataclass(slots=True)
class _Written:
    """What the model wrote in one answer, as far as it was looked at."""

    dropped: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    repeats: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    finish_reason: str = "stop"


@dataclass(slots=True)
class _Draft:
    """What may be shown so far. passages: those in the prompt, in its order; best: what may be quoted of them."""

    query: str
    language: str
    passages: list[Passage]
    best: Callable[[], Quote | None]
    sentences: list[Sentence] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    written: list[_Written] = field(default_factory=list)

    @property
    def silence(self) -> str:
        """What is said where nothing is left: that nothing was found, or that a rule holds it back."""
        replies = replies_in(self.language)
        return replies.held_back if self.verdicts else replies.abstain


class Answerer:
    """Answers questions from an index. Holds no state between answers.

    abstention        None answers whatever is found.
    generate          the engine's stream; closed as soon as nothing more is needed.
    count_tokens      of messages in the model's template; without it a token is taken for three characters.
    check             the output guards' verdict on one sentence.
    admit             the verdict on a passage before the model reads it; one that is not allowed is not quoted either.
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
        admit: Check | None = None,
        config: AnswerConfig | None = None,
        groups: Collection[str] = (),
    ) -> None:
        self._index, self._searcher, self._generate = index, searcher, generate
        self._reader = Reader(index)
        self._abstention, self._count_tokens = abstention, count_tokens or _estimate_tokens
        self._check, self._admit = check or _pass, admit or _pass
        self._config, self._groups = config or AnswerConfig(), groups

    def answer(
        self, messages: Sequence[Message], sampling: Sampling | None = None, adapter: str | None = None, user: str = ""
    ) -> Iterator[AnswerEvent]:
        """Passages, then each sentence as soon as it is verified, then Done.

        Raises RequestError when there is no question, or whatever the engine refuses (a prompt too long for it).
        """
        question = _question(messages)
        language = language_of_text(question)
        query = retrieval_query(messages, self._searcher.embedder.embed)
        found, results, passages = self._index.following(lambda: self._found(query))
        score, threshold = found.signals.cosine, -1.0
        if self._abstention is not None:
            score, threshold = self._abstention.score(found.signals), self._abstention.threshold
        yield Passages(results, query, score, threshold, tuple(passage.document for passage in passages))
        if not results or score < threshold:
            yield from _silent(replies_in(language).abstain, language, "stop")
            return
        passages = [passage for passage in passages if self._admit(passage.text).allowed]
        if not passages:
            yield from _silent(replies_in(language).held_back, language, "content_filter")
            return
        prompt, used = self._prompt(question, query, passages, _history(messages), language)
        ranked = [passage for passage in passages if passage in used]
        best = cache(partial(best_quote, query, ranked, self._searcher.embedder))
        draft = _Draft(query, language, used, best)
        yield from self._sentences(Request(prompt, sampling or Sampling(), adapter, user), draft)
        kept = len(draft.sentences)
        if not kept:
            yield from self._quote(draft)
        if not draft.sentences:
            yield Sentence(draft.silence, None)
        yield _done(draft, kept)

    def _found(self, query: str) -> tuple[Findings, tuple[Retrieved, ...], list[Passage]]:
        """What a search found, what is read there, and the documents: from here on the index is not asked again."""
        found = self._searcher.look(query, self._config.passages, groups=self._groups)
        results = self._reader.read(found.results)
        chunks = [item.chunk for item in results]
        return found, results, [Passage(one, self._index.shown(one.document_id, self._groups)) for one in chunks]

    def _prompt(
        self, question: str, query: str, passages: list[Passage], history: Sequence[Message], language: str
    ) -> tuple[tuple[Message, ...], list[Passage]]:
        """The prompt with as many of the best passages as fit, at least one; and these, as it numbers them."""

        def prompt(shown: Sequence[Shown]) -> tuple[Message, ...]:
            return grounded_messages(question, [one.text for one in shown], history, language)

        config = self._config
        shown = compress(query, distinct(passages), config.keep, self._searcher.embedder)
        shown = fit_budget(shown, lambda some: self._count_tokens(prompt(some)), config.prompt_tokens)
        if config.order == "ends":
            shown = best_at_ends(shown)
        return prompt(shown), [one.passage for one in shown]

    def _sentences(self, request: Request, draft: _Draft) -> Iterator[Sentence]:
        """The sentences of the model that hold, or those that most of several answers agree on."""
        if self._config.cited_form:
            request = replace(request, constraint=cited_form(len(draft.passages)))
        if self._config.drawn == 1:
            for claim in self._write(request, draft):
                yield from self._emit(claim, draft)
            return
        sampling = request.sampling
        sampling = replace(sampling, temperature=sampling.temperature or _TEMPERATURE)
        seeds = range(sampling.seed, sampling.seed + self._config.drawn)
        drawn = [replace(request, sampling=replace(sampling, seed=seed)) for seed in seeds]
        for claim in agreed([list(self._write(one, draft)) for one in drawn]):
            yield from self._emit(claim, draft)

    def _write(self, request: Request, draft: _Draft) -> Iterator[Claim]:
        """Let the model write one answer; yields each sentence that a passage says, once."""
        written, held = _Written(), ""
        draft.written.append(written)
        said: set[str] = set()
        deltas = self._generate(request)
        with closing(deltas) if isinstance(deltas, Generator) else nullcontext():
            for delta in deltas:
                held += delta.text
                if delta.token is not None:
                    written.tokens.append(delta.token)
                written.usage = delta.usage or written.usage
                written.finish_reason = delta.finish_reason or written.finish_reason
                spans = split_sentences(held) if delta.text.strip() else []
                if len(spans) > 1 and not begins_marker(held[spans[-2][1] :]):
                    for start, end in spans[:-1]:
                        yield from self._consider(held[start:end], said, written, draft)
                    held = held[spans[-1][0] :]
                if written.repeats >= _REPEATS:
                    return
        for start, end in split_sentences(held):
            unfinished = written.finish_reason == "length" and end == len(held.rstrip())
            yield from self._consider(held[start:end], said, written, draft, unfinished=unfinished)

    def _consider(
        self, sentence: str, said: set[str], written: _Written, draft: _Draft, *, unfinished: bool = False
    ) -> Iterator[Claim]:
        """One sentence of the model, if a passage says it."""
        text, hint = strip_markers(sentence), marker_of(sentence)
        if not words_of(text):
            return
        if text in said:
            written.repeats += 1
            return
        citation = align(sentence, draft.passages, hint)
        shown = citation is not None and is_readable(citation.quote) and self._holds(citation, draft)
        if citation is None or not shown or not self._is_asked_for(citation, draft):
            written.dropped.append(text)
            written.repeats += written.dropped.count(text) > 1
            return
        said.add(text)
        if unfinished or len(words_of(text)) == len(words_of(citation.quote)):
            text = " ".join(citation.quote.split())  # the document's own spelling, and the whole sentence
            said.add(text)
        yield Claim(text, citation, _names(hint, draft.passages, citation) if hint else None)

    def _quote(self, draft: _Draft) -> Iterator[Sentence]:
        if (best := draft.best()) is not None and self._holds(best.citation, draft):
            yield from self._emit(Claim(" ".join(best.citation.quote.split()), best.citation), draft, quoted=True)

    def _is_asked_for(self, citation: Citation, draft: _Draft) -> bool:
        """Whether it stands in the passage that would be quoted, says what is missing there, or is about as near."""
        best = draft.best()
        if best is None or best.shares_passage(citation):
            return True
        if says_the_rest(draft.query, citation.quote, best.citation.quote):
            return True
        (near,) = nearness(draft.query, [citation.quote], self._searcher.embedder)
        return bool(near >= best.near - self._config.slack)

    def _emit(self, claim: Claim, draft: _Draft, *, quoted: bool = False) -> Iterator[Sentence]:
        """Guard the text, number the citation, keep both."""
        if any(sentence.text == claim.text for sentence in draft.sentences):
            return
        verdict = self._check(claim.text)
        draft.verdicts.append(verdict)
        if not verdict.allowed:
            draft.dropped.append(claim.text)
            return
        if claim.citation not in draft.citations:
            draft.citations.append(claim.citation)
        sentence = Sentence(
            verdict.text, claim.citation, draft.citations.index(claim.citation) + 1, quoted,
            score_support(verdict.text, claim.citation.quote, self._searcher.embedder), claim.hinted, claim.agreed,
        )  # fmt: skip
        draft.sentences.append(sentence)
        yield sentence

    def _holds(self, citation: Citation, draft: _Draft) -> bool:
        return may_be_shown(citation, _Held.of(draft.passages), self._groups)


@dataclass(frozen=True, slots=True)
class _Held:
    """The documents of one answer as they were when they were found, whatever becomes of them meanwhile."""

    documents: dict[str, Document]

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> Self:
        return cls({passage.document.id: passage.document for passage in passages})

    @property
    def document_ids(self) -> Collection[str]:
        return self.documents.keys()

    def document(self, identity: str) -> Document:
        return self.documents[identity]

    def may_see(self, identity: str, groups: Collection[str] = ()) -> bool:
        return self.documents[identity].may_be_seen(groups)


def _silent(text: str, language: str, reason: str) -> Iterator[AnswerEvent]:
    """All that is said where the model is not asked."""
    yield Sentence(text, None)
    yield Done(text, (), True, Usage(0, 0), reason, language=language, said_in=language)


def _done(draft: _Draft, kept: int) -> Done:
    text = " ".join(sentence.shown for sentence in draft.sentences)
    first, prompt = draft.written[0], draft.written[0].usage.prompt_tokens
    held_back, quoted = draft.verdicts and not draft.sentences, bool(draft.sentences) and not kept
    completed = sum(written.usage.completion_tokens for written in draft.written)
    return Done(
        text=text or draft.silence,
        citations=tuple(draft.citations),
        abstained=not draft.sentences,
        usage=Usage(prompt, completed),
        finish_reason="content_filter" if held_back else "stop" if quoted else first.finish_reason,
        kept=kept,
        dropped=(*(text for written in draft.written for text in written.dropped), *draft.dropped),
        quoted=quoted,
        verdicts=tuple(draft.verdicts),
        tokens=tuple(first.tokens),
        language=draft.language,
        said_in=language_of_text(text) if text else draft.language,
    )


def _names(hint: int, passages: Sequence[Passage], citation: Citation) -> bool:
    """Whether the passage that a marker names holds the citation."""
    if hint > len(passages):
        return False
    chunk = passages[hint - 1].chunk
    return chunk.document_id == citation.document_id and chunk.start <= citation.start and citation.end <= chunk.end


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
