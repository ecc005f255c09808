"""How far a SMILES has come, and where a token takes it: the grammar, the valences, rings, and Kekulé structures.

Source: Weininger (1988) for the grammar. The way valences steer what may follow is that of Krenn et al. (2020),
SELFIES, done on SMILES; Kekulé structures are perfect matchings, here kept as sets of partial ones while the text grows.

    state   phase, sign of a bond that waits for its atom, spots, matchings
    spot    an atom that may still get a bond: the last one, one a branch leaves, one with an open ring digit

All else is forgotten, so that states of different molecules are equal and can be numbered, see smiles_rule.py.

A matching is a number whose bit i says that spot i has its double bond. A bond between aromatic atoms splits each
matching in two, with it and without it; an atom that leaves the spots takes with it every matching that does not fit it.

Asked of a molecule, beyond what SMILES asks: a ring closes in the branch in which it opened or in one of that; a bond
between aromatic atoms without a sign lies in a ring of such bonds; the last branch of an atom has no brackets. RDKit
writes so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from genwerk.generators.smiles_tokens import ORDERS, Atom, Bond, Mark, Need, Ring, Token

__all__ = ["ENDED", "START", "Spot", "State", "after", "least_left"]

Phase = Literal["start", "atom", "bond", "open", "open bond", "branched", "branched bond", "ended"]
Matchings = frozenset[int]

_WAITING: dict[Phase, Phase] = {"atom": "bond", "open": "open bond", "branched": "branched bond"}


class Spot(NamedTuple):
    """An atom that may still get a bond.

    free     orders it can still bear; of an aromatic atom the places for bonds
    owed     aromatic bonds it must still get
    branch   a branch that left it is open
    rings    digits open at it, each with the sign it was opened with
    near     bonded to the spot before; run: joined to it by aromatic bonds alone; bare: one of these is in no ring yet
    touched  bonded to the last spot by a ring
    """

    free: int
    aromatic: bool
    owed: int
    need: Need
    oxo: bool
    branch: bool = False
    rings: tuple[tuple[int, str], ...] = ()
    near: bool = False
    run: bool = False
    bare: bool = False
    touched: bool = False

    @property
    def undecided(self) -> int:
        """Open rings that may yet close with an aromatic bond."""
        return sum(not sign for _, sign in self.rings) if self.aromatic else 0


class State(NamedTuple):
    """See above; two states from which the same may follow are mostly equal."""

    phase: Phase
    sign: str = ""
    spots: tuple[Spot, ...] = ()
    matchings: Matchings = frozenset((0,))


START, ENDED = State("start"), State("ended")


class _RefusedError(Exception):
    """The token may not come here."""


def after(state: State, token: Token) -> State | None:
    """The state a token leads to; None where it may not come."""
    try:
        if isinstance(token, Atom):
            found = _atom(state, token)
        elif isinstance(token, Bond):
            found = _bond(state, token)
        elif isinstance(token, Ring):
            found = _ring(state, token.number)
        else:
            found = {"(": _open, ")": _shut, ".": _part, "end": _end}[token.sign](state, token)
        _check(found)
    except _RefusedError:
        return None
    return found


def least_left(state: State) -> int:
    """A number of tokens below which it cannot end, the end included."""
    if state.phase == "ended":
        return 0
    rings = sum(len(spot.rings) for spot in state.spots)
    branches = sum(spot.branch for spot in state.spots)
    return 1 + rings + 2 * branches + (state.phase != "atom")


def _atom(state: State, atom: Atom) -> State:
    spot = Spot(atom.bonds, atom.aromatic, 2 if atom.aromatic else 0, atom.need, atom.oxo)
    if state.phase == "start":
        return State("atom", "", (spot,), frozenset((0,)))
    _ask(state.phase != "ended")
    spots, last = list(state.spots), len(state.spots) - 1
    joined = spots[last].aromatic and atom.aromatic and not state.sign
    spots.append(spot._replace(near=True, run=joined, bare=joined))
    matchings = _bear(spots, last, state.sign, joined, state.matchings)
    matchings = _bear(spots, last + 1, state.sign, joined, matchings)
    if joined:
        matchings = _pair(spots, last, last + 1, matchings)
    spots = [one._replace(touched=False) if one.touched else one for one in spots]
    if spots[last].branch:
        _ask(spots[last].free > 0)
    else:
        matchings = _leave(spots, last, matchings)
    return State("atom", "", tuple(spots), matchings)


def _bond(state: State, bond: Bond) -> State:
    _ask(state.phase in _WAITING)
    spots = list(state.spots)
    _bear(spots, len(spots) - 1, bond.sign, False, state.matchings)  # can it? The atom that follows does it
    _ask(not spots[-1].branch or spots[-1].free > 0)
    return State(_WAITING[state.phase], bond.sign, state.spots, state.matchings)


def _ring(state: State, number: int) -> State:
    _ask(state.phase in ("atom", "bond"))
    spots, last = list(state.spots), len(state.spots) - 1
    at = next((index for index, spot in enumerate(spots) for digit, _ in spot.rings if digit == number), None)
    if at is not None:
        return State("atom", "", *_close(spots, at, number, state.sign, state.matchings))
    spot = spots[last]
    _ask(not spot.aromatic or state.sign in ("", "-"))
    spots[last] = spot._replace(rings=tuple(sorted((*spot.rings, (number, state.sign)))))
    matchings = _bear(spots, last, state.sign, False, state.matchings)
    _ask(spots[last].free > 0)
    return State("atom", "", tuple(spots), matchings)


def _close(
    spots: list[Spot], at: int, number: int, sign: str, matchings: Matchings
) -> tuple[tuple[Spot, ...], Matchings]:
    """A ring bond from the last spot back to the one at `at`."""
    last, opener = len(spots) - 1, spots[at]
    opened = dict(opener.rings)[number]
    _ask(at < last and not opener.touched and not (at == last - 1 and spots[last].near))
    _ask(not opened or not sign or opened == sign)
    sign = opened or sign
    joined = opener.aromatic and spots[last].aromatic and not sign
    _ask(not joined or all(spot.run for spot in spots[at + 1 :]))
    more = ORDERS[sign] - ORDERS[opened]  # it was opened as a single one
    _ask(more <= (0 if opener.aromatic else opener.free - opener.branch))
    rings = tuple(ring for ring in opener.rings if ring[0] != number)
    owed = max(0, opener.owed - joined)
    spots[at] = opener._replace(free=opener.free - more, owed=owed, rings=rings, touched=True)
    matchings = _bear(spots, last, sign, joined, matchings)
    if joined:
        matchings = _pair(spots, at, last, matchings)
        spots[at + 1 :] = [spot._replace(bare=False) for spot in spots[at + 1 :]]
    if not rings and not spots[at].branch:
        matchings = _leave(spots, at, matchings)
    return tuple(spots), matchings


def _open(state: State, mark: Mark) -> State:
    _ask(state.phase in ("atom", "branched") and state.spots[-1].free > 1)
    return State("open", "", (*state.spots[:-1], state.spots[-1]._replace(branch=True)), state.matchings)


def _shut(state: State, mark: Mark) -> State:
    _ask(state.phase == "atom" and len(state.spots) > 1)
    *spots, left, last = state.spots
    _ask(left.branch and not last.rings and not last.bare)
    matchings = _settle(last, len(spots) + 1, state.matchings)
    spots = [one._replace(touched=False) if one.touched else one for one in spots]
    return State("branched", "", (*spots, left._replace(branch=False, touched=False)), matchings)


def _part(state: State, mark: Mark) -> State:
    _end(state, mark)
    return START


def _end(state: State, mark: Mark) -> State:
    _ask(state.phase == "atom" and len(state.spots) == 1 and not state.spots[0].rings)
    _settle(state.spots[0], 0, state.matchings)
    return ENDED


def _bear(spots: list[Spot], at: int, sign: str, joined: bool, matchings: Matchings) -> Matchings:
    """One more bond on a spot; joined: an aromatic one. What is left of the matchings."""
    spot = spots[at]
    order = ORDERS[sign]
    if spot.aromatic and order > 1:
        _ask(order == 2 and spot.oxo and spot.need == "must")
        matchings = _unmatched(matchings, at)
        spot = spot._replace(free=spot.free - 1, need="never", oxo=False)
    else:
        spot = spot._replace(free=spot.free - (1 if spot.aromatic else order), owed=max(0, spot.owed - joined))
    _ask(spot.free >= 0)
    if spot.need == "may" and spot.free == 0:
        matchings, spot = _unmatched(matchings, at), spot._replace(need="never")
    spots[at] = spot
    return matchings


def _pair(spots: list[Spot], one: int, other: int, matchings: Matchings) -> Matchings:
    """An aromatic bond between two spots may be a double one, where both want it."""
    if "never" in (spots[one].need, spots[other].need):
        return matchings
    both = 1 << one | 1 << other
    return matchings | {matching | both for matching in matchings if not matching & both}


def _unmatched(matchings: Matchings, at: int) -> Matchings:
    found = frozenset(matching for matching in matchings if not matching >> at & 1)
    _ask(bool(found))
    return found


def _settle(spot: Spot, at: int, matchings: Matchings) -> Matchings:
    """It gets no more bonds: matchings that fit it, without it."""
    _ask(not spot.owed)
    wanted, below = int(spot.need != "never"), (1 << at) - 1
    fit = (matching for matching in matchings if matching >> at & 1 == wanted)
    found = frozenset(matching & below | matching >> at + 1 << at for matching in fit)
    _ask(bool(found))
    return found


def _leave(spots: list[Spot], at: int, matchings: Matchings) -> Matchings:
    """The text has gone on from a spot: it is forgotten, unless a ring is open at it."""
    spot = spots[at]
    if spot.rings:
        need: Need = "never" if spot.need == "never" else "must"  # `may` has a place that stays free
        spots[at] = spot._replace(free=0 if spot.aromatic else min(spot.free, 1), need=need, oxo=False)
        return matchings
    after_it = spots[at + 1]
    bare = (spot.bare or after_it.bare) and at > 0
    run = spot.run and after_it.run
    _ask(run or not (spot.bare or after_it.bare))
    spots[at + 1] = after_it._replace(near=False, run=run, bare=bare)
    del spots[at]
    return _settle(spot, at, matchings)


def _check(state: State) -> None:
    """Refuse what can be seen to have no good end."""
    covered = False  # by a ring that is open further up in the same run
    for spot in state.spots:
        covered = covered and spot.run
        _ask(covered or not spot.bare)
        _ask(spot.owed <= spot.free + spot.undecided)
        covered = covered or spot.undecided > 0
    if state.phase == "atom" and state.spots[-1].free == 0:
        _ask(not any(spot.rings for spot in _segment(state.spots)) and not state.spots[-1].bare)
        _settle(state.spots[-1], len(state.spots) - 1, state.matchings)


def _segment(spots: tuple[Spot, ...]) -> Iterator[Spot]:
    """Spots of the innermost branch."""
    for spot in reversed(spots):
        if spot.branch:
            return
        yield spot


def _ask(condition: bool) -> None:
    if not condition:
        raise _RefusedError
