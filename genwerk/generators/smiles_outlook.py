"""Whether a SMILES that grows can come to a good end: seen from its spots, without a search.

With `C`, `c`, `=` and the ring digits at hand, atoms can always be appended, so most ends are in reach. What is not:

    a spot without free places, last in a branch in which a ring is open
    an aromatic bond in no ring yet, with no ring open above it that an aromatic chain from it could close
    an aromatic atom that owes aromatic bonds, and no such ring
    an atom that needs a double bond, has none in any matching that fits the others, and can get no aromatic bond
    that lies in such a ring, nor `=O` or the like

That what passes has an end is held against the search of smiles_rule.py in its tests.
"""

from __future__ import annotations

from genwerk.generators.smiles_spots import Spot, State, ask, settle, unmatched

__all__ = ["least_left", "most_left", "tidied"]


def least_left(state: State) -> int:
    """A number of tokens below which it cannot end, the end included."""
    if state.phase == "ended":
        return 0
    rings = sum(len(spot.rings) for spot in state.spots)
    branches = sum(spot.branch for spot in state.spots)
    if state.phase != "atom":
        return 1 + rings + 2 * branches + (state.phase != "bond" or not rings)
    last = state.spots[-1]
    more = 0
    if last.owed > 1 and not last.undecided:
        more = 4  # a ring of three: a digit, two atoms, the digit
    elif last.owed > 1:
        more = 2
    elif last.free < _segment_rings(state.spots):
        more = 1
    return 1 + rings + 2 * branches + more


def most_left(state: State) -> int:
    """A number of tokens within which it can end, the end included: searches found four more than the least at most."""
    return least_left(state) + 7 if state.phase != "ended" else 0


def tidied(state: State) -> State:
    """The state without what no longer matters. Raises RefusedError where it can have no good end."""
    if not state.spots:
        return state
    if any(spot.need == "may" for spot in state.spots):
        state = _decided(state)
    spots, last = state.spots, len(state.spots) - 1
    goes_on = _going_on(spots)
    covered, must, kept = False, 0, []
    for at, spot in enumerate(spots):
        above = covered and spot.run  # a ring is open further up in its run
        undecided = spot.undecided if goes_on[at] else 0
        ask(spot.free > 0 or not spot.branch)
        ask(not spot.bare or (above and goes_on[at]))
        if spot.aromatic:
            new = at == last and state.phase == "atom" and spot.free > 1  # it may open a ring
            if spot.owed:
                _ask_owed(spot, undecided, above, new)
            taken = spot.branch and at < last and spots[at + 1].bare  # the branch may close the ring
            if not (new or _flexible(spot, undecided > 0, above and not taken, at == last)):
                must |= 1 << at
        if (spot.run and not above) or (spot.near and at < last):
            spot = spot._replace(run=above, near=spot.near and at == last)
        covered = above or undecided > 0
        kept.append(spot)
    matchings = state.matchings
    if must:
        matchings = frozenset(matching for matching in matchings if matching & must == must)
        ask(bool(matchings))
        if matchings != state.matchings:
            return tidied(state._replace(matchings=matchings))
    if state.phase == "atom" and spots[last].free == 0:
        ask(not spots[last].bare and _segment_rings(spots) == 0)
        settle(spots[last], last, matchings)
    return State(state.phase, state.sign, tuple(kept), matchings)


def _decided(state: State) -> State:
    """Of an atom that may do without a double bond: that it must, where its last place will be taken, or has one."""
    spots, matchings, last = list(state.spots), state.matchings, len(state.spots) - 1
    for at, spot in enumerate(spots):
        if spot.need != "may" or spot.free != 1:
            continue
        more = at == last and (state.phase != "atom" or spot.bare or spot.owed > 0 or _segment_rings(state.spots) > 0)
        if more or spot.branch:
            matchings, spots[at] = unmatched(matchings, at), spot._replace(need="never")
        elif all(matching >> at & 1 for matching in matchings):
            spots[at] = spot._replace(need="must", free=0)
    return state._replace(spots=tuple(spots), matchings=matchings)


def _going_on(spots: tuple[Spot, ...]) -> list[bool]:
    """Of each, whether an aromatic chain can go on from it, or from another one further down in its run."""
    found, going = [True] * len(spots), True
    for at in range(len(spots) - 2, -1, -1):
        going = spots[at].branch or (going and spots[at + 1].run)
        found[at] = going
    return found


def _ask_owed(spot: Spot, undecided: int, above: bool, new: bool) -> None:
    """Aromatic bonds it owes come of rings open at it, of a chain that a ring above covers, or of a new ring."""
    ask(spot.owed <= spot.free + undecided)
    ask(above or new or undecided > 0)


def _flexible(spot: Spot, rings: bool, above: bool, last: bool) -> bool:
    """Whether it may still get its double bond, or do without."""
    if spot.need == "never":
        return True
    if rings or (spot.oxo and spot.undecided):  # an open ring may close with `=` too
        return True
    return (last or spot.branch) and spot.free > 0 and (above or spot.need == "may" or spot.oxo)


def _segment_rings(spots: tuple[Spot, ...]) -> int:
    """How many rings that were opened in the innermost branch are open."""
    found = 0
    for spot in reversed(spots):
        if spot.branch:
            break
        found += len(spot.rings)
    return found
