"""Self-consistency: of several ways to an answer the one that ends where most of them end.

    generate_several(engine, request, Several(best_of=8, pick="majority"))

Source: Wang et al. (2022), Self-consistency improves chain of thought reasoning in language models, section 2.

    given   the first y_i with  f(y_i) = argmax_a  #{ i : f(y_i) = a },    i = 1 .. m;  of equals the one reached first

y_i   an answer drawn with a seed of its own, without its thinking section
f     its final answer in one way of writing: what is in the last \\boxed{}, else what comes after the last "answer is",
      "answer:" (German: Antwort, Ergebnis) or "####", else the last line; of these the number in it, else the words;
      of JSON all of it

Chosen:   all votes count the same, as in the paper's majority vote; an empty answer has none. A `judge` may choose in
          place of the majority, for answers that are texts.
Left out: weights by likelihood; ending early when the majority is certain.
Try it:   pytest tests/inference/test_self_consistency.py
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

__all__ = ["Judge", "Vote", "final_answer", "majority"]

Judge = Callable[[Sequence[str]], int]  # which of several answers is best

_LEAD = re.compile(
    r"(?:\b(?:answer|result|antwort|ergebnis)\b\W{0,3}(?:is|ist|lautet|:|=)|####)[\s:*]*(.+)", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.,])[-\u2212]?\d[\d.,]*(?<![.,])")
_EDGES = " \t\n.,;:!?*_`'\"$()[]„“”«»"
_ARTICLE = re.compile(r"^(?:the|a|an|der|die|das|ein|eine)\s+")


@dataclass(frozen=True, slots=True)
class Vote:
    """The answer that is given. support: the share of all answers that end as it does."""

    index: int
    support: float


def majority(answers: Sequence[str], *, final: Callable[[str], str] | None = None, judge: Judge | None = None) -> Vote:
    """Which of the `answers` to give. final: in place of `final_answer`; judge: in place of the majority."""
    ends = [(final or final_answer)(answer) for answer in answers]
    counts = Counter(end for end in ends if end) or Counter(ends)
    if judge is not None:
        index = judge(answers)
    else:
        most = max(counts.values())
        index = next(place for place, end in enumerate(ends) if counts[end] == most)
    return Vote(index, ends.count(ends[index]) / len(ends))


def final_answer(text: str) -> str:
    """What `text` comes to, written so that equal answers are equal texts; empty where it says nothing."""
    text = text.strip()
    if text.startswith(("{", "[")):
        try:
            return json.dumps(json.loads(text), sort_keys=True)
        except (ValueError, RecursionError):
            pass
    if boxed := _boxed(text):
        return _plain(boxed)
    if found := _LEAD.findall(text):
        numbers = _NUMBER.findall(found[-1])
        return _number(numbers[0]) if len(numbers) == 1 else _plain(found[-1])
    last = text.splitlines()[-1] if text else ""
    numbers = _NUMBER.findall(last)
    return _number(numbers[-1]) if numbers else _plain(last)


def _boxed(text: str) -> str:
    """What is in the last \\boxed{}, whose braces may hold braces."""
    start = text.rfind("\\boxed{") + len("\\boxed{")
    depth = 1
    for place in range(start, len(text)) if start >= len("\\boxed{") else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return ""


def _plain(words: str) -> str:
    words = " ".join(words.casefold().split()).strip(_EDGES)
    return _number(words) if _NUMBER.fullmatch(words) else _ARTICLE.sub("", words)


def _number(written: str) -> str:
    """1,000 and 1000.0 as 1000; a comma before other than three digits is a decimal one."""
    plain = written.replace("\u2212", "-")
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", plain):
        plain = plain.replace(",", "")
    elif plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    try:
        value = Decimal(plain)
    except InvalidOperation:
        return written
    return format(value.normalize(), "f") if value else "0"
