"""What `genwerk index summarise` does: a document of an index and a model to a summary that can be looked up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from genwerk.core.errors import RequestError
from genwerk.core.progress import say
from genwerk.core.types import Document
from genwerk.core.workspace import Workspace
from genwerk.inference.engines import load_engine
from genwerk.recipes.indexing import embedder_of, model_path, open_index
from genwerk.retrieval.index import Index
from genwerk.retrieval.summarise import Statement, SummariseConfig, Summary, summarise

__all__ = ["summarise_document"]

_QUOTED = 100  # characters of a quotation that are printed


def summarise_document(
    found: str, name: str, workspace: Path, config: SummariseConfig, *, model: str, precision: str,
    groups: Sequence[str] = (), outline: bool = False,
) -> None:  # fmt: skip
    """Print the summary of the document `name` of an index, and how much of it is covered.

    Raises RequestError for a document that is not there, or that `groups` may not see.
    """
    index = open_index(found, workspace)
    document = find_document(index, name, groups)
    embedder = embedder_of(index)
    path = model_path(model, Workspace(workspace))
    with closing(load_engine(path, name=Path(model).name, precision=precision)) as engine:
        summary = summarise(document, engine.stream, embedder, config)
    if outline:
        _print_outline(summary)
    else:
        _print(summary.statements)
    held = [statement for one in summary.outline for statement in one.statements]
    written = sum(statement.written for statement in held)
    say(
        f"{len(summary.statements)} sentences cite {summary.coverage:.0%} of {len(summary.outline)} sections, "
        f"the outline {summary.outline_coverage:.0%}; {written} of its {len(held)} sentences are the model's, "
        "the others are quoted"
    )


def find_document(index: Index, name: str, groups: Sequence[str] = ()) -> Document:
    """By id, source, or the last part of the source if only one has it. Raises RequestError."""
    seen = [index.document(identity) for identity in index.document_ids if index.may_see(identity, groups)]
    exact = [document for document in seen if name in (document.id, document.source)]
    found = exact or [document for document in seen if document.source.rsplit("/", 1)[-1] == name]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} documents are called {name!r}" if found else f"no document is called {name!r}"
    raise RequestError(what, param="document", remedy="`genwerk index inspect --documents` lists ids and sources.")


def _print(statements: Sequence[Statement]) -> None:
    for number, statement in enumerate(statements, 1):
        sys.stdout.write(f"{statement.text} [{number}]\n")
    sys.stdout.write("\n")
    for number, statement in enumerate(statements, 1):
        cited = statement.citation
        place = f", {cited.place}" if cited.place else ""
        quote = " ".join(cited.quote.split())
        shown = quote if len(quote) <= _QUOTED else f"{quote[:_QUOTED]}…"
        sys.stdout.write(f"[{number}] {cited.source}{place}, {cited.start}-{cited.end}: {shown}\n")


def _print_outline(summary: Summary) -> None:
    for one in summary.outline:
        if one.statements:
            sys.stdout.write(f"\n{one.section.title}\n")
            for statement in one.statements:
                sys.stdout.write(f"  {statement.text} [{statement.citation.start}-{statement.citation.end}]\n")
