"""Reasoning models: the section in which a model thinks is told apart from its answer, and may be given an end.

    <think> the thinking </think> the answer

Sources: DeepSeek-AI (2025), DeepSeek-R1 (the section); Muennighoff et al. (2025), s1: Simple test-time scaling, section
3.1 (budget forcing): after so many tokens the end marker is what comes next, and the model answers with what it has.

Chosen:   a section stands at the beginning of an answer, or is open where the prompt ends; markers later are text. They
          are found in the chat template, however they are cut into tokens. White space after a marker is left out.
          Stop strings count in the answer only. A form begins after the section: in the section tokens are free, but
          the answer cannot end there, and the token that completes the end marker ends with it.
Left out: several sections, tools within one.
Try it:   pytest tests/inference/test_reasoning.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genwerk.inference.constraint import Matcher
from genwerk.inference.logits import Logits, Tokens
from genwerk.inference.vocabulary import Vocabulary
from genwerk.tokenizers.tokenizer import StreamDecoder, Tokenizer

__all__ = ["KNOWN", "Markers", "Parts", "Section", "SectionParser", "ThinkingReader", "ThinkingRule", "find_markers"]


@dataclass(frozen=True, slots=True)
class Markers:
    """What stands before and after the thinking."""

    start: str = "<think>"
    end: str = "</think>"


KNOWN = (
    Markers(),
    Markers("<thinking>", "</thinking>"),
    Markers("<reasoning>", "</reasoning>"),
    Markers("[THINK]", "[/THINK]"),
    Markers("<|START_THINKING|>", "<|END_THINKING|>"),
)


@dataclass(frozen=True, slots=True)
class Section:
    """The section of one answer. open: the prompt ends with the start marker, so the answer begins inside."""

    markers: Markers
    open: bool = False

    @classmethod
    def after(cls, prompt: Sequence[int], markers: Markers, tokenizer: Tokenizer) -> Section:
        """The section of an answer to `prompt`."""
        end = tokenizer.decode(prompt[-4 * len(markers.start) :], skip_special=False)
        return cls(markers, end.rstrip().endswith(markers.start))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a piece of text adds to the thinking and to the answer."""

    thinking: str = ""
    answer: str = ""


def find_markers(template: str | None) -> Markers | None:
    """The markers a chat template speaks of."""
    return next((markers for markers in KNOWN if template and markers.end in template), None)


class SectionParser:
    """Feeds text through; what comes out does not depend on how it was cut. `thinks`: inside the section now."""

    def __init__(self, section: Section) -> None:
        self._markers = section.markers
        self.thinks, self.decided = section.open, section.open
        self._trims = section.open
        self.held = ""

    def push(self, text: str) -> Parts:
        """Add text; what is certain now. What may be the beginning of a marker is held back."""
        self.held += text
        if not self.decided and not self._decide():
            return Parts()
        thinking = self._think() if self.thinks else ""
        return Parts(thinking, "" if self.thinks else self._take(len(self.held)))

    def flush(self) -> Parts:
        """What is held, when nothing comes after it."""
        rest = self._take(len(self.held))
        return Parts(thinking=rest) if self.thinks else Parts(answer=rest)

    def _decide(self) -> bool:
        """Whether it is known how the answer begins."""
        start, begun = self._markers.start, self.held.lstrip()
        if begun.startswith(start):
            self.held, self.thinks, self._trims = begun[len(start) :], True, True
        elif start.startswith(begun):
            return False
        self.decided = True
        return True

    def _think(self) -> str:
        end = self._markers.end
        at = self.held.find(end)
        if at < 0:
            sizes = range(min(len(end) - 1, len(self.held)), 0, -1)
            begun = next((size for size in sizes if self.held.endswith(end[:size])), 0)
            return self._take(len(self.held) - begun)
        thinking = self._take(at)
        self.held, self.thinks, self._trims = self.held[len(end) :], False, True
        return thinking

    def _take(self, count: int) -> str:
        taken, self.held = self.held[:count], self.held[count:]
        if self._trims:
            taken = taken.lstrip()
            self._trims = not taken
        return taken


