"""Options that commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["HERE", "WorkspaceOption"]

WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Where artifacts are kept.")]
HERE = Path(".genwerk")
