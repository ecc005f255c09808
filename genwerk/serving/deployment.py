"""A deployment: the artifacts that were promoted together, loaded and ready to answer.

    workspace.pinned("serving-handbook") = {"model": id, "adapter": id, "index": id, "fit": id, "dataset": id,
                                            "report": id, "embedder": "minilm", "guards": {…}, "questions": […]}

The pin moves in one write, so a server loads the old parts or the new ones, never some of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

from genwerk.core.artifact import Artifact, is_id
from genwerk.core.assets import KNOWN, fetch
from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.hashing import digest
from genwerk.core.machine import probe
from genwerk.core.progress import say
from genwerk.core.types import Chunk, Document, Message, Request, Sampling, Verdict
from genwerk.core.workspace import Workspace
from genwerk.data.questions import known_item_questions
from genwerk.guardrails.policy import Guards, GuardsConfig, build_guards
from genwerk.inference.engines import OURS, SERVED, choose_engine, load_engine
from genwerk.inference.generation import Delta
from genwerk.inference.text_engine import TextEngine
from genwerk.retrieval.abstention import Abstention, load_abstention
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.answer_events import AnswerEvent
from genwerk.retrieval.answering import Answerer
from genwerk.retrieval.citations import Passage, align
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.reranking import Reranker
from genwerk.retrieval.search import NO_REWRITE, Options, Search
from genwerk.retrieval.stages import decided_search
from genwerk.retrieval.stores import is_url, meta_of
from genwerk.tokenizers.tokenizer import Tokenizer

EXAMPLES = 4
PREFIXES = "prefixes"
_CANDIDATES = 32
_IDENTIFIER = re.compile(r"\w[._]\w|__|\(")


Generate = Callable[[Request], Iterator[Delta]]
Check = Callable[[str], Verdict]


class AnswerSource(Protocol):
    """What answers from documents, sentence by sentence."""

    def answer(self, messages: Sequence[Message], sampling: Sampling, adapter: str | None) -> Iterator[AnswerEvent]: ...


@dataclass(frozen=True)
class Deployment:
    """Everything that is needed to answer. Any thread may use it.

    artifacts      by part: model, adapter, index, fit, dataset, report.
    answerer       makes what answers from the documents, around a way to generate and a check of each sentence.
    adapter        the name under which the engine serves the deployment's own adapter; empty without one.
    default_model  the name to ask for when the user has no preference: the adapter if there is one.
    follows        the index is a living one: others add to it and remove from it while it is answered from.
    """

    name: str
    workspace: Workspace
    engine: TextEngine
    guards: Guards
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    index: Index | None = None
    embedder: Embedder | None = None
    embedder_name: str = ""
    searcher: Search | None = None
    make_answerer: Callable[[Generate, Check, Check, Sequence[str]], AnswerSource] | None = None
    make_questions: Callable[[], tuple[str, ...]] = tuple
    follows: bool = False
    adapter: str = ""
    reranker: Reranker | None = None
    reranker_name: str = ""

    @property
    def questions(self) -> tuple[str, ...]:
        """Examples for the page, which the documents that are there now answer."""
        return self.make_questions()

    @property
    def living(self) -> tuple[str, str]:
        """Where the living index is, and its present state; empty where it is an artifact, which never changes."""
        return (self.index.where, self.index.state) if self.index is not None and self.follows else ("", "")

    def refresh(self) -> None:
        """Take in what others changed in the documents. Raises WorkspaceError."""
        if self.index is not None:
            self.index.refresh()

    @property
    def default_model(self) -> str:
        return self.adapter or self.engine.name

    def served(self, *, grounded: bool = True, adapter: bool = True) -> dict[str, Artifact]:
        """The artifacts that an answer rests on, by part; `adapter`: whether by the deployment's own."""
        parts = [
            "model",
            "quantised",
            *(["adapter"] if adapter else []),
            *(["fit", "reranker", "reranking", "rewriting", "abstention"] if grounded else []),
            *(["dataset", "index"] if grounded and not self.follows else []),
        ]
        return {part: self.artifacts[part] for part in parts if part in self.artifacts}

    @property
    def fingerprint(self) -> str:
        """Changes when any part changes, or the documents of a living index."""
        return f"fp_{(digest([self._parts, *self.living]) if self.follows else self._parts)[:12]}"

    @cached_property
    def _parts(self) -> str:
        return digest({part: artifact.id for part, artifact in self.artifacts.items()})

    def answerer(self, generate: Generate, check: Check, admit: Check, groups: Sequence[str] = ()) -> AnswerSource:
        """Raises RequestError where there are no documents. check, admit: see `Answerer`."""
        if self.make_answerer is None:
            raise RequestError("this deployment has no documents", param="grounded", remedy="Ask with it false.")
        return self.make_answerer(generate, check, admit, groups)

    def document(self, identity: str, groups: Sequence[str] = ()) -> Document:
        """A document that `groups` may see. Raises RequestError (404)."""
        self.refresh()
        try:
            if self.index is not None and self.index.may_see(identity, groups):
                return self.index.shown(identity, groups)
        except (KeyError, WorkspaceError):
            pass  # an id the index does not know: the same answer as for one that may not be seen
        raise RequestError(f"no document `{identity}`", param="id", status=404, code="document_not_found")

    def count(self, what: str) -> int:
        """How many `documents` or `chunks` the index holds that everyone may see."""
        if self.index is None:
            return 0
        view = self.index.view
        return view.words().n_rows if what == "chunks" else sum(map(view.may_see, self.index.document_ids))

    def created(self, part: str) -> int:
        """When that part was made, in seconds since 1970; 0 if it is not known."""
        artifact = self.artifacts.get(part)
        try:
            return int(datetime.fromisoformat(artifact.created).timestamp()) if artifact else 0
        except ValueError:
            return 0


