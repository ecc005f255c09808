"""One question from the door to the log: input guards, retrieval and model, output guards, citations, record.

    question ─ input guards ─┬─ grounded: Answerer (retrieve, generate, verify each sentence) ─┬─ reply ─ log
                             └─ plain: engine, sentence by sentence past the output guards ────┘

`Assistant.answer` is a blocking generator of events; the server runs it in a thread, the terminal in place. Nothing is
yielded that the output guards have not seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from genwerk.core.types import (
    Citation,
    Constraint,
    Document,
    Message,
    Receipt,
    Reply,
    Request,
    Retrieved,
    Sampling,
    Usage,
    Verdict,
    new_answer_id,
)
from genwerk.guardrails.grounding import Grounding
from genwerk.guardrails.guard import Guard, GuardContext, inspect_text, outcome
from genwerk.guardrails.pii import mask_pii
from genwerk.inference.engine import Delta, TokenLogprob
from genwerk.inference.prompts import RAW, raw_text
from genwerk.inference.several import Answer
from genwerk.monitoring.answers import AnswerLog, AnswerRecord
from genwerk.monitoring.metrics import ServerMetrics
from genwerk.retrieval.answer_events import Done, Passages, Sentence
from genwerk.retrieval.support import Support
from genwerk.serving.deployment import Deployment
from genwerk.serving.holdback import Holdback


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants: a chat, how to sample, with which adapter, from the documents or from the model alone.

    groups      whose documents may be read beside everyone's: the name of the key that was shown.
    constraint  the form of an answer from the model alone.
    thinking    whether what a reasoning model thinks before it answers is shown.
    priority    lower is served earlier.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None
    grounded: bool = True
    groups: tuple[str, ...] = ()
    constraint: Constraint | None = None
    thinking: bool = True
    priority: int = 0

    @property
    def mode(self) -> str:
        return "grounded" if self.grounded else "plain"


@dataclass(frozen=True, slots=True)
class Started:
    """The request is sound and the input guards have looked."""

    answer_id: str
    receipt: Receipt
    mode: str
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk with the document it is a span of."""

    result: Retrieved
    document: Document

    @property
    def text(self) -> str:
        return self.document.text[self.result.chunk.start : self.result.chunk.end]


