"""`genwerk index`: a searchable index of files, kept in step with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from genwerk.commands.options import HERE, WorkspaceOption
from genwerk.commands.train_reranker import EXAMPLES, train_reranker_command

__all__ = ["index"]

index = typer.Typer(no_args_is_help=True, help="A searchable index of files, kept in step with them.")

FolderOption = Annotated[Path, typer.Option("--index", "-i", help="Folder of the index.")]
FOLDER = Path("index")
FoundOption = Annotated[
    str, typer.Option("--index", "-i", help="Folder of the index, or the id of an index artifact (or its beginning).")
]
Paths = Annotated[list[str], typer.Argument(help="Folders and files with documents.")]
EmbedOption = Annotated[
    str, typer.Option(show_default="the index's own, minilm for a new one", help="Model: a name, a spec, a directory.")
]
GroupsOption = Annotated[
    list[str] | None, typer.Option("--group", help="Groups the reader belongs to; may be repeated.")
]


@index.command("build", epilog="Example: `genwerk index build ./docs --index handbook-index`")
def build(
    documents: Paths,
    folder: FolderOption = FOLDER,
    embed: EmbedOption = "",
    chars: Annotated[
        int, typer.Option(min=0, show_default="the index's own, 700 for a new one", help="Longest chunk in characters.")
    ] = 0,
) -> None:
    """Build an index, or bring one in step: what changed is embedded, what is no longer there is removed."""
    from genwerk.recipes.indexing import sync

    _say(sync(folder, documents, embed=embed, chars=chars, whole=True))


@index.command("add", epilog="Example: `genwerk index add new/contract.pdf --group legal`")
def add(documents: Paths, folder: FolderOption = FOLDER, groups: Annotated[
    list[str] | None, typer.Option("--group", help="Who may see them; none: as before, everyone if new.")] = None,
) -> None:  # fmt: skip
    """Add documents to an index; one whose file is there with other content takes its place."""
    from genwerk.recipes.indexing import sync

    _say(sync(folder, documents, groups=tuple(groups or ())))


@index.command("remove", epilog="Example: `genwerk index remove contract.pdf`")
def remove(names: Annotated[list[str], typer.Argument(help="Documents by source or id, see `inspect --documents`.")],
           folder: FolderOption = FOLDER) -> None:  # fmt: skip
    """Remove documents with all that was derived from them."""
    from genwerk.recipes.indexing import remove_documents

    _say(remove_documents(folder, names))


@index.command("search", epilog='Example: `genwerk index search "reset the pump" -k 5 --arm bm25`')
def search(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    found: FoundOption = str(FOLDER),
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Passages to show.")] = 8,
    arm: Annotated[str, typer.Option(help="bm25 (words), dense (meaning) or hybrid (both).")] = "hybrid",
    weight: Annotated[float, typer.Option(min=0, max=1, help="Share of meaning in hybrid.")] = 0.5,
    groups: GroupsOption = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Search, with each passage's rank and score in both arms."""
    from genwerk.recipes.indexing import Asked, search_index

    search_index(found, workspace, Asked(query, k, arm, weight, tuple(groups or ())))


@index.command("inspect", epilog="Example: `genwerk index inspect --documents --check`")
def inspect(
    found: FoundOption = str(FOLDER),
    documents: Annotated[bool, typer.Option("--documents", help="List every document.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Read everything and compare it with its hashes.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """What is in an index, how large it is, and whether it is whole."""
    from genwerk.recipes.indexing import inspect_index

    if not inspect_index(found, workspace, documents=documents, check=check):
        raise typer.Exit(1)


@index.command("summarise", epilog="Example: `genwerk index summarise handbook.md --index handbook-index --outline`")
def summarise(
    document: Annotated[str, typer.Argument(help="Source or id of a document, see `inspect --documents`.")],
    found: FoundOption = str(FOLDER),
    sentences: Annotated[int, typer.Option(min=1, help="Longest summary.")] = 8,
    outline: Annotated[bool, typer.Option("--outline", help="Show what each section says instead.")] = False,
    model: Annotated[
        str, typer.Option(help="What writes: a name, a spec, a directory or an artifact.")
    ] = "smollm2-135m-instruct",
    precision: Annotated[str, typer.Option(help="float32, int8 or int4.")] = "float32",
    groups: GroupsOption = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Summarise a document of any length; each sentence names the place that says it."""
    from genwerk.recipes.summarising import summarise_document
    from genwerk.retrieval.summarise import SummariseConfig

    summarise_document(
        found, document, workspace, SummariseConfig(sentences=sentences), model=model, precision=precision,
        groups=tuple(groups or ()), outline=outline,
    )  # fmt: skip


index.command("train-reranker", epilog=EXAMPLES)(train_reranker_command)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