class ThinkingReader:
    """Turns the tokens of one answer into thinking and answer; without a section all is answer."""

    def __init__(self, tokenizer: Tokenizer, section: Section | None) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self.parser = None if section is None else SectionParser(section)
        self._spelled: dict[int, str] = {}  # markers that are control tokens, which decoding leaves out
        for marker in () if section is None else (section.markers.start, section.markers.end):
            token = tokenizer.token_to_id(marker)
            if token is not None and token in tokenizer.special_ids:
                self._spelled[token] = marker

    def push(self, token: int) -> Parts:
        """What is certain now."""
        text = self._decoder.push(token) + self._spelled.get(token, "")
        return Parts(answer=text) if self.parser is None else self.parser.push(text)

    def flush(self) -> Parts:
        """What is left at the end."""
        text = self._decoder.flush()
        if self.parser is None:
            return Parts(answer=text)
        first, last = self.parser.push(text), self.parser.flush()
        return Parts(first.thinking + last.thinking, first.answer + last.answer)


class ThinkingRule:
    """Ends the section after `budget` tokens, and holds what comes after it to a form. See `Rule`.

    ends     tokens that end an answer: not inside a section that a form comes after.
    matcher  of the form; None: any text.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocabulary: Vocabulary, section: Section, ends: frozenset[int],
        budget: int | None, matcher: Matcher | None,
    ) -> None:  # fmt: skip
        self._given = (tokenizer, vocabulary, section, ends, budget)
        self._tokenizer, self._vocabulary, self._section, self._matcher = tokenizer, vocabulary, section, matcher
        self._ends = np.array(sorted(ends), np.int64)
        self._reader = ThinkingReader(tokenizer, section)
        self._left = budget
        self._start = tokenizer.encode(section.markers.start)
        self._end = section.markers.end.encode()
        self._tail = b""
        self._forced: list[int] = []
        self._answers = False  # the answer's own text is being made
        if section.open:
            self._spend(0)

    def fresh(self) -> ThinkingRule:
        """Another for an answer that is to begin."""
        return ThinkingRule(*self._given, None if self._matcher is None else self._matcher.fresh())

    def restrict(self, logits: Logits) -> Logits:
        if self._forced:
            only = np.full_like(logits, -np.inf)
            only[self._forced[0]] = logits[self._forced[0]]
            return only
        if self._matcher is None:
            return logits
        if self._answers:
            return self._matcher.restrict(logits)
        if self._thinks:
            logits[np.concatenate([self._ends, *self._overrunning()])] = -np.inf
            return logits
        narrowed = self._matcher.restrict(logits)  # the answer begins, with the form or with the start marker
        narrowed[self._start[0]] = logits[self._start[0]]
        return narrowed

    def consume(self, token: int) -> None:
        if self._answers:
            if self._matcher is not None:
                self._matcher.consume(token)
            return
        if self._forced:
            self._forced.pop(0)
        elif self._matcher is not None and not self._thinks:
            if token != self._start[0] or (len(self._start) > 1 and self._matcher.allows(token)):
                self._answers = True
                self._matcher.consume(token)
                return
            self._forced = self._start[1:]
        thought = self._thinks
        self._reader.push(token)
        self._tail = (self._tail + self._vocabulary.texts[token])[-len(self._end) + 1 :]
        self._answers = not self._thinks and self._parser.decided
        if self._thinks and not self._forced:
            self._spend(int(thought))

    def forced(self, most: int) -> list[int]:
        """Tokens that must come next, at most `most` of them."""
        if self._forced or not self._answers or self._matcher is None:
            return self._forced[: max(0, most)]
        return self._matcher.forced(most)

    @property
    def _parser(self) -> SectionParser:
        assert self._reader.parser is not None
        return self._reader.parser

    @property
    def _thinks(self) -> bool:
        return self._parser.thinks

    def _spend(self, tokens: int) -> None:
        """Count tokens of the section; where none are left, what completes the end marker is forced."""
        if self._left is None:
            return
        self._left -= tokens
        if self._left <= 0:
            end = self._section.markers.end
            begun = len(self._parser.held) if self._tokenizer.is_byte_level and end.startswith(self._parser.held) else 0
            self._forced = self._tokenizer.encode(end[begun:])

    def _overrunning(self) -> list[Tokens]:
        """Tokens that would complete the end marker and say more."""
        texts, end = self._vocabulary.texts, self._end
        found = self._vocabulary.containing(end)
        more = [found[[not texts[token].endswith(end) for token in found]]]
        for rest in (end[size:] for size in range(1, len(end)) if self._tail.endswith(end[:size])):
            found = self._vocabulary.starting(rest)
            more.append(found[[texts[token] != rest for token in found]])
        return more
