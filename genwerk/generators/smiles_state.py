"""How far a SMILES has come, and where a token takes it: the grammar, the valences, rings, and Kekulé structures.

Source: Weininger (1988) for the grammar. The way valences steer what may follow is that of Krenn et al. (2020),
SELFIES, done on SMILES. Kekulé structures are perfect matchings, kept as sets of partial ones, see smiles_spots.py.

    state   phase, sign of a bond that waits for its atom, spots, matchings
    spot    an atom that may still get a bond: the last one, one a branch leaves, one with an open ring digit

All else is forgotten, so that states of different molecules are equal and can be numbered, see smiles_rule.py.

Asked of a molecule, beyond what SMILES asks: a ring closes in the branch in which it opened or in one of that; a bond
between aromatic atoms without a sign lies in a ring of such bonds that was opened and closed along them; the last
branch of an atom has no brackets. RDKit writes so, unless it is asked for another order of atoms.
"""

from __future__ import annotations

from genwerk.generators.smiles_outlook import tidied
from genwerk.generators.smiles_spots import (
    ENDED,
    START,
    Matchings,
    Phase,
    RefusedError,
    Spot,
    State,
    ask,
    bear,
    leave,
    pair,
    settle,
    unmatched,
)  # fmt: skip
from genwerk.generators.smiles_tokens import ORDERS, Atom, Bond, Mark, Ring, Token

__all__ = ["after"]

_WAITING: dict[Phase, Phase] = {"atom": "bond", "open": "open bond", "branched": "branched bond"}
_PLAIN: tuple[Token, ...] = (Atom(4), Atom(3, True, "must", True), Bond("="))


def after(state: State, token: Token) -> State | None:
    """The state a token leads to; None where it may not come, or where nothing good can come of it."""
    try:
        if isinstance(token, Atom):
            found = _atom(state, token)
        elif isinstance(token, Bond):
            found = _bond(state, token)
        elif isinstance(token, Ring):
            found = _ring(state, token.number)
        else:
            found = {"(": _open, ")": _shut, ".": _part, "end": _end}[token.sign](state, token)
        found = tidied(found)
    except RefusedError:
        return None
    return found if _goes_on(found) else None


def _goes_on(state: State) -> bool:
    """Where an aromatic atom waits for what follows: whether anything can."""
    if not state.phase.startswith(("bond", "open", "branched")) or not state.spots[-1].aromatic:
        return True
    rings: list[Token] = [Ring(number) for number, _ in state.open_rings]
    return any(after(state, token) is not None for token in [*_PLAIN, *rings])


def _atom(state: State, atom: Atom) -> State:
    spot = Spot(atom.bonds, atom.aromatic, 2 if atom.aromatic else 0, atom.need, atom.oxo)
    if state.phase == "start":
        return State("atom", "", (spot,), frozenset((0,)))
    ask(state.phase != "ended")
    spots, last = list(state.spots), len(state.spots) - 1
    joined = spots[last].aromatic and atom.aromatic and not state.sign
    spots.append(spot._replace(near=True, run=joined, bare=joined))
    matchings = bear(spots, last, state.sign, joined, state.matchings)
    matchings = bear(spots, last + 1, state.sign, joined, matchings)
    if joined:
        matchings = pair(spots, last, last + 1, matchings)
    spots = [one._replace(touched=False) if one.touched else one for one in spots]
    if spots[last].branch:
        ask(spots[last].free > 0)
    else:
        matchings = leave(spots, last, matchings)
    return State("atom", "", tuple(spots), matchings)


def _bond(state: State, bond: Bond) -> State:
    ask(state.phase in _WAITING)
    spots = list(state.spots)
    bear(spots, len(spots) - 1, bond.sign, False, state.matchings)  # can it? The atom that follows does it
    ask(not spots[-1].branch or spots[-1].free > 0)
    return State(_WAITING[state.phase], bond.sign, state.spots, state.matchings)


def _ring(state: State, number: int) -> State:
    ask(state.phase in ("atom", "bond"))
    spots, last = list(state.spots), len(state.spots) - 1
    at = next((index for index, spot in enumerate(spots) for digit, _ in spot.rings if digit == number), None)
    if at is not None:
        return State("atom", "", *_close(spots, at, number, state.sign, state.matchings))
    spot = spots[last]
    ask(not spot.aromatic or state.sign in ("", "-"))
    spots[last] = spot._replace(rings=tuple(sorted((*spot.rings, (number, state.sign)))))
    matchings = bear(spots, last, state.sign, False, state.matchings)
    ask(spots[last].free > 0)
    return State("atom", "", tuple(spots), matchings)


def _close(
    spots: list[Spot], at: int, number: int, sign: str, matchings: Matchings
) -> tuple[tuple[Spot, ...], Matchings]:
    """A ring bond from the last spot back to the one at `at`."""
    last, opener = len(spots) - 1, spots[at]
    opened = dict(opener.rings)[number]
    ask(at < last and not opener.touched and not (at == last - 1 and spots[last].near))
    ask(not opened or not sign or opened == sign)
    sign = opened or sign
    joined = opener.aromatic and spots[last].aromatic and not sign
    ask(not joined or all(spot.run for spot in spots[at + 1 :]))
    if more := ORDERS[sign] - ORDERS[opened]:  # it was opened as a single one
        if opener.aromatic:
            ask(more == 1 and opener.oxo and opener.need == "must")
            matchings, opener = unmatched(matchings, at), opener._replace(need="never", oxo=False)
        else:
            ask(more <= opener.free - opener.branch)
            opener = opener._replace(free=opener.free - more)
    rings = tuple(ring for ring in opener.rings if ring[0] != number)
    spots[at] = opener._replace(owed=max(0, opener.owed - joined), rings=rings, touched=True)
    matchings = bear(spots, last, sign, joined, matchings)
    if joined:
        matchings = pair(spots, at, last, matchings)
        spots[at + 1 :] = [spot._replace(bare=False) for spot in spots[at + 1 :]]
    if not rings and not spots[at].branch:
        matchings = leave(spots, at, matchings)
    return tuple(spots), matchings


def _open(state: State, mark: Mark) -> State:
    ask(state.phase in ("atom", "branched") and state.spots[-1].free > 1)
    return State("open", "", (*state.spots[:-1], state.spots[-1]._replace(branch=True)), state.matchings)


def _shut(state: State, mark: Mark) -> State:
    ask(state.phase == "atom" and len(state.spots) > 1)
    *spots, left, last = state.spots
    ask(left.branch and not last.rings and not last.bare)
    matchings = settle(last, len(spots) + 1, state.matchings)
    spots = [one._replace(touched=False) if one.touched else one for one in spots]
    return State("branched", "", (*spots, left._replace(branch=False, touched=False)), matchings)


def _part(state: State, mark: Mark) -> State:
    _end(state, mark)
    return START


def _end(state: State, mark: Mark) -> State:
    ask(state.phase == "atom" and len(state.spots) == 1 and not state.spots[0].rings)
    settle(state.spots[0], 0, state.matchings)
    return ENDED