def load_deployment(
    workspace: Workspace, name: str, *, replicas: int = 1, cache_precision: str = "", server: str = "", index: str = ""
) -> Deployment:
    """Load what the pin `serving-NAME` names. Raises WorkspaceError if nothing was promoted, ModelError, AssetError.

    replicas          engines in processes of Ray Serve's; 1: one engine in this process
    cache_precision   of keys and values; empty: as the recipe says
    server            where it will answer, HOST:PORT; names the replicas, see `start_replicas`
    index             of a living index to answer from, its folder or URL; empty: as the recipe says
    """
    ids = workspace.pinned(f"serving-{name}")
    if "model" not in ids:
        remedy = f"Run its recipe first: `genwerk run {name}.yaml`; it is promoted when its gates pass."
        raise WorkspaceError(f"nothing has been promoted as `{name}`", where=str(workspace.root), remedy=remedy)
    parts = {part: workspace.find(str(value)) for part, value in ids.items() if is_id(str(value))}
    guards = build_guards(GuardsConfig.parse(ids.get("guards") or {}, where=f"pin serving-{name}"), is_supported)
    model, adapter = parts.get("quantised", parts["model"]), None if "quantised" in parts else parts.get("adapter")
    notes = dict(ids.get("serve") or {})
    if "draft" in parts:
        notes.setdefault("draft", str(parts["draft"].path))
    if cache_precision:
        notes["cache_precision"] = cache_precision
    with ExitStack() as loading:
        engine = open_engines(model, adapter, name, notes, workspace.root / PREFIXES, replicas, server)
        loading.callback(engine.close)  # where anything below fails: replicas would stay in their cluster
        reranker, reranker_name = _load_reranker(str(notes.get("reranker") or ""), parts.get("reranker"), name, engine)
        deployment = Deployment(
            name, workspace, engine, guards, parts, adapter=next(iter(engine.adapters), ""), reranker=reranker,
            reranker_name=reranker_name,
        )  # fmt: skip
        if "index" in parts:
            deployment = _with_documents(deployment, ids, index or str(notes.get("index") or ""))
        elif index:
            remedy = f"Run a recipe with documents, then serve it: genwerk serve {name} --index {index}"
            raise WorkspaceError(
                f"`{name}` was not fitted to search documents", where=str(workspace.root), remedy=remedy
            )
        loading.pop_all()
    return deployment


