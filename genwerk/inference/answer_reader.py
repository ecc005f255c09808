"""From drawn tokens to what a caller reads: whole characters, thinking apart, up to an end token or a stop string."""

from __future__ import annotations

from genwerk.core.types import Usage
from genwerk.inference.generation import Delta, logprob_of
from genwerk.inference.reasoning import ThinkingReader
from genwerk.inference.sampler import Draw
from genwerk.inference.sequence import Sequence
from genwerk.inference.stopping import StopMatcher
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["AnswerReader"]


class AnswerReader:
    """Reads the answer to one sequence. Nothing comes after the delta with a finish_reason."""

    def __init__(self, tokenizer: Tokenizer, sequence: Sequence) -> None:
        self._sequence, self._drawn = sequence, 0
        self._ends = tokenizer.eos_ids | set(sequence.sampling.stop_tokens)
        self._text, self._stops = ThinkingReader(tokenizer, sequence.section), StopMatcher(sequence.sampling.stop)

    def read(self, draw: Draw | None) -> Delta:
        """The next step; None is one of a search whose answer is not yet found."""
        if draw is None:
            return Delta("")
        sequence, stops = self._sequence, self._stops
        self._drawn += 1
        thinking = text = ""
        ended = draw.token in self._ends
        if not ended:
            parts = self._text.push(draw.token)
            thinking, text = parts.thinking, stops.push(parts.answer)
        reason = "stop" if ended or stops.stopped else "length" if self._drawn == sequence.limit else None
        if reason and not stops.stopped:
            parts = self._text.flush()
            thinking, text = thinking + parts.thinking, text + stops.push(parts.answer)
            reason = "stop" if stops.stopped else reason
            text += stops.flush()
        usage = Usage(len(sequence.prompt), self._drawn) if reason else None
        scores = () if sequence.scores is None or self._drawn > 1 else tuple(sequence.scores.found)
        return Delta(text, draw.token, logprob_of(draw), reason, usage, scores, thinking)
