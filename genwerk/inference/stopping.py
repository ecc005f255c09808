"""Stop strings that end an answer wherever tokens happen to break, without a character of them leaking.

    matcher = StopMatcher(("\\n\\n", "User:"))
    for text in stream:
        send(matcher.push(text))
        if matcher.stopped: break
    send(matcher.flush())

Text is held back as long as it could be the beginning of a stop string. Where several stop strings are in the text, the
one that is complete first ends it (the longest, where two end together), so the result does not depend on how the text
was cut into pushes.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Feeds text through; `stopped` is the stop string that was found, or None."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped: str | None = None

    def push(self, text: str) -> str:
        """Add text; returns what may leave now. After a match nothing leaves any more."""
        if self.stopped is not None:
            return ""
        if not self._stops:
            return text
        self._held += text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            _, start, self.stopped = min(found)
            return self._release(start, drop=True)
        return self._release(len(self._held) - self._longest_beginning())

    def flush(self) -> str:
        """The held text, when the answer ended without a stop string."""
        return self._release(len(self._held))

    def _release(self, count: int, *, drop: bool = False) -> str:
        out, rest = self._held[:count], self._held[count:]
        self._held = "" if drop else rest
        return out

    def _longest_beginning(self) -> int:
        """Length of the longest end of the held text that is the beginning of a stop string."""
        longest = min(len(self._held), max(len(stop) for stop in self._stops) - 1)
        for length in range(longest, 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
