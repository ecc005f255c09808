"""`genwerk enlarge`: a picture of any size, at twice or four times as many pixels a side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from genwerk.commands.options import HERE, WorkspaceOption

__all__ = ["EXAMPLES", "enlarge"]

EXAMPLES = (
    "Examples: `genwerk enlarge photo.png --model 3f2a --out large.png`, "
    "`genwerk enlarge photo.jpg --model 3f2a --times 4 --seed 7`, "
    "`genwerk enlarge scan.png --model 3f2a --mean`: nothing invented, sharper than interpolation"
)


def enlarge(
    picture: Annotated[Path, typer.Argument(help="The picture to enlarge, a file of any size.")],
    model: Annotated[str, typer.Option(help="Artifact id (or its beginning) of a super-resolution, or its directory.")],
    out: Annotated[Path, typer.Option(help="Where the large picture goes, a PNG file.")] = Path("large.png"),
    times: Annotated[int, typer.Option(min=2, max=4, help="2, or 4: twice in a row.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same picture.")] = 0,
    steps: Annotated[int, typer.Option(min=0, help="Of the solver; 0: the model's own.")] = 0,
    solver: Annotated[str, typer.Option(help="euler, heun, dpm_solver or ancestral; empty: the model's own.")] = "",
    mean: Annotated[bool, typer.Option("--mean", help="The mean of what could be, in one step; no draw.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Enlarge a picture with a super-resolution that was trained by a recipe: what it draws is likely, not known."""
    from genwerk.core.workspace import Workspace
    from genwerk.recipes.enlarging import Enlarging, enlarge_file

    path = Path(model) if Path(model).is_dir() else Workspace(workspace).find(model).path
    asked = Enlarging(picture, out, times, seed, steps, solver, mean)
    sys.stderr.write(enlarge_file(path, asked) + "\n")
