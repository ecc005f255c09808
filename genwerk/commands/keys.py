"""`genwerk keys`: bearer keys of the server."""

from __future__ import annotations

import sys

import typer

from genwerk.commands.options import HERE, WorkspaceOption

__all__ = ["keys"]

keys = typer.Typer(no_args_is_help=True, help="Bearer keys of the server.")


@keys.command("add", epilog="Example: `genwerk keys add laptop`")
def keys_add(name: str, workspace: WorkspaceOption = HERE) -> None:
    """Make a key; it is printed once and stored only as a hash."""
    from genwerk.serving.auth import KeyStore

    secret = KeyStore(workspace / "keys.json").add(name)
    sys.stderr.write("Keep this key; it is not stored and cannot be shown again:\n")
    sys.stdout.write(secret + "\n")


@keys.command("list")
def keys_list(workspace: WorkspaceOption = HERE) -> None:
    """List the names of the keys."""
    from genwerk.serving.auth import KeyStore

    for name in KeyStore(workspace / "keys.json").names():
        sys.stdout.write(name + "\n")


@keys.command("remove")
def keys_remove(name: str, workspace: WorkspaceOption = HERE) -> None:
    """Withdraw a key."""
    from genwerk.serving.auth import KeyStore

    KeyStore(workspace / "keys.json").remove(name)
    sys.stderr.write(f"removed {name}\n")
