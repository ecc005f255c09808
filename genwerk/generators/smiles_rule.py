"""Constrained decoding of molecules: at each step the tokens after which a valid SMILES can still be reached.

Source: the idea is that of constrained decoding by a lazily built automaton, as Willard and Louf (2023), Efficient
guided generation, do for regular expressions; what a state is, see smiles_state.py.

States are numbered as they are met. For each a row is kept: to which state a token leads, and how many tokens it takes
from there to the end at the least,

    allowed(token) = after(state, token) has an end, and it is at most `left` - 1 tokens away

so a step for many draws is a look into two tables. Where `left` is ample, a bound on the way to the end does; where it
is not, the way is searched for, with a few kinds of atoms, so that it may be a token or two longer than the shortest.

Sure:           brackets and rings are closed, no bond dangles, no valence is exceeded, every aromatic bond is in a ring
                of such bonds, and a Kekulé structure exists.
Left to chance: whether a ring of aromatic atoms is one in the sense of Hückel, which RDKit does not ask for; strain,
                and whether a centre that is written as chiral is one.
Left out:       molecules written in another order than RDKit's own, of which some are refused, see smiles_state.py.
Try it:         pytest tests/generators/test_smiles_rule.py
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genwerk.core.errors import DataError
from genwerk.core.progress import say
from genwerk.data.sequences import PAD, SPECIAL
from genwerk.generators.smiles_outlook import least_left, most_left
from genwerk.generators.smiles_spots import ENDED, START, State
from genwerk.generators.smiles_state import after
from genwerk.generators.smiles_tokens import Atom, Bond, Mark, Ring, Token, read_token

__all__ = ["SmilesRule"]

_NEVER = 1 << 14  # tokens to the end, where there is none
_LOOKS = ((1, 500), (3, 5000))  # of a search: what is left counts so often what was taken, and states it may open
_STATES = 200_000  # that are kept from one begin to the next, at a thousand bytes or so
Table = NDArray[Any]


class SmilesRule:
    """What may come next in each of several SMILES that are drawn at once; one object, many uses one after the other.

    vocabulary  token strings by id; ids 0, 1, 2 are `<pad>`, `<begin>`, `<end>`. A token that is not SMILES, or that
                smiles_tokens.py leaves out, is never allowed.

    Raises DataError where no molecule can be made of the vocabulary.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        if tuple(vocabulary[:3]) != SPECIAL:
            raise DataError(f"a vocabulary begins with {', '.join(SPECIAL)}", where=", ".join(vocabulary[:3]))
        self._tokens = [None, None, *(read_token(text) for text in vocabulary[2:])]
        self._closers = _closers([token for token in self._tokens if token is not None])
        self._ids: dict[Token, list[int]] = {}
        for token_id, token in enumerate(self._tokens):
            if token is not None:
                self._ids.setdefault(token, []).append(token_id)
        self._complete = _is_complete(set(vocabulary), list(self._ids))
        if not self._complete:
            lacking = ", ".join(f"`{one}`" for one in ("C", "c", "=", ")", "1") if one not in vocabulary)
            say(f"drawing by the rule is slow: the vocabulary lacks {lacking}", style="yellow")
        self._rings = [token for token in self._closers if isinstance(token, Ring)]
        self._forget()
        self.begin(0)
        if self._reach(START) >= _NEVER:
            raise DataError("no molecule can be written with this vocabulary", remedy="Give it `C`, or other atoms.")

    def begin(self, count: int) -> None:
        """Start `count` draws."""
        if len(self._states) > _STATES:
            self._forget()
        self._at = np.full(count, self._number(START))

    def allowed(self, left: int) -> NDArray[np.bool_]:
        """(count, V): which token may come next when `left` tokens may still come, the end included.

        A draw that has ended may only take `<pad>`. Raises ValueError where a draw cannot be closed with so few.
        """
        numbers = np.unique(self._at)
        self._fill(numbers)
        self._sharpen(numbers, left)
        found: NDArray[np.bool_] = self._cost[self._at] < left
        found[:, PAD] = self._at == self._number(ENDED)
        if not found.any(1).all():
            raise ValueError(f"{left} tokens are too few to close every molecule that was begun")
        return found

    def take(self, tokens: NDArray[np.int64]) -> None:
        """(count,): the tokens that were drawn. Raises ValueError for one that may not come."""
        self._fill(np.unique(self._at))
        following = self._next[self._at, tokens]
        if (following < 0).any():
            draw = int(np.flatnonzero(following < 0)[0])
            raise ValueError(f"draw {draw} took token {int(tokens[draw])}, which may not come there")
        self._at = following.astype(np.int64)

    def _forget(self) -> None:
        self._states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._distance = {ENDED: 0}
        self._filled = np.zeros(64, np.bool_)
        self._sharp = np.zeros((64, len(self._tokens)), np.bool_)
        self._next = np.full((64, len(self._tokens)), -1, np.int32)
        self._cost = np.full((64, len(self._tokens)), _NEVER, np.int16)
        self._least = np.zeros((64, len(self._tokens)), np.int16)
        ended = self._number(ENDED)
        self._next[ended, PAD], self._sharp[ended] = ended, True
        self._filled[ended] = True

    def _number(self, state: State) -> int:
        number = self._numbers.setdefault(state, len(self._states))
        if number == len(self._states):
            self._states.append(state)
            if number == len(self._filled):
                self._filled, self._sharp = _longer(self._filled, False), _longer(self._sharp, False)
                self._next, self._cost = _longer(self._next, -1), _longer(self._cost, _NEVER)
                self._least = _longer(self._least, 0)
        return number

    def _fill(self, numbers: NDArray[np.int64]) -> None:
        """The rows of states that were not met before."""
        for number in numbers[~self._filled[numbers]].tolist():
            state = self._states[number]
            for token, ids in self._ids.items():
                following = after(state, token)
                if following is not None and self._has_digit(following):
                    self._next[number, ids] = self._number(following)
                    self._cost[number, ids] = most_left(following)
                    self._least[number, ids] = least_left(following)
            self._filled[number] = True

    def _sharpen(self, numbers: NDArray[np.int64], left: int) -> None:
        """Where bounds on the way to the end do not tell whether it fits into `left`, the way itself."""
        wide = (self._next[numbers] >= 0) & ~self._sharp[numbers] & (self._least[numbers] < left)
        if self._complete:
            wide &= self._cost[numbers] >= left
        for row, column in np.argwhere(wide).tolist():
            number = int(numbers[row])
            self._cost[number, column] = self._reach(self._states[self._next[number, column]])
            self._sharp[number, column] = True

    def _has_digit(self, state: State) -> bool:
        """Whether there is one for an aromatic atom that begins a ring."""
        if state.phase != "atom" or len(state.open_rings) < len(self._rings):
            return True
        last = state.spots[-1]
        return last.owed <= last.undecided or last.run or last.undecided > 0

    def _reach(self, start: State) -> int:
        """How many tokens it takes to the end: the fewest, unless that takes too long to find."""
        for haste, looks in _LOOKS:
            if start not in self._distance:
                self._search(start, haste, looks)
        return self._distance.setdefault(start, _NEVER)

    def _search(self, start: State, haste: int, looks: int) -> None:
        """Best first (A*); with more haste, sooner and not by the shortest way."""
        order = itertools.count()
        came: dict[State, State | None] = {start: None}
        steps = {start: 0}
        queue = [(0, next(order), 0, start)]
        for _ in range(looks):
            if not queue:
                return
            _, _, taken, state = heapq.heappop(queue)
            if state in self._distance:
                self._keep(came, state, self._distance[state])
                return
            if taken > steps[state]:
                continue
            for following in self._onward(state):
                if taken + 1 < steps.get(following, _NEVER):
                    steps[following], came[following] = taken + 1, state
                    onward = self._distance.get(following, haste * least_left(following))
                    if onward < _NEVER:
                        heapq.heappush(queue, (taken + 1 + onward, -next(order), taken + 1, following))

    def _keep(self, came: dict[State, State | None], last: State, distance: int) -> None:
        """Write down how far each state of the way found is from the end."""
        state: State | None = last
        while state is not None:
            self._distance[state] = distance
            state, distance = came[state], distance + 1

    def _onward(self, state: State) -> list[State]:
        """Of rings only those that are open, and one new one at an atom that must lie in one."""
        there = {number for spot in state.spots for number, _ in spot.rings}
        if state.spots and state.spots[-1].owed > 1:
            there.update([token.number for token in self._rings if token.number not in there][:1])
        tried = [token for token in self._closers if not isinstance(token, Ring) or token.number in there]
        found = (after(state, token) for token in tried)
        return [following for following in found if following is not None]


