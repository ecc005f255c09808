"""Ungrounded sentences do not leave: what no passage supports is held back.

The measure of support is a callable, because it belongs to retrieval (an alignment of the sentence to a span), and
guards and retrieval live on one floor.
"""

from __future__ import annotations

from collections.abc import Callable

from genwerk.core.types import Verdict
from genwerk.guardrails.guard import GuardContext, passed

Support = Callable[[str, tuple[str, ...]], bool]


class Grounding:
    """Blocks a sentence for which `supported(sentence, passages)` is false."""

    name = "output.grounding"

    def __init__(self, supported: Support) -> None:
        self._supported = supported

    def check(self, text: str, context: GuardContext) -> Verdict:
        """Allowed if blank or supported by the passages in `context`."""
        if not text.strip() or self._supported(text, context.passages):
            return passed(self.name, text)
        return Verdict(False, "", "output.grounding.unsupported", "no retrieved passage supports this sentence")
