"""Artifacts for the terminal: a list of them, and one of them whole."""

from __future__ import annotations

from rich.console import Console

from genwerk.core.workspace import Artifact, Workspace


def print_artifacts(workspace: Workspace, kind: str = "") -> None:
    """Newest first, a line each: id, kind, when (UTC) and the first metrics."""
    console = Console(highlight=False, soft_wrap=True)
    found = [item for item in workspace.artifacts() if kind in ("", item.kind)]
    if not found:
        console.print(f"no {kind or 'artifacts'} in {workspace.root}")
    for item in sorted(found, key=lambda each: each.created, reverse=True):
        shown = "  ".join(f"{key} {_number(value)}" for key, value in list(item.metrics.items())[:3])
        made = item.created[:19].replace("T", " ")
        console.print(f"[bold]{item.id}[/]  {item.kind:<11} {made}  [dim]{shown}[/]")


def print_artifact(workspace: Workspace, artifact: Artifact, *, verify: bool = False) -> bool:
    """One artifact with its lineage; with `verify` every file is hashed again. Returns False when one is damaged."""
    console = Console(highlight=False)
    console.print(f"[bold]{artifact.kind} {artifact.id}[/]  made {artifact.created} by {artifact.function}")
    console.print(f"path     {artifact.path}\ncode     {artifact.code}\ncontent  {artifact.content_sha256}")
    console.print("[bold]config[/]")
    for key, value in artifact.config.items():
        console.print(f"  {key}: {value}")
    console.print("[bold]metrics[/]")
    for key, value in artifact.metrics.items():
        console.print(f"  {key}: {_number(value)}")
    console.print("[bold]files[/]")
    for name, sha256 in artifact.files.items():
        console.print(f"  {sha256[:16]}  {name}")
    console.print("[bold]lineage[/], oldest first")
    for parent in workspace.lineage(artifact):
        console.print(f"  {parent.kind:<10} {parent.id}")
    problems = workspace.verify(artifact) if verify else []
    for problem in problems:
        console.print(f"[red]damaged[/]: {problem}")
    if verify and not problems:
        console.print("[green]every file has the hash it was made with[/]")
    return not problems


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