@dataclass(frozen=True, slots=True)
class Found:
    """What was retrieved, best first."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that may leave. All pieces of an answer, joined, are `reply.text`.

    number    the citation's, 0 without; support, agreed: see `Sentence`.
    """

    text: str
    citation: Citation | None = None
    number: int = 0
    quoted: bool = False
    support: Support | None = None
    agreed: float | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what the model thinks before it answers. It may leave, and is no part of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The whole reply, already in the log.

    prompt_logprobs   of the tokens the model read, where they were asked for.
    support           the share of drawn answers that end as this one does, where the majority picked it.
    """

    reply: Reply
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()
    support: float | None = None


AssistantEvent = Started | Found | Thought | Piece | Finished
Events = Generator[AssistantEvent, None, None]


Source = Callable[[Request], Callable[[], Answer]]
"""Checks what is asked, raising RequestError, and computes nothing; what it gives back opens the answer."""


class StoppedError(Exception):
    """The client has gone, so generation ends here."""


class Assistant:
    """A deployment with its guards, its log of answers and its metrics. All methods may be called from any thread."""

    def __init__(self, deployment: Deployment, log: AnswerLog, metrics: ServerMetrics | None = None) -> None:
        self.deployment, self.log, self.metrics = deployment, log, metrics or ServerMetrics()

    def answer(self, ask: Ask, stop: threading.Event | None = None, source: Source | None = None) -> Events:
        """Started, Found (if grounded), Thought …, Piece …, Finished.

        Raises RequestError before Started for an unsound request. Once `stop` is set the model takes no further step
        and `StoppedError` is raised.

        source   where an answer from the model alone comes from; default: the engine's stream
        """
        run = _Run(self, ask, stop or threading.Event(), source)
        for event in run.events():
            if isinstance(event, Thought | Piece) and not run.timed:
                run.timed = True
                self.metrics.first_text(ask.mode, time.perf_counter() - run.started)
            yield event

    def reply(self, ask: Ask) -> Reply:
        """The whole reply at once."""
        return next(event.reply for event in self.answer(ask) if isinstance(event, Finished))


class _Run:
    """One answer in the making."""

    def __init__(self, assistant: Assistant, ask: Ask, stop: threading.Event, source: Source | None) -> None:
        self.assistant, self.deployment, self.ask, self.stop = assistant, assistant.deployment, ask, stop
        self.source = source or self._single
        self.id, self.started, self.timed = new_answer_id(), time.perf_counter(), False
        self.context = GuardContext()
        self.found: tuple[Passage, ...] = ()
        self.living = ("", "")
        self.outbound: list[Verdict] = []
        self.blocked = False
        self.support: float | None = None
        self.prompt_logprobs: tuple[TokenLogprob | None, ...] = ()
        self.prompt: tuple[Message, ...] = ()
        self.logprobs: list[float] = []
        self._user = next(iter(ask.groups), "")

    def events(self) -> Events:
        messages, inbound, allowed = self._inspect_messages()
        engine = self.deployment.engine
        question, ask = raw_text(engine.tokenizer, messages[-1]), self.ask
        request = Request(
            messages, ask.sampling, ask.adapter, self._user, constraint=ask.constraint, priority=ask.priority
        )
        self.receipt = engine.receipt(request)
        if not allowed:
            yield Started(self.id, self.receipt, self.ask.mode, inbound)
            said = raw_text(engine.tokenizer, self.ask.messages[-1])
            yield from self._refuse(mask_pii(said), inbound)
            return
        work = self._work(request)
        yield Started(self.id, self.receipt, ask.mode, inbound)
        for event in work:
            if isinstance(event, _Draft):
                verdicts = (*inbound, *summarise(self.outbound))
                yield self._finish(question, event, verdicts)
            else:
                yield event

    def _inspect_messages(self) -> tuple[tuple[Message, ...], tuple[Verdict, ...], bool]:
        """Messages as the guards leave them, verdicts (passes only for the question itself), and whether to go on."""
        guards, messages, verdicts = self.deployment.guards.inbound, [], []
        last = len(self.ask.messages) - 1
        for place, message in enumerate(self.ask.messages):
            if message.role not in ("user", *RAW):
                messages.append(message)
                continue
            text = raw_text(self.deployment.engine.tokenizer, message)
            seen = inspect_text(guards, text, GuardContext())
            verdicts += [_mute(verdict) for verdict in seen.verdicts if place == last or outcome(verdict) != "passed"]
            said = Message("user" if message.role == "user" else "prompt", seen.text)
            messages.append(message if seen.text == text else said)
            if not seen.allowed:
                return (*messages, *self.ask.messages[place + 1 :]), tuple(verdicts), False
        return tuple(messages), tuple(verdicts), True

    def _work(self, request: Request) -> Iterator[AssistantEvent | _Draft]:
        """What answers. What the engine refuses is refused here, before anything is computed."""
        if not self.ask.grounded:
            return self._plain(self.source(request))
        self.deployment.engine.stream(request).close()  # the chat by itself; passages are chosen to fit
        return self._grounded(request.messages)

    def _refuse(self, question: str, verdicts: tuple[Verdict, ...]) -> Events:
        blocking = next(verdict for verdict in verdicts if not verdict.allowed)
        text = f"This request was not answered: it {blocking.reason}. Rule: {blocking.rule}."
        yield Piece(text)
        yield self._finish(question, _Draft(text, (), Usage(0, 0), "content_filter"), verdicts)

    def _generate(self, request: Request) -> Iterator[Delta]:
        """The engine's stream, ended by `stop` between two tokens."""
        request = replace(request, user=self._user, priority=self.ask.priority)
        if not self.prompt:  # of several answers drawn the first is the one that can be replayed
            self.prompt, self.receipt = request.messages, self.deployment.engine.receipt(request)
        return until(self.stop, self.deployment.engine.stream(request))

    def _single(self, request: Request) -> Callable[[], Answer]:
        answer = Answer(request, until(self.stop, self.deployment.engine.stream(request)))
        return lambda: answer

    def _check(self, text: str) -> Verdict:
        """All output guards as one verdict: the last one that acted, or a pass."""
        guards = [
            guard for guard in self.deployment.guards.outbound if self.ask.grounded or guard.name != Grounding.name
        ]
        return self._looked(guards, text, "output")

    def _admit(self, text: str) -> Verdict:
        """All guards of passages as one verdict."""
        return self._looked(self.deployment.guards.passages, text, "passage")

    def _looked(self, guards: Sequence[Guard], text: str, name: str) -> Verdict:
        seen = inspect_text(guards, text, self.context)
        self.outbound += map(_mute, seen.verdicts)
        usual = Verdict(True, text, name, "")
        acted = next((one for one in reversed(seen.verdicts) if outcome(one) != "passed"), usual)
        return replace(acted, allowed=seen.allowed, text=seen.text if seen.allowed else "")

    def _grounded(self, messages: tuple[Message, ...]) -> Iterator[AssistantEvent | _Draft]:
        sent = 0
        answerer = self.deployment.answerer(self._generate, self._check, self._admit, self.ask.groups)
        for event in answerer.answer(messages, self.ask.sampling, self.ask.adapter):
            match event:
                case Passages():
                    self.found = tuple(map(Passage, event.results, event.documents))
                    self.living = self.deployment.living
                    self.context = GuardContext(tuple(item.text for item in self.found), messages[-1].content)
                    yield Found(self.found)
                case Sentence():
                    text = event.shown if not sent else f" {event.shown}"
                    sent += 1
                    yield Piece(
                        text, event.citation, event.number, event.quoted, support=event.support, agreed=event.agreed
                    )
                case Done():
                    if event.dropped and all(verdict.allowed for verdict in self.outbound):
                        count = len(event.dropped)
                        reason = f"{count} sentence(s) left out: no passage supports them, or nobody asked for them"
                        self.outbound.append(Verdict(False, "", "output.grounding.unsupported", reason))
                    if not sent:
                        yield Piece(event.text)
                    yield _Draft(
                        event.text, event.tokens, event.usage, event.finish_reason, event.citations, event.abstained
                    )

    def _plain(self, open_answer: Callable[[], Answer]) -> Iterator[AssistantEvent | _Draft]:
        held, thoughts = Holdback(), Holdback()
        texts: list[str] = []
        tokens: list[int] = []
        reason, usage = "stop", Usage(0, 0)
        answer = open_answer()
        self.receipt, self.support = self.deployment.engine.receipt(answer.request), answer.support
        self.prompt = answer.request.messages
        with closing(answer.deltas):
            for delta in answer.deltas:
                if delta.token is not None:
                    tokens.append(delta.token)
                if delta.logprob is not None:
                    self.logprobs.append(delta.logprob.logprob)
                self.prompt_logprobs = self.prompt_logprobs or delta.prompt_logprobs
                usage = delta.usage or Usage(usage.prompt_tokens, len(tokens))
                reason = delta.finish_reason or reason
                for event in self._passed(delta, held, thoughts):
                    if isinstance(event, Piece):
                        texts.append(event.text)
                    yield event
                if self.blocked:
                    reason = "content_filter"
                    break
        yield _Draft("".join(texts), tuple(tokens), usage, reason)

    def _passed(self, delta: Delta, held: Holdback, thoughts: Holdback) -> Iterator[Piece | Thought]:
        """What is whole now, as the output guards leave it; `blocked` where they do not."""
        last = delta.finish_reason is not None
        thought = thoughts.push(delta.thinking, last=last or bool(delta.text))
        if thought is not None and self.ask.thinking:
            verdict = self._check(thought.text)
            self.blocked = not verdict.allowed
            if self.blocked:
                return
            yield Thought(verdict.text)
        ready = held.push(delta.text, delta.logprob, last=last)
        if ready is not None:
            verdict = self._check(ready.text)
            self.blocked = not verdict.allowed
            if not self.blocked:
                yield Piece(verdict.text, logprobs=ready.logprobs if verdict.text == ready.text else ())

    def _finish(self, question: str, draft: _Draft, verdicts: tuple[Verdict, ...]) -> Finished:
        reply = Reply(
            self.id, draft.text, draft.tokens, draft.citations, verdicts, draft.usage, self.receipt,
            draft.finish_reason, draft.abstained,
        )  # fmt: skip
        results = tuple(item.result for item in self.found)
        own = self.ask.adapter is not None and self.ask.adapter == self.deployment.adapter
        parts = self.deployment.served(grounded=self.ask.grounded, adapter=own)
        ids = {part: artifact.id for part, artifact in parts.items()}
        logprobs = tuple(self.logprobs[: len(draft.tokens)])
        self.assistant.log.append(
            AnswerRecord(reply, question, self.ask.mode, results, ids, "", self.prompt, logprobs, *self.living)
        )
        metrics, usage = self.assistant.metrics, draft.usage
        metrics.verdicts((verdict.rule, outcome(verdict)) for verdict in verdicts)
        metrics.answer(
            self.ask.mode, draft.finish_reason, prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens, abstained=draft.abstained,
        )  # fmt: skip
        return Finished(reply, self.prompt_logprobs, self.support)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What the two ways of answering end in."""

    text: str
    tokens: tuple[int, ...]
    usage: Usage
    finish_reason: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False


def until(stop: threading.Event, deltas: Generator[Delta, None, None]) -> Generator[Delta, None, None]:
    """The deltas, ended between two tokens by a StoppedError once `stop` is set."""
    with closing(deltas):
        for delta in deltas:
            if stop.is_set():
                raise StoppedError
            yield delta


def summarise(verdicts: list[Verdict]) -> tuple[Verdict, ...]:
    """One verdict per rule, in the order they came; a guard's pass is kept only if the guard never acted."""
    acted = {verdict.rule: verdict for verdict in verdicts if outcome(verdict) != "passed"}
    guards = {".".join(rule.split(".")[:2]) for rule in acted}
    kept: dict[str, Verdict] = {}
    for verdict in verdicts:
        if verdict.rule in acted:
            kept[verdict.rule] = acted[verdict.rule]
        elif verdict.rule not in guards:
            kept[verdict.rule] = verdict
    return tuple(kept.values())


def _mute(verdict: Verdict) -> Verdict:
    """The verdict without the text it was about, which may hold what another guard takes out."""
    return replace(verdict, text="")
