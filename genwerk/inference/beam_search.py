"""Beam search: of all answers the one that is likeliest as a whole, as far as a few that are kept at each length tell.

Source: Lowerre (1976), The Harpy speech recognition system; length penalty as in transformers' generate (its
`early_stopping=False`), which follows Wu et al. (2016), eq. 14, without their constant.

    candidates   S(y + j) = S(y) + ln p(j | x, y)        for every kept y and token j;  the best (1 + E) · B of them
    finished     those among the first B that end; rated  S(y) / |y|^α
    kept         the best B that do not end
    end          when B are finished and the best kept one, rated as it is, is no better than the worst of them;
                 or at max_tokens, where all end

x, y   the prompt and an answer as far as it goes;  |y| its tokens, the end token included
B      `beams`;  E how many tokens end an answer (at least 1);  α  `length_penalty`: above 0 long answers gain

Chosen:   every beam is a prompt of its own to the scheduler, so beams share blocks, steps and preemption with everybody
          and their numbers depend on nothing else; a form, banned words and a least length hold in every beam, whose
          log-probabilities are then those of the allowed tokens. All of the answer comes at the end. A beam computes
          one position a step: the first that goes on from another takes its last block, the others copy it (blocks.py).
Left out: sampling beams, diverse beams.
Try it:   pytest tests/inference/test_beam_search.py
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

from genwerk.inference.rules import Form, Rule
from genwerk.inference.sampler import Draw
from genwerk.inference.sequence import Sequence

__all__ = ["beam_search"]


@dataclass(frozen=True, slots=True)
class _Beam:
    """An answer as far as it goes; `score` is the sum of its log-probabilities."""

    draws: tuple[Draw, ...] = ()
    score: float = 0.0

    @property
    def tokens(self) -> list[int]:
        return [draw.token for draw in self.draws]

    def rated(self, length_penalty: float) -> float:
        return self.score / math.pow(len(self.draws), length_penalty)


def beam_search(
    asked: Sequence,
    ends: frozenset[int],
    look: Callable[[list[Sequence]], list[Draw]],
    rules: Callable[[Form | None], tuple[Rule, ...]],
) -> Generator[Draw | None, None, None]:
    """The draws of the best answer to `asked`, after a None for every step that was taken to find it.

    ends   the tokens that end an answer.
    look   computes a token for each sequence, together.
    rules  makes what narrows the tokens of an answer that is held by a matcher.
    """
    width, penalty = asked.sampling.beams, asked.sampling.length_penalty
    count = (1 + max(1, len(ends))) * width
    kept, finished = [_Beam()], list[_Beam]()
    for length in range(1, asked.limit + 1):
        found = look([_continued(asked, beam, count, rules) for beam in kept])
        yield None
        candidates = [_grown(beam, draw, asked) for beam, draw in zip(kept, found, strict=True)]
        best = sorted((one for some in candidates for one in some), key=lambda one: -one.score)[:count]
        ended = [length == asked.limit or one.draws[-1].token in ends for one in best]
        finished += [one for one, ends_here in zip(best[:width], ended, strict=False) if ends_here]
        finished = sorted(finished, key=lambda one: -one.rated(penalty))[:width]
        kept = [one for one, ends_here in zip(best, ended, strict=True) if not ends_here][:width]
        if not kept or (len(finished) == width and kept[0].rated(penalty) <= finished[-1].rated(penalty)):
            break
    yield from finished[0].draws


def _continued(asked: Sequence, beam: _Beam, count: int, rules: Callable[[Form | None], tuple[Rule, ...]]) -> Sequence:
    """The question which `count` tokens are likeliest after `beam`."""
    matcher = None if asked.matcher is None else asked.matcher.fresh()
    sampling = replace(asked.sampling, logprobs=count)
    prompt = [*asked.prompt, *beam.tokens]
    sequence = Sequence(prompt, sampling, asked.adapter, asked.user, 1, asked.generator, rules=rules(matcher))
    for token in beam.tokens:
        for rule in sequence.rules:
            rule.consume(token)
    if not beam.draws:
        sequence.scores = asked.scores
    return sequence


def _grown(beam: _Beam, draw: Draw, asked: Sequence) -> Items[_Beam]:
    """`beam` with each of the tokens that are possible after it."""
    shown = draw.top[: asked.sampling.logprobs or 0]
    return [
        _Beam((*beam.draws, Draw(token, None if asked.sampling.logprobs is None else logprob, shown)),
              beam.score + logprob)
        for token, logprob in draw.top
        if logprob > -math.inf
    ]  # fmt: skip
