"""Self-consistency of cited answers: of several answers the sentences that most of them find in the same place.

Source: Wang et al. (2022), Self-consistency improves chain of thought reasoning, section 2, with the span that is cited
in the place of the final answer.

    kept = spans with  #{ i : a_i cites the span } > m / 2,      i = 1 .. m

Chosen:   spans are equal when they are the same characters of the same document; the wording is that of the first
          answer that has it; sentences stand in the order of the answers that said them first.
Left out: weights by likelihood; ending early when the majority is certain.

The cost is that of m answers, though they share the prompt in the engine's prefix cache, and nothing is shown before
the last one is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genwerk.core.types import Citation

__all__ = ["Claim", "agreed"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the model that a passage says. hinted, agreed: as in `Sentence`."""

    text: str
    citation: Citation
    hinted: bool | None = None
    agreed: float | None = None


def agreed(answers: Sequence[Sequence[Claim]]) -> list[Claim]:
    """Each span that more than half of the answers cite, once, with the share of them that do."""
    spans = [{claim.citation for claim in answer} for answer in answers]
    kept: dict[Citation, Claim] = {}
    for answer in answers:
        for claim in answer:
            share = sum(claim.citation in found for found in spans) / len(answers)
            if share > 0.5 and claim.citation not in kept:
                kept[claim.citation] = Claim(claim.text, claim.citation, claim.hinted, share)
    return list(kept.values())
