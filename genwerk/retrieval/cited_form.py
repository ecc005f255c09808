"""Cited form: the model can only write sentences that each end in the number of a passage.

Source: Geng et al. (2023), Grammar-constrained decoding, for the method; inference/constraint.py for how.

    answer   →  sentence (" " sentence)*
    sentence →  words mark " [" n "]"         1 <= n <= passages; mark . ! or ?
    words    →  no line break; a mark inside them is followed by a character other than white space

What it buys: every sentence names a passage, which is tried first when it is aligned. The number is a hint and no more:
the sentence is cited where it stands, or dropped.

Chosen:   one regular expression: a grammar's lexer would take the mark for a word before it sees what follows;
          abbreviations before a blank (e.g., z. B.) count as words.
Left out: a way to say that the passages do not answer: abstention is decided before the model is asked. Lists, code
          on lines of its own.
Try it:   python benchmarks/citations.py --answers 20 --cited-form
"""

from __future__ import annotations

import re

from genwerk.core.types import Constraint

__all__ = ["begins_marker", "cited_form", "marker_of"]

_WORDS = r"([^.!?\[\]\s]|[.!?][^\s\[\]]|\[[^\]\s]{0,12}\]| ?(e\.g|i\.e|vs|etc|bzw|z\. ?B|d\. ?h)\. | [^.!?\[\s])+"
_BEGINS = re.compile(r"\s*\[\d{0,2}\]?\s*")
_MARKER = re.compile(r"\[(\d{1,2})\]\s*[.!?]?\s*$")


def cited_form(passages: int) -> Constraint:
    """The form of an answer over so many numbered passages."""
    numbers = "|".join(map(str, range(1, passages + 1)))
    sentence = rf"{_WORDS}[.!?] \[({numbers})\]"
    return Constraint("regex", f"{sentence}( {sentence})*")


def begins_marker(text: str) -> bool:
    """Whether what comes after a sentence may be its marker, or the beginning of it."""
    return _BEGINS.fullmatch(text) is not None


def marker_of(sentence: str) -> int:
    """The passage that the model says a sentence is from, from 1; 0 where it ends without a marker."""
    found = _MARKER.search(sentence)
    return int(found[1]) if found else 0
