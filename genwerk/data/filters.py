"""Rules that drop a text which nobody could learn or cite from.

    too short            fewer characters than `min_chars`
    mostly not letters   less than a quarter of what is not white space is a letter: dumps of numbers, encoded data
    one endless word     a run of ASCII without a space makes up half of the text: minified or base64 data
    repeated lines       most of the text is lines that stood there before: logs, exports gone wrong

Source: the shape of these rules is that of Rae et al. (2021), Scaling Language Models, appendix A1.1; thresholds are
looser, since a team's own documents are few and mostly meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAMPLE = 200_000
_LETTERS = 0.25
_REPEATED = 0.7
_ENDLESS = re.compile(r"[!-~]{2000,}")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Which rule a text fails, and the numbers."""

    rule: str
    detail: str


def reject(text: str, *, min_chars: int) -> Rejection | None:
    """The first rule that `text` fails, None when it may stay. Long texts are judged by their first 200,000 signs."""
    if len(text) < min_chars or not text:
        return Rejection("too short", f"{len(text)} characters, fewer than min_chars = {min_chars}")
    sample = text[:_SAMPLE]
    dense = "".join(sample.split())
    letters = sum(map(str.isalpha, dense))
    if letters < _LETTERS * len(dense):
        return Rejection("mostly not letters", f"{letters / max(len(dense), 1):.0%} letters")
    endless = sum(len(match.group()) for match in _ENDLESS.finditer(sample))
    if endless > 0.5 * len(sample):
        return Rejection("one endless word", f"{endless} characters without a space")
    return _repeated_lines(sample)


def _repeated_lines(text: str) -> Rejection | None:
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if len(line) > 10]
    total = sum(map(len, lines))
    repeated = total - sum(map(len, set(lines)))
    if len(lines) >= 20 and repeated > _REPEATED * total:
        return Rejection("repeated lines", f"{repeated / total:.0%} of the text repeats earlier lines")
    return None
