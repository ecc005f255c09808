"""How many tokens each user was served, which decides who is next.

Source: Sheng et al. (2023), Fairness in serving large language models (virtual token counter).
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["FairShare"]


class FairShare:
    """Tokens by user. Not safe among threads."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}

    def join(self, user: str, others: Iterable[str]) -> None:
        """A request of `user` comes, beside those of `others` that have not ended. Who was away neither gains what
        others were served meanwhile nor is forgiven what they were served themselves."""
        live = set(others)
        if user in live:
            return
        least = min((self._served[other] for other in live), default=0)
        known = self._served if live else {}
        self._served = {other: tokens for other, tokens in known.items() if other in live or tokens > least}
        self._served[user] = max(self._served.get(user, 0), least)

    def count(self, user: str, tokens: int) -> None:
        """`tokens` more are computed for `user`."""
        self._served[user] += tokens

    def __getitem__(self, user: str) -> int:
        return self._served[user]