def _longer(table: Table, value: int) -> Table:
    """Twice the rows."""
    return np.concatenate([table, np.full_like(table, value)])


def _is_complete(vocabulary: set[str], tokens: Sequence[Token]) -> bool:
    """Whether what smiles_outlook.py counts on is there: if not, every end is searched for."""
    aromatic = any(isinstance(token, Atom) and token.aromatic for token in tokens)
    ringed = {"c", "="} <= vocabulary and any(isinstance(token, Ring) for token in tokens)
    return "C" in vocabulary and (ringed or not aromatic) and (")" in vocabulary or "(" not in vocabulary)


def _closers(tokens: Sequence[Token]) -> list[Token]:
    """What an end is searched for with: digits, brackets, `-`, the atom of most bonds, an aromatic one of each kind."""
    atoms = sorted((token for token in tokens if isinstance(token, Atom)), key=lambda atom: -atom.bonds)
    plain = [atom for atom in atoms if not atom.aromatic][:1]
    kinds = {atom.need: atom for atom in reversed(atoms) if atom.aromatic}
    marks = [token for token in dict.fromkeys(tokens) if isinstance(token, Ring | Mark) and token != Mark(".")]
    return [*marks, *plain, *kinds.values(), *(bond for bond in (Bond("-"), Bond("=")) if bond in tokens)]