def _with_documents(deployment: Deployment, ids: Mapping[str, Any], living: str) -> Deployment:
    """`deployment` with the index it answers from, its own or a living one, and what it is searched with."""
    engine, fit, made = deployment.engine, deployment.artifacts.get("fit"), deployment.artifacts["index"]
    index = _open_living(living, made) if living else Index.open(made.path)
    embedder_name, embedder_path = find_encoder(str(ids.get("embedder") or next(iter(made.sources), "")))
    embedder = Embedder.load(embedder_path)
    embedder.share(engine.between_steps)
    decided = {part: artifact.path for part, artifact in deployment.artifacts.items()}
    searcher = decided_search(index, embedder, engine.stream, deployment.reranker, decided)
    silence = deployment.artifacts.get("abstention", fit)  # fitted with the reranker, where it has the last word
    abstention = load_abstention(silence.path) if silence else None
    config = AnswerConfig.parse(ids.get("answer") or {}, where=f"pin serving-{deployment.name}")

    def make_answerer(generate: Generate, check: Check, admit: Check, groups: Sequence[str]) -> AnswerSource:
        return Answerer(
            index, searcher, generate, abstention, count_tokens=engine.count_tokens, check=check, admit=admit,
            config=config, groups=groups,
        )  # fmt: skip

    given = tuple(ids.get("questions") or ())
    examples = lru_cache(maxsize=1)(lambda state: given or example_questions(searcher, abstention))

    def make_questions() -> tuple[str, ...]:
        return index.following(lambda: examples(index.state))

    make_questions()  # looked for now, and not when the page waits for them
    return replace(
        deployment, index=index, embedder=embedder, embedder_name=embedder_name, searcher=searcher,
        make_answerer=make_answerer, make_questions=make_questions, follows=bool(living),
    )  # fmt: skip


def _open_living(place: str, made: Artifact) -> Index:
    """The index at `place`, which is searched as was fitted on `made`. Raises WorkspaceError for another embedder."""
    index = Index.open(place if is_url(place) else Path(place).absolute())
    measured = meta_of(made.path)
    if index.meta["embedder"] != measured["embedder"]:
        raise WorkspaceError(
            "the living index was made with another embedder than the one that the deployment was fitted with",
            where=index.where,
            remedy=f"Build one with --embed {measured['embedder_name']}, or name this one's in the recipe and run it.",
        )
    if index.meta["chunking"] != measured["chunking"]:
        told = f"{index.where} is cut as {index.meta['chunking']}, and what was measured as {measured['chunking']}"
        say(f"{told}: fusion and silence were fitted on the latter", style="yellow")
    return index


def open_engines(
    model: Artifact,
    adapter: Artifact | None,
    name: str,
    serve: Mapping[str, Any],
    prefixes: Path,
    replicas: int,
    server: str = "",
) -> TextEngine:
    """The engine of a model artifact, or so many of them as one. `prefixes`: folder of their cache files."""
    keeps = bool(serve.get("keep_prefixes"))
    if replicas == 1:
        return open_engine(model, adapter, name, serve, prefixes / f"{name}.kv" if keeps else None)
    from genwerk.serving.cluster import start_replicas  # not imported where it is not asked for

    files = [prefixes / f"{name}-{number}.kv" if keeps else None for number in range(replicas)]
    chosen = choose_engine(
        model.path, serve.get("engine", "auto"), draft=serve.get("draft"), cache_file=files[0],
        **{key: serve[key] for key in OURS if key in serve},
    )  # fmt: skip
    makers = [partial(open_engine, model, adapter, name, {**serve, "engine": chosen}, file) for file in files]
    gpus = int(chosen == "vllm" and probe().cuda)
    return start_replicas(name, makers, Tokenizer.load(model.path), gpus=gpus, server=server)


