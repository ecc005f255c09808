"""`genwerk index`: a searchable index of files, kept in step with them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from genwerk.commands.options import HERE, WorkspaceOption
from genwerk.commands.train_reranker import EXAMPLES, train_reranker_command

__all__ = ["index"]

index = typer.Typer(no_args_is_help=True, help="A searchable index of files, kept in step with them.")

FolderOption = Annotated[
    str, typer.Option("--index", "-i", help="Folder of the index, or postgresql://host/database?schema=name.")
]
FOLDER = "index"
FoundOption = Annotated[
    str,
    typer.Option("--index", "-i", help="Folder or URL of the index, or an artifact's id (its beginning)."),
]
Paths = Annotated[list[str], typer.Argument(help="Folders and files with documents.")]
EmbedOption = Annotated[
    str,
    typer.Option(
        show_default="the index's own, minilm for a new one",
        help="Model: minilm, e5 (many languages), a spec, a directory.",
    ),
]
GroupsOption = Annotated[
    list[str] | None, typer.Option("--group", help="Groups the reader belongs to; may be repeated.")
]
ChunkerOption = Annotated[
    str,
    typer.Option(
        show_default="the index's own, recursive for a new one",
        help="recursive, structural, semantic, window or parent; with its keys as in `window:around=2`.",
    ),
]
HeadersOption = Annotated[
    bool | None,
    typer.Option(
        "--headers/--no-headers",
        show_default="the index's own, none for a new one",
        help="Embed each chunk under its document's title and the path of its sections.",
    ),
]


@index.command("build", epilog="Example: `genwerk index build ./docs --chunker parent --headers`")
def build(
    documents: Paths,
    folder: FolderOption = FOLDER,
    embed: EmbedOption = "",
    chars: Annotated[
        int,
        typer.Option(min=0, show_default="the index's own, 700 for a new one", help="Longest passage in characters."),
    ] = 0,
    chunker: ChunkerOption = "",
    headers: HeadersOption = None,
) -> None:
    """Build an index, or bring one in step: what changed is embedded, what is no longer there is removed."""
    from genwerk.recipes.indexing import cutting_of, sync

    cutting = cutting_of(chunker, chars, headers)
    _say(sync(folder, documents, embed=embed, cutting=cutting, whole=True))


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


@index.command("search", epilog='Example: `genwerk index search "reset the pump" -k 5 --where format=pdf --rerank`')
def search(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    found: FoundOption = FOLDER,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Passages to show.")] = 8,
    arm: Annotated[str, typer.Option(help="bm25 (words), dense (meaning) or hybrid (both).")] = "hybrid",
    weight: Annotated[float, typer.Option(min=0, max=1, help="Share of meaning in the weighted fusion.")] = 0.5,
    fusion: Annotated[str, typer.Option(help="Of both: weighted, or rrf (reciprocal ranks).")] = "weighted",
    where: Annotated[
        list[str] | None,
        typer.Option(help="key=value or key=from..to (dates): source (folder or pattern), format, language, or any "
                     "metadata. Repeated: all keys, any value of one."),
    ] = None,
    mmr: Annotated[
        float | None, typer.Option(min=0, max=1, help="Prefer what is unlike: 1 is the order of scores, 0 unlike only.")
    ] = None,
    distinct: Annotated[bool, typer.Option("--distinct", help="Of identical texts only the first.")] = False,
    spelling: Annotated[
        bool, typer.Option("--spelling/--no-spelling", help="Look words that no document has up by their nearest.")
    ] = True,
    rerank: Annotated[
        bool | None, typer.Option("--rerank/--no-rerank", show_default="as was measured", help="Ask the reranker.")
    ] = None,
    rewrite: Annotated[
        str,
        typer.Option(help="Search too for what a model writes: multi-query, decomposition or hyde. One call of it."),
    ] = "none",
    model: Annotated[
        str, typer.Option(help="What rewrites: a name, a spec, a directory or an artifact.")
    ] = "smollm2-135m-instruct",
    groups: GroupsOption = None,
    workspace: WorkspaceOption = HERE,
) -> None:  # fmt: skip
    """Search, with each passage's rank and score in every arm."""
    from genwerk.recipes.indexing import Asked, search_index
    from genwerk.retrieval.search import Options
    from genwerk.retrieval.where import parse_pairs

    options = Options(parse_pairs(where or ()), fusion, weight, mmr, distinct, spelling, rerank, rewrite)
    search_index(found, workspace, Asked(query, k, arm, tuple(groups or ()), options, model))


@index.command("inspect", epilog="Example: `genwerk index inspect --documents --check`")
def inspect(
    found: FoundOption = FOLDER,
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
