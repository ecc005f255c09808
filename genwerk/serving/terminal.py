"""Asking in the terminal: the same assistant as behind the API, with its sources printed under each answer."""

from __future__ import annotations

from contextlib import closing

from rich.console import Console
from rich.markup import escape

from genwerk.core.errors import GenwerkError, RequestError
from genwerk.core.types import Document, Message, Reply
from genwerk.core.workspace import Workspace
from genwerk.data.sections import headings_over
from genwerk.guardrails.guard import outcome
from genwerk.monitoring.answers import AnswerLog
from genwerk.serving.assistant import Ask, Assistant, Finished, Found, Piece
from genwerk.serving.deployment import Deployment, load_deployment
from genwerk.serving.trace import ANSWERS

REMEMBERED = 3


def chat_in_terminal(
    workspace: Workspace, name: str, *, question: str = "", adapter: str = "", console: Console | None = None
) -> None:
    """Answer `question`, or ask for questions until an empty line or Ctrl-D.

    adapter  empty: the deployment's own; `none`: the base model.

    Raises WorkspaceError if nothing is promoted as `name`, RequestError for an unknown adapter.
    """
    console = console or Console(highlight=False)
    deployment = load_deployment(workspace, name)
    with closing(deployment.engine):
        chosen = choose_adapter(deployment, adapter)
        with closing(AnswerLog(workspace.root / ANSWERS)) as log:
            assistant = Assistant(deployment, log)
            if question:
                ask_once(assistant, (Message("user", question),), chosen, console)
            else:
                _converse(assistant, chosen, console)


def choose_adapter(deployment: Deployment, adapter: str) -> str | None:
    """The adapter meant by a word on the command line. Raises RequestError."""
    known = deployment.engine.adapters
    if adapter == "none":
        return None
    if adapter and adapter not in known:
        remedy = f"Adapters: {', '.join((*known, 'none'))}."
        raise RequestError(f"there is no adapter `{adapter}`", param="adapter", remedy=remedy)
    return adapter or (known[0] if known else None)


def ask_once(assistant: Assistant, messages: tuple[Message, ...], adapter: str | None, console: Console) -> Reply:
    """Print one answer as it comes, then its sources and what the guards did."""
    grounded = assistant.deployment.index is not None
    reply: Reply | None = None
    documents: dict[str, Document] = {}
    for event in assistant.answer(Ask(messages, adapter=adapter, grounded=grounded)):
        if isinstance(event, Piece):
            console.print(event.text, end="", markup=False, soft_wrap=True)
        elif isinstance(event, Found):
            documents = {passage.document.id: passage.document for passage in event.passages}
        elif isinstance(event, Finished):
            reply = event.reply
    assert reply is not None
    console.print()
    for number, citation in enumerate(reply.citations, start=1):
        quote = " ".join(citation.quote.split())
        headings = headings_over(documents[citation.document_id], citation.start, citation.end)
        spots = [citation.source, *headings[-1:], citation.place, f"characters {citation.start}–{citation.end}"]
        place = ", ".join(filter(None, spots))
        console.print(f"  [cyan]\\[{number}][/] {escape(quote)}\n      [dim]{escape(place)}[/]", soft_wrap=True)
    for verdict in reply.verdicts:
        if outcome(verdict) != "passed":
            console.print(f"  [yellow]{verdict.rule}[/]: {escape(verdict.reason)}", soft_wrap=True)
    console.print(f"  [dim]genwerk trace {reply.id}[/]")
    return reply


def _converse(assistant: Assistant, adapter: str | None, console: Console) -> None:
    history: tuple[Message, ...] = ()
    while True:
        try:
            question = console.input("[bold]ask[/] › ").strip()
        except EOFError:
            return
        if not question:
            return
        asked = (*history, Message("user", question))
        try:
            reply = ask_once(assistant, asked, adapter, console)
        except GenwerkError as error:
            console.print(f"[red]{escape(str(error))}[/]")
            continue
        if reply.finish_reason != "content_filter" and not reply.abstained:
            history = (*asked, Message("assistant", reply.text))[-2 * REMEMBERED :]
