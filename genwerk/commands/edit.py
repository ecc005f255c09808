"""`genwerk edit`: a picture in another style, or with more of an attribute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["EXAMPLES", "edit"]

EXAMPLES = (
    "Examples: `genwerk edit smile.png --model 3f2a --from twitter --to google --out styled.png`, "
    "`genwerk edit face.png --model 3f2a --from twitter --attribute smiling --among face --amount 2 --n 5`"
)


def edit(
    picture: Annotated[Path, typer.Argument(help="The picture to change, of the size that the model makes.")],
    model: Annotated[str, typer.Option(help="Artifact id (or its beginning) of a generator, or its directory.")],
    source: Annotated[str, typer.Option("--from", help="What it is: a class, or a text; empty: not said.")] = "",
    to: Annotated[str, typer.Option(help="What it becomes: classes, with commas between, or a text.")] = "",
    attribute: Annotated[str, typer.Option(help="Or: a class, or a word of the learned pictures' texts.")] = "",
    among: Annotated[str, typer.Option(help="Learn the attribute from pictures with this word only.")] = "",
    amount: Annotated[float, typer.Option(help="How much of it at most; below 0 takes it away.")] = 1.0,
    n: Annotated[int, typer.Option(min=1, help="Of an attribute: so many steps from 0 to the amount.")] = 5,
    strength: Annotated[float, typer.Option(help="How far back to noise, up to 1: less changes less.")] = 1.0,
    guidance: Annotated[float, typer.Option(help="Above 1 more of what it becomes.")] = 1.0,
    steps: Annotated[int, typer.Option(min=0, help="Of the solver, each way; 0: the model's own.")] = 0,
    solver: Annotated[str, typer.Option(help="euler, heun or dpm_solver; empty: the model's own.")] = "",
    average: Annotated[float, typer.Option(help="Width of the average of weights; 0: as trained.")] = 0.0,
    out: Annotated[Path, typer.Option(help="A row: the picture, and what became of it.")] = Path("edited.png"),
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Where artifacts are kept.")] = Path(".genwerk"),
) -> None:
    """Take a picture back to the noise that a model would draw it from, and draw it otherwise; nothing is trained."""
    from genwerk.core.workspace import Workspace
    from genwerk.recipes.editing import Editing, edit_picture

    path = Path(model) if Path(model).is_dir() else Workspace(workspace).find(model).path
    asked = Editing(picture, source, to, attribute, among, amount, n, strength, guidance, steps, solver, average)
    sys.stderr.write(edit_picture(path, asked, out) + "\n")
