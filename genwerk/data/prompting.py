"""The one prompt format for grounded answers: tuning, evaluation and serving all build it here.

    system   what to do, in two short sentences
    user     [1] first passage
             [2] second passage

             Question: ...

It is kept short because a model of 135 M parameters reads it and prefill is paid per token.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from genwerk.core.types import Message

INSTRUCTION = "Answer from the numbered passages only and cite them like [1]. If they do not say, say so."
INSTRUCTIONS = {
    "en": INSTRUCTION,
    "de": "Antworte auf Deutsch, nur aus den nummerierten Textstellen, und zitiere sie wie [1]. "
    "Wenn sie es nicht sagen, sage das.",
}
_ASKS = {"en": "Question", "de": "Frage"}

_WRAP_WIDTH = 58  # a line that had room for the next word before this column was ended on purpose
_ITEM = re.compile(r"[-*•+]\s|\(?\d{1,3}[.)]\s")
_KEEP_LINE = re.compile(r"\s*(?:[-*•+]\s|\(?\d{1,3}[.)]\s|\||\+[-=]|>>>|\.\.\. |#{1,6}\s|```)")
_BROKEN = re.compile(r"(?<=\w)-\s*\n\s*(?=[^\W\d_])")
_RULER = re.compile(r"([=\-*~^#+])\1{2,}$")


def grounded_messages(
    question: str, passages: Sequence[str], history: Sequence[Message] = (), language: str = "en"
) -> tuple[Message, ...]:
    """The chat that asks `question` over `passages`; `history` holds earlier turns, oldest first.

    Passages are numbered from 1 in the order given; a citation [k] in the answer means passages[k - 1].
    language   of the question; one without an instruction of its own gets the English one
    """
    spoken = language if language in INSTRUCTIONS else "en"
    numbered = "\n".join(f"[{number}] {tidy_passage(passage)}" for number, passage in enumerate(passages, start=1))
    user = f"{numbered}\n\n{_ASKS[spoken]}: {' '.join(question.split())}" if passages else " ".join(question.split())
    earlier = tuple(message for message in history if message.role != "system")
    return (Message("system", INSTRUCTIONS[spoken]), *earlier, Message("user", user))


def tidy_passage(passage: str) -> str:
    """`passage` with its wrapped prose lines joined; list items, table rows and code keep lines of their own."""
    lines: list[str] = []
    width = indent = 0  # of the physical line before; 0 after a blank line
    for line in textwrap.dedent(passage.expandtabs(4)).split("\n"):
        stripped = line.strip()
        if not stripped or _RULER.match(stripped):
            width = 0
            continue
        depth = len(line) - len(line.lstrip())
        wrapped = width + 1 + len(stripped.split(maxsplit=1)[0]) > _WRAP_WIDTH
        inside = depth == indent or (_ITEM.match(lines[-1]) is not None if lines else False)
        if width and wrapped and inside and not (_KEEP_LINE.match(line) or lines[-1][0] in "#|+`"):
            lines[-1] = join_lines(f"{lines[-1]}\n{stripped}")
        else:
            lines.append(stripped if stripped[0] in "|+" else join_lines(stripped))
        width, indent = len(line), depth
    return "\n".join(lines)


def join_lines(text: str) -> str:
    """`text` on one line with single spaces; a compound that was broken at its hyphen is joined again."""
    return " ".join(_BROKEN.sub("-", text).split())
