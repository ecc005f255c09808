"""What `genwerk index` does: files to documents to a living index, and what is in one."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.progress import say
from genwerk.core.types import Document
from genwerk.core.workspace import Workspace
from genwerk.data.places import place_of_span
from genwerk.data.prepare import PrepareConfig, read_documents
from genwerk.recipe import fetch_source
from genwerk.retrieval.building import Change, IndexConfig, LiveIndex
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import FusionChoice, Searcher
from genwerk.retrieval.store import FILE_NAME, connect, problems_of, read_meta

__all__ = ["Asked", "inspect_index", "open_index", "remove_documents", "search_index", "sync"]

_EMBEDDER = "minilm"
_SHOWN = 160  # characters of a passage


@dataclass(frozen=True, slots=True)
class Asked:
    """What `genwerk index search` is asked."""

    query: str
    k: int
    arm: str
    weight: float
    groups: tuple[str, ...] = ()


def sync(
    folder: Path,
    sources: Sequence[str],
    *,
    embed: str = "",
    chars: int = 0,
    groups: tuple[str, ...] = (),
    whole: bool = False,
) -> str:
    """Take files into the index of `folder`; what was done, in words.

    groups  who may see them; none: whoever may see them now, everyone where they are new.
    whole   these are all there shall be: others are removed, and the index is made if it is not there.
    """
    started = time.perf_counter()
    live = _live(folder, embed, chars, make=whole)
    change = live.sync(_documents(sources, groups, live.limited()), prune=whole)
    return f"{_told(change)}, in {time.perf_counter() - started:.1f} s; the index is {folder}"


def open_index(found: str, workspace: Path) -> Index:
    """The index of a folder, or an artifact by its id or the beginning of it."""
    return Index.open(_place(found, workspace))


def remove_documents(folder: Path, names: Sequence[str]) -> str:
    """Remove documents by source or id; what was done, in words."""
    return _told(_live(folder).remove(names))


def search_index(found: str, workspace: Path, asked: Asked) -> None:
    """Print the passages of one arm with their ranks and scores in both."""
    index = open_index(found, workspace)
    searcher = Searcher(index, _embedder(index.meta), FusionChoice(asked.arm, asked.weight))
    started = time.perf_counter()
    ranks = searcher.candidates(asked.query, groups=asked.groups).ranks(asked.weight)
    took = time.perf_counter() - started
    if asked.arm not in ranks:
        raise RequestError(f"there is no arm {asked.arm!r}", param="arm", remedy=f"Arms: {', '.join(ranks)}.")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", *ranks, "document", "passage"):
        table.add_column(heading, overflow="fold")
    shown = list(ranks[asked.arm])[: asked.k]
    for place, chunk in enumerate(shown, 1):
        cells = [f"{held.rank}. {held.score:.3f}" if (held := arm.get(chunk)) else "–" for arm in ranks.values()]
        text = " ".join(index.chunk_text(chunk).split())
        document = index.document(chunk.document_id)
        spot = place_of_span(document, chunk.start, chunk.end)
        table.add_row(str(place), *cells, f"{document.source}\n{spot}".rstrip(), text[:_SHOWN])
    Console().print(table)
    say(f"{len(shown)} of {index.view.words(asked.groups).n_rows} chunks, {1000 * took:.0f} ms")


def inspect_index(found: str, workspace: Path, *, documents: bool = False, check: bool = False) -> bool:
    """Print what is in an index; whether it is whole, as far as was looked."""
    path = _place(found, workspace) / FILE_NAME
    index = Index.open(path)
    sizes = {"the truth": path.stat().st_size}
    sizes |= {one.name: sum(file.stat().st_size for file in one.iterdir()) for one in path.parent.glob("derived-*")}
    lines = {
        "documents": f"{len(index.document_ids):,}",
        "chunks": f"{index.view.words().n_rows:,} that everyone may see of {len(index.chunks):,}",
        **{key: index.meta[key] for key in sorted(index.meta)},
        **{f"size of {name}": f"{size / 1e6:,.1f} MB" for name, size in sizes.items()},
    }
    for name, value in lines.items():
        sys.stdout.write(f"{name:24} {value}\n")
    if documents:
        for identity in index.document_ids:
            document = index.document(identity)
            limited = f"  only {', '.join(document.acl)}" if document.acl else ""
            sys.stdout.write(f"{identity}  {len(document.text):>10,} characters  {document.source}{limited}\n")
    problems = problems_of(path) if check else []
    for problem in problems:
        sys.stdout.write(f"damaged: {problem}\n")
    if check and not problems:
        sys.stdout.write("whole: every text has its hash, every chunk its text and its vector\n")
    return not problems


def _documents(
    sources: Sequence[str], groups: tuple[str, ...], limited: Mapping[str, tuple[str, ...]]
) -> Iterator[Document]:
    for document in read_documents(PrepareConfig(sources=tuple(sources))):
        held = limited.get(document.source) or limited.get(document.sha256, ())  # a text is not opened by another name
        yield replace(document, acl=groups or held)


def _live(folder: Path, embed: str = "", chars: int = 0, *, make: bool = False) -> LiveIndex:
    """The index of `folder` as it was made; `embed` and `chars` are for one that is not there yet, or must agree."""
    config = IndexConfig(max_chars=chars) if chars else IndexConfig()
    path = folder / FILE_NAME
    if path.exists():
        connection = connect(path)
        meta = read_meta(connection, path)
        connection.close()
        if not chars:
            config = IndexConfig.model_validate_json(meta["chunking"].split(" ", 1)[1])
        embed = embed or meta["embedder_name"]
    elif not make:
        raise WorkspaceError(
            "there is no index", where=str(folder), remedy=f"Build it: genwerk index build DOCUMENTS --index {folder}"
        )
    embed = embed or _EMBEDDER
    return LiveIndex(folder, Embedder.load(fetch_source(embed).path), config, name=embed)


def _embedder(meta: dict[str, str]) -> Embedder:
    return Embedder.load(fetch_source(meta["embedder_name"]).path)


def _place(found: str, workspace: Path) -> Path:
    return Path(found) if Path(found).is_dir() else Workspace(workspace).find(found).path


def _told(change: Change) -> str:
    counts = {
        "added": change.added, "replaced": change.replaced, "removed": change.removed, "unchanged": change.unchanged,
    }  # fmt: skip
    done = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
    chunks = (
        f"; {change.embedded} chunks embedded, {change.reused} were known" if change.embedded or change.reused else ""
    )
    return f"documents: {done}{chunks}"
