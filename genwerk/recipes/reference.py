"""docs/cli.md from the commands themselves, so that the page cannot lie; a test compares the two."""

from __future__ import annotations

from typing import Any

import typer


def command_reference(app: typer.Typer) -> str:
    """Markdown: every visible command with its purpose, arguments, options and example."""
    root = typer.main.get_command(app)
    lines = ["# Commands", "", "Made by `genwerk reference`; a test compares it with the program.", ""]
    for name, command in _walk(root, "genwerk"):
        lines += [f"## `{name}`", "", (command.help or "").strip(), ""]
        lines += [_parameter(item) for item in command.params if item.name != "help"]
        if command.epilog:
            lines += ["", command.epilog.strip()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _walk(command: Any, name: str) -> list[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [(name, command)]
    visible = ((key, child) for key, child in children.items() if not child.hidden)
    return [pair for key, child in visible for pair in _walk(child, f"{name} {key}")]


def _parameter(item: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*item.opts, *item.secondary_opts)) if item.opts else f"`{item.name}`"
    if item.param_type_name == "argument":
        flags = f"`{item.name.upper()}`"
    default = "" if item.default in (None, "", False) or item.required else f" (default `{item.default}`)"
    return f"- {flags}: {getattr(item, 'help', None) or 'see above'}{default}"
