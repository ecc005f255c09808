"""`genwerk edit`: one picture back to its noise, and drawn from there in other styles or with more of an attribute."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from genwerk.core.artifact import read_artifact
from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.workspace import Workspace
from genwerk.data.pictures import load_pictures
from genwerk.evaluation.grids import grid, save_picture
from genwerk.generators.attributes import learn_direction, move
from genwerk.generators.family import Ask, sample
from genwerk.generators.inversion import invert
from genwerk.generators.storage import Stored, load_family
from genwerk.recipes.drawing import picture_of

__all__ = ["Editing", "edit_picture"]


@dataclass(frozen=True, slots=True)
class Editing:
    """What the command line asks; 0 and empty text leave it to the model.

    source       what the picture is; to: what it becomes
    attribute    of which 0 to `amount` times the direction is added, in n steps; among: where that is learned
    """

    picture: Path
    source: str = ""
    to: str = ""
    attribute: str = ""
    among: str = ""
    amount: float = 1.0
    n: int = 5
    strength: float = 1.0
    guidance: float = 1.0
    steps: int = 0
    solver: str = ""
    average: float = 0.0


def edit_picture(model: Path, editing: Editing, out: Path) -> str:
    """Write a row, the picture and what became of it, and say what was done. Raises RequestError, ModelError."""
    if bool(editing.to) == bool(editing.attribute):
        what = "there is nothing to change" if not editing.to else "a style and an attribute are two changes"
        raise RequestError(what, param="to", remedy="Say what it becomes, `--to`, or give an `--attribute`.")
    if editing.attribute and editing.strength < 1.0:
        what = "an attribute is added to the noise at the end of the way"
        raise RequestError(what, param="strength", remedy="Leave the strength at 1.")
    stored = load_family(model, average=editing.average or None)
    if stored.vocabulary:
        raise RequestError(f"a {stored.name} makes no pictures", param="model", remedy="Name one that does.")
    started = time.perf_counter()
    x, found = _restyled(stored, editing) if editing.to else _with_attribute(stored, editing)
    save_picture(grid([[x, *found.unbind()]]), out)
    done = f"as {editing.to}" if editing.to else f"0 to {editing.amount:g} times `{editing.attribute}`"
    return f"{editing.picture.name}, {done}, by {stored.name} in {time.perf_counter() - started:.1f} s: {out}"


def _restyled(stored: Stored, editing: Editing) -> tuple[Tensor, Tensor]:
    names = stored.asked_by(editing.to)
    given = stored.given(names)
    x, back = _back(stored, editing, len(names))
    return x, sample(stored.family, replace(back, given=given, guidance=editing.guidance))


def _with_attribute(stored: Stored, editing: Editing) -> tuple[Tensor, Tensor]:
    pictures = load_pictures(_learned_from(stored.path), "train")
    x, back = _back(stored, editing, editing.n)
    direction = learn_direction(
        stored.family, pictures, editing.attribute, by=stored.by, among=editing.among, steps=editing.steps or None,
        show=True,
    )  # fmt: skip
    first = 0.0 if editing.n > 1 else editing.amount
    amounts = torch.linspace(first, editing.amount, editing.n)
    return x, sample(stored.family, replace(move(back, direction, amounts), guidance=editing.guidance))


def _back(stored: Stored, editing: Editing, count: int) -> tuple[Tensor, Ask]:
    """The picture, and the ask that draws it `count` times."""
    x = picture_of(editing.picture, stored.family.space.picture)
    given = stored.given([editing.source]) if editing.source else None
    ask = Ask(1, given=given, start=x, strength=editing.strength, steps=editing.steps or None,
              solver=editing.solver or None)  # fmt: skip
    back = invert(stored.family, ask)
    every = {name: getattr(back, name) for name in ("given", "noise", "start")}
    again = {name: value.repeat_interleave(count, 0) for name, value in every.items() if value is not None}
    return x[0], replace(back, count=count, **again)


def _learned_from(model: Path) -> Path:
    """The pictures that a generator of a workspace learned from. Raises RequestError where they are not there."""
    try:
        lineage = Workspace(model.resolve().parents[2]).lineage(read_artifact(model))
        return next(one.path for one in lineage if one.kind == "pictures")
    except (WorkspaceError, IndexError, StopIteration):
        what = "what the model learned from is not beside it"
        raise RequestError(what, param="attribute", remedy="Name a generator of a workspace.") from None
