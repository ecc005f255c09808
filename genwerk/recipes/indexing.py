"""What `genwerk index` does: files to documents to a living index, and what is in one."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from genwerk.core.artifact import RECORD, read_artifact
from genwerk.core.assets import KNOWN
from genwerk.core.errors import WorkspaceError
from genwerk.core.progress import say
from genwerk.core.workspace import Workspace
from genwerk.data.places import place_of_span
from genwerk.data.prepare import PrepareConfig, read_documents
from genwerk.data.sections import headings_over
from genwerk.inference.engines import load_engine
from genwerk.models.base import LoadBaseConfig
from genwerk.recipe import fetch_source
from genwerk.retrieval.building import Change, IndexConfig, LiveIndex
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.reranked import FILE_NAME as RERANKING
from genwerk.retrieval.reranked import FOLDER, RerankedSearch, load_reranking
from genwerk.retrieval.reranking import Reranker
from genwerk.retrieval.rewriting import RewrittenSearch
from genwerk.retrieval.search import FusionChoice, Options, Rank, Search, Searcher, check_query
from genwerk.retrieval.stores import is_url, meta_of, open_store

__all__ = [
    "Asked",
    "cutting_of",
    "embedder_of",
    "inspect_index",
    "model_path",
    "open_index",
    "remove_documents",
    "search_index",
    "sync",
]

_EMBEDDER = "minilm"
_SHOWN = 160  # characters of a passage


@dataclass(frozen=True, slots=True)
class Asked:
    """What `genwerk index search` is asked; model: what writes, where the options want rewriting."""

    query: str
    k: int
    arm: str
    groups: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    model: str = ""


def sync(
    place: str,
    sources: Sequence[str],
    *,
    embed: str = "",
    cutting: Mapping[str, object] | None = None,
    groups: tuple[str, ...] = (),
    whole: bool = False,
) -> str:
    """Take files into the index at `place`, a folder or the URL of a database; what was done, in words.

    cutting keys of `IndexConfig` that are asked for; the others are as they are in the index, or by default.
    groups  who may see them; none: whoever may see them now, everyone where they are new.
    whole   these are all there shall be: others are removed, and the index is made if it is not there.
    """
    started = time.perf_counter()
    live = _live(place, embed, cutting, make=whole)
    documents = (replace(one, acl=groups) for one in read_documents(PrepareConfig(sources=tuple(sources))))
    change = live.sync(documents, prune=whole, keep_limits=True)
    return f"{_told(change)}, in {time.perf_counter() - started:.1f} s; the index is {live.store.where}"


def open_index(found: str, workspace: Path) -> Index:
    """The index of a folder or a database, or an artifact by its id or the beginning of it."""
    return Index.open(_place(found, workspace))


def remove_documents(place: str, names: Sequence[str]) -> str:
    """Remove documents by source or id; what was done, in words."""
    return _told(_live(place).remove(names))


def search_index(found: str, workspace: Path, asked: Asked) -> None:
    """Print the passages of one arm with their ranks and scores in every arm."""
    check_query(asked.query)
    index = open_index(found, workspace)
    if not index.document_ids:
        say(f"the index is empty; take documents in: genwerk index build DOCUMENTS --index {found}", style="yellow")
        return
    with ExitStack() as ending:
        _print_found(_search(index, workspace, asked, ending), asked)


def _print_found(searcher: Search, asked: Asked) -> None:
    index = searcher.index
    weight = 0.5 if asked.options.weight is None else asked.options.weight
    started = time.perf_counter()
    held = searcher.find(asked.query, asked.k, asked.arm, groups=asked.groups, options=asked.options)
    took = time.perf_counter() - started
    ranks = held.candidates.ranks(weight, asked.options.fusion)
    if held.results and held.results[0].source == "reranked":
        second = (item for item in held.results if item.source == "reranked")
        ranks["reranked"] = {item.chunk: Rank(place, item.score) for place, item in enumerate(second, 1)}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", *ranks, "document", "passage"):
        table.add_column(heading, overflow="fold")
    for number, item in enumerate(held.results, 1):
        chunk = item.chunk
        cells = [f"{place.rank}. {place.score:.3f}" if (place := arm.get(chunk)) else "–" for arm in ranks.values()]
        text = " ".join(index.chunk_text(chunk).split())
        document = index.document(chunk.document_id)
        headings = headings_over(document, chunk.start, chunk.end)
        spots = [document.source, *headings[-1:], place_of_span(document, chunk.start, chunk.end)]
        table.add_row(str(number), *cells, "\n".join(filter(None, spots)), text[:_SHOWN])
    Console().print(table)
    words = held.candidates.words
    told = [f"{len(held.results)} of {words.n_rows if words else 0} chunks, {1000 * took:.0f} ms"]
    told += map(str, held.candidates.corrections)
    if asked.options.asks_a_model:
        told.append(f"one call of the model, which wrote: {' | '.join(held.written) or 'nothing'}")
    told += [f"{held.repeated} identical texts left out"] if held.repeated else []
    say("; ".join(told))


def _search(index: Index, workspace: Path, asked: Asked, ending: ExitStack) -> Search:
    """The search of an index, with the reranker that stands beside it or was measured on it in the workspace, and the
    model that is asked for; `ending` closes it."""
    searcher, options = Searcher(index, embedder_of(index), FusionChoice()), asked.options
    first: Search = searcher
    if options.asks_a_model:
        path = model_path(asked.model, Workspace(workspace))
        engine = ending.enter_context(closing(load_engine(path, name=Path(asked.model).name, precision="int8")))
        first = RewrittenSearch(searcher, engine.stream)
    if options.rerank is False:
        return first
    folder = index.folder
    model, decision = folder / FOLDER, folder / RERANKING
    if (folder / RECORD).is_file():  # an artifact: what was made from it last
        held, identity = Workspace(workspace), read_artifact(folder).id
        made = [one for one in held.artifacts() if one.kind == "reranking" and identity in one.parents]
        if made:
            newest = max(made, key=lambda one: one.created)
            decision = newest.path / RERANKING
            model = next(one.path for one in held.parents(newest) if one.kind == "reranker")
    if not decision.exists() or not ((choice := load_reranking(decision).choice).on or options.rerank):
        return first
    return RerankedSearch(first, Reranker.load(model), choice)


def model_path(model: str, workspace: Workspace) -> Path:
    """Of a directory, a name or spec that is fetched once, or an artifact of the workspace."""
    if Path(model).is_dir():
        return Path(model)
    if model in KNOWN or ":" in model:
        loading = LoadBaseConfig(name=model)
        return workspace.step("genwerk.models.base:load_base", loading, fetch_source(model), kind="model").path
    return workspace.find(model).path


def inspect_index(found: str, workspace: Path, *, documents: bool = False, check: bool = False) -> bool:
    """Print what is in an index; whether it is whole, as far as was looked."""
    place = _place(found, workspace)
    index, store = Index.open(place), open_store(place)
    sizes = {"the truth": store.size()}
    sizes |= {one.name: sum(file.stat().st_size for file in one.iterdir()) for one in store.folder.glob("derived-*")}
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
    problems = store.problems() if check else []
    for problem in problems:
        sys.stdout.write(f"damaged: {problem}\n")
    if check and not problems:
        sys.stdout.write("whole: every text has its hash, every chunk its text and its vector\n")
    return not problems


def cutting_of(chunker: str, chars: int, headers: bool | None) -> dict[str, object]:
    """What the command line asks for; `chunker` is a name, or a name and keys as in `window:around=2,sentences=2`."""
    name, _, told = chunker.partition(":")
    asked: dict[str, object] = {"chunker": name or None, "max_chars": chars or None, "headers": headers}
    asked |= {key.strip(): value for key, _, value in (item.partition("=") for item in told.split(",") if item)}
    return {key: value for key, value in asked.items() if value is not None}


def _live(place: str, embed: str = "", cutting: Mapping[str, object] | None = None, *, make: bool = False) -> LiveIndex:
    """The index at `place` as it was made; `embed` and `cutting` are for one that is not there yet, or must agree."""
    held, asked = dict[str, object](), dict(cutting or {})
    store = open_store(place)
    if store.exists():
        meta = meta_of(place)
        held = IndexConfig.of(meta).model_dump()
        embed = embed or meta["embedder_name"]
    elif not make:
        raise WorkspaceError(
            "there is no index", where=store.where, remedy="Build it: genwerk index build DOCUMENTS, with this --index."
        )
    embed = embed or _EMBEDDER
    if asked.get("chunker", held.get("chunker")) != held.get("chunker"):
        held = {}  # what another chunker was told
    config = IndexConfig.parse({**held, **asked}, where="how documents are cut")
    return LiveIndex(place, Embedder.load(fetch_source(embed).path), config, name=embed)


def embedder_of(index: Index) -> Embedder:
    """The embedder that made the vectors of an index."""
    return Embedder.load(fetch_source(index.meta["embedder_name"]).path)


def _place(found: str, workspace: Path) -> Path | str:
    if is_url(found):
        return found
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