def open_engine(
    model: Artifact, adapter: Artifact | None, name: str, serve: Mapping[str, Any], cache_file: Path | None = None
) -> TextEngine:
    """The engine of a model artifact. The model is named as it was loaded, its adapter as the deployment.

    serve       the pin's notes: which engine, in which precision of weights and cache, with which window and draft.
    cache_file  see `load_engine`.
    """
    merged = name if model.kind == "quantised" else f"{name}-base"
    base = str(model.config.get("name") or merged)
    base = Path(base).name if base.startswith((".", "/", "path:")) else base
    tuned = name if name != base else f"{name}-tuned"
    draft = Path(serve["draft"]) if serve.get("draft") else None
    adapters = {tuned: adapter.path} if adapter else {}
    served = {key: serve[key] for key in SERVED if key in serve}
    return load_engine(model.path, adapters=adapters, name=base, draft=draft, cache_file=cache_file, **served)


def is_supported(sentence: str, passages: Sequence[str]) -> bool:
    """Whether a passage holds the sentence word for word, or a span that says it (see `retrieval.citations`)."""
    bare = "".join(sentence.split())
    if any(bare in "".join(passage.split()) for passage in passages):
        return True
    documents = [Document.create("", passage) for passage in passages]
    spans = [Passage(Chunk(document.id, 0, len(document.text)), document) for document in documents]
    return align(sentence, spans) is not None


def find_encoder(spec: str, what: str = "embedding model of the index") -> tuple[str, Path]:
    """Name and folder of a model that reads texts: a name or spec that is fetched once, or a path.

    Raises WorkspaceError if it is gone, AssetError if it cannot be fetched.
    """
    if spec in KNOWN or ":" in spec:
        return spec, fetch(spec)
    if not spec or not Path(spec).exists():
        remedy = "Restore it, or run the recipe again."
        raise WorkspaceError(f"the {what}, `{spec}`, is gone", where=spec, remedy=remedy)
    return Path(spec).name, Path(spec)


def _load_reranker(
    spec: str, trained: Artifact | None, deployment: str, engine: TextEngine
) -> tuple[Reranker | None, str]:
    """The one that `serve.reranker` names, or that was trained for the deployment, and the name it is asked by."""
    if spec:
        name, path = find_encoder(spec, "reranker")
    elif trained is not None:
        name, path = f"{deployment}-reranker", trained.path
    else:
        return None, ""
    if trained is not None:
        path = trained.path  # the one that was measured
    reranker = Reranker.load(path)
    reranker.share(engine.between_steps)
    return reranker, name


def example_questions(searcher: Search, abstention: Abstention | None, limit: int = EXAMPLES) -> tuple[str, ...]:
    """A few plain questions that the documents answer, each about another document; the same for the same index."""
    index = searcher.index
    documents = [index.document(identity) for identity in index.document_ids if index.may_see(identity)]
    short = [document for document in documents if len(document.text) < 60_000][:120]
    titled = [item for item in known_item_questions(short, seed=1) if item.style == "title" and len(item.text) <= 70]
    plain = sorted(titled, key=lambda item: (_IDENTIFIER.search(item.text) is not None, len(item.text) > 48))
    chosen: dict[str, str] = {}
    for question in plain[:_CANDIDATES]:
        found = searcher.look(question.text, 1, options=Options(rewrite=NO_REWRITE))
        there = found.results and found.results[0].chunk.document_id == question.document_id
        if there and not (abstention and abstention.abstains(found.signals)):
            chosen.setdefault(question.document_id, question.text)
        if len(chosen) == limit:
            break
    return tuple(chosen.values())
