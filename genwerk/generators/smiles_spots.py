"""Spots of a SMILES that grows: the atoms that may still get a bond, and what a bond does to them.

    free     orders it can still bear; of an aromatic atom the places for bonds
    owed     aromatic bonds it must still get
    need     whether one of its aromatic bonds must be a double one, see smiles_tokens.py

A matching is a number whose bit i says that spot i has its double bond: part of a Kekulé structure. A bond between
aromatic atoms splits each matching in two, with it and without it; an atom that leaves the spots takes with it every
matching that does not fit it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from genwerk.generators.smiles_tokens import ORDERS, Need

__all__ = ["ENDED", "START", "Matchings", "Phase", "RefusedError", "Spot", "State"]
__all__ += ["ask", "bear", "leave", "pair", "settle", "unmatched"]

Phase = Literal["start", "atom", "bond", "open", "open bond", "branched", "branched bond", "ended"]
Matchings = frozenset[int]


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

    @property
    def open_rings(self) -> list[tuple[int, str]]:
        """The digit and the sign of each."""
        return [ring for spot in self.spots for ring in spot.rings]


START, ENDED = State("start"), State("ended")


class RefusedError(Exception):
    """The token may not come here."""


def bear(spots: list[Spot], at: int, sign: str, joined: bool, matchings: Matchings) -> Matchings:
    """One more bond on a spot; joined: an aromatic one. What is left of the matchings."""
    spot = spots[at]
    order = ORDERS[sign]
    if spot.aromatic and order > 1:
        ask(order == 2 and spot.oxo and spot.need == "must")
        matchings = unmatched(matchings, at)
        spot = spot._replace(free=spot.free - 1, need="never", oxo=False)
    else:
        spot = spot._replace(free=spot.free - (1 if spot.aromatic else order), owed=max(0, spot.owed - joined))
    ask(spot.free >= 0)
    if spot.need == "may" and spot.free == 0:
        matchings, spot = unmatched(matchings, at), spot._replace(need="never")
    spots[at] = spot
    return matchings


def pair(spots: list[Spot], one: int, other: int, matchings: Matchings) -> Matchings:
    """An aromatic bond between two spots may be a double one, where both want it."""
    if "never" in (spots[one].need, spots[other].need):
        return matchings
    both = 1 << one | 1 << other
    return matchings | {matching | both for matching in matchings if not matching & both}


def unmatched(matchings: Matchings, at: int) -> Matchings:
    found = frozenset(matching for matching in matchings if not matching >> at & 1)
    ask(bool(found))
    return found


def settle(spot: Spot, at: int, matchings: Matchings) -> Matchings:
    """It gets no more bonds: matchings that fit it, without it."""
    ask(not spot.owed)
    wanted, below = int(spot.need != "never"), (1 << at) - 1
    fit = (matching for matching in matchings if matching >> at & 1 == wanted)
    found = frozenset(matching & below | matching >> at + 1 << at for matching in fit)
    ask(bool(found))
    return found


def leave(spots: list[Spot], at: int, matchings: Matchings) -> Matchings:
    """The text has gone on from a spot: it is forgotten, unless a ring is open at it."""
    spot = spots[at]
    if spot.rings:
        need: Need = "never" if spot.need == "never" else "must"  # `may` has a place that stays free
        spots[at] = spot._replace(free=0 if spot.aromatic else min(spot.free, 1), need=need)
        return matchings
    after_it = spots[at + 1]
    bare = (spot.bare or after_it.bare) and at > 0
    run = spot.run and after_it.run
    ask(run or not (spot.bare or after_it.bare))
    spots[at + 1] = after_it._replace(near=False, run=run, bare=bare)
    del spots[at]
    return settle(spot, at, matchings)


def ask(condition: bool) -> None:
    if not condition:
        raise RefusedError
