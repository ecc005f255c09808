"""Searching for more than the words of a question: the model writes what else is searched for. Off unless it helps.

Sources: Ma et al. (2023), Query rewriting for retrieval-augmented large language models; Gao et al. (2022), Precise
zero-shot dense retrieval without relevance labels (HyDE); Press et al. (2022), Measuring and narrowing the
compositionality gap, for asking part by part; Cormack, Clarke and Büttcher (2009) for joining what was found.

    multi-query     the question in three other wordings          score(c) = sum over texts of 1 / (60 + rank of c)
    decomposition   the questions that it is made of              the same
    hyde            a passage as an answer might read             meaning is that of  (v(question) + v(passage)) / 2

Chosen:   the question itself is always searched too; the model is asked greedily, so that the same question is written
          the same; signals for abstaining are those of the question alone. It is switched on only if the 95 % bootstrap
          interval of the gain in nDCG@10, question by question, lies above 0;
          of several kinds that with the largest gain serves, and no interval is widened because three are looked at.
Left out: searching again after reading; several passages for HyDE.
Try it:   python benchmarks/rewriting.py --questions 20
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, Unpack

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import ConfigError, DataError, WorkspaceError
from genwerk.core.progress import track
from genwerk.core.types import Chunk, Message, Request, Retrieved, Sampling
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.documents import load_documents
from genwerk.data.questions import Question
from genwerk.inference.engines import load_engine
from genwerk.metrics.bootstrap import Interval, interval, paired_difference
from genwerk.metrics.ranking import ndcg_at_k
from genwerk.retrieval.answering import Generate
from genwerk.retrieval.findings import reciprocal_ranks
from genwerk.retrieval.fusion import known_item_gains, load_fusion
from genwerk.retrieval.mining import MineConfig, questions_of
from genwerk.retrieval.search import AS_FITTED, DEPTH, NO_REWRITE, REWRITES, Found, How, Options, Search, Searcher

__all__ = [
    "FILE_NAME", "KINDS", "DecideRewritingConfig", "Rewriting", "RewrittenSearch", "decide_rewriting", "fit_rewriting",
    "hypothetical_passage", "load_rewriting", "other_questions",
]  # fmt: skip

FILE_NAME = "rewriting.json"

_PROMPTS = {
    "multi-query": "Write the question in three other ways, with other words for the same things, one a line, and "
    "nothing else.\n\nQuestion: {question}",
    "decomposition": "Which two or three simpler questions must be answered first to answer this one? Write one a "
    "line, and nothing else.\n\nQuestion: {question}",
    "hyde": "Write a passage of an encyclopedia, of two or three sentences, that answers the question.\n\n"
    "Question: {question}",
}
KINDS = REWRITES[1:]
_MOST, _CHARS, _TOKENS = 3, 300, 120
_K = 10
_CACHED = 512
_MARK = re.compile(r"^[\s>*•–-]*(?:\(?\d+[.):]\s*)?|^\s*question\s*\d*:\s*", re.IGNORECASE)


def other_questions(kind: str, question: str, generate: Generate) -> list[str]:
    """At most three questions that the model writes for one, each once and none the question itself."""
    lines = (_MARK.sub("", line).strip().strip('"') for line in _written(kind, question, generate).splitlines())
    distinct = dict.fromkeys(line[:_CHARS] for line in lines if line and not line.endswith(":"))
    return [line for line in distinct if line.casefold() != question.strip().casefold()][:_MOST]


def hypothetical_passage(question: str, generate: Generate) -> str:
    """A passage as it might answer the question; what it says need not be so."""
    return " ".join(_written("hyde", question, generate).split())


def _written(kind: str, question: str, generate: Generate) -> str:
    prompt = (Message("user", _PROMPTS[kind].format(question=question)),)
    return "".join(delta.text for delta in generate(Request(prompt, Sampling(max_tokens=_TOKENS))))


class RewrittenSearch(Search):
    """A `Search` for what the model writes beside the question. Any thread may use it if `generate` may be.

    kind   what is written where a search does not say: none, or one of `KINDS`; `options.rewrite` overrules it.

    One more call of the model for every question that was not asked before. Raises ConfigError for an unknown kind.
    """

    def __init__(self, searcher: Searcher, generate: Generate, kind: str = NO_REWRITE) -> None:
        if kind not in REWRITES:
            raise ConfigError(f"there is no rewriting {kind!r}", remedy=f"Use one of {', '.join(REWRITES)}.")
        self.searcher, self.kind = searcher, kind
        self.index, self.embedder, self.fusion = searcher.index, searcher.embedder, searcher.fusion
        self._others = lru_cache(_CACHED)(lambda kind, query: tuple(other_questions(kind, query, generate)))
        self._passage = lru_cache(_CACHED)(lambda query: hypothetical_passage(query, generate))

    def as_decided(self, options: Options = AS_FITTED) -> Options:
        """See `Search`."""
        return replace(self.searcher.as_decided(options), rewrite=options.rewrite or self.kind)

    def find(self, query: str, k: int = 8, arm: str | None = None, **how: Unpack[How]) -> Found:
        """See `Search`: out of the candidates of the question, with its signals."""
        asked = how.get("options", AS_FITTED)
        kind, how["options"] = asked.rewrite or self.kind, replace(asked, rewrite=None)
        if kind == NO_REWRITE or not query.strip():
            return self.searcher.find(query, k, arm, **how)
        if kind == "hyde":
            passage = self._passage(query)
            found = self.searcher.find(query, k, arm, meaning=passage, **how)
            return replace(found, first=self.searcher.find(query, DEPTH, arm, **how), written=(passage,))
        how["options"] = replace(how["options"], mmr=None, distinct=False)
        texts = self._others(kind, query)
        first, *others = (self.searcher.find(text, DEPTH, arm, **how) for text in (query, *texts))
        joined = join_by_rank([one.results for one in (first, *others)])
        every = replace(first, first=first, others=tuple(one.candidates for one in others), written=texts)
        return self.arranged([Retrieved(chunk, score, kind) for chunk, score in joined], every, asked, k)


def join_by_rank(lists: Iterable[Sequence[Retrieved]]) -> list[tuple[Chunk, float]]:
    """Chunks of all lists with their summed reciprocal ranks, best first; of equal ones the first in a document."""
    scores = reciprocal_ranks([item.chunk for item in results] for results in lists)
    return sorted(scores.items(), key=lambda found: (-found[1], found[0]))


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What was measured for one kind, and whether it is switched on. Intervals are of nDCG@10."""

    kind: str
    on: bool
    reason: str
    n_questions: int
    question: Interval
    rewritten: Interval
    gain: Interval

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))


def fit_rewriting(
    searcher: Searcher, generate: Generate, questions: Sequence[Question], kinds: Sequence[str] = KINDS
) -> list[Rewriting]:
    """Search for every question once as it is and once with each kind, and decide on each by itself.

    Raises DataError for fewer than two questions.
    """
    if len(questions) < 2:
        remedy = "The documents need titled sections or whole sentences; a larger collection has more."
        raise DataError(f"{len(questions)} questions are too few to decide on rewriting", remedy=remedy)
    searches = [searcher, *(RewrittenSearch(searcher, generate, kind) for kind in kinds)]
    scores: list[list[float]] = [[] for _ in searches]
    with track("deciding on rewriting", total=len(questions), unit="questions") as bar:
        for question in questions:
            for search, found in zip(searches, scores, strict=True):
                found.append(_ndcg(search.search(question.text, _K), question))
            bar.advance()
    before, *rewritten = scores
    return [_decided(kind, before, after) for kind, after in zip(kinds, rewritten, strict=True)]


def _decided(kind: str, before: Sequence[float], after: Sequence[float]) -> Rewriting:
    """before, after (N,): nDCG@10 of each question as it is, and rewritten."""
    gain = paired_difference(after, before)
    spread = f"{gain.mean:+.3f} nDCG@10, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
    ends = "which lies above 0" if gain.above_zero else "which reaches 0 or below: it is switched off"
    return Rewriting(
        kind,
        gain.above_zero,
        f"{kind} gains {spread}, {ends}.",
        len(before),
        interval(before),
        interval(after),
        gain,
    )


def _ndcg(results: Sequence[Retrieved], question: Question) -> float:
    return ndcg_at_k(known_item_gains([item.chunk for item in results], question), _K, ideal=[1.0])


class DecideRewritingConfig(Config):
    """Which rewriting serves."""

    kind: Literal["multi-query", "decomposition", "hyde", "fitted"] = Field(
        "fitted", description="fitted: the best one, if it finds more beyond chance; else one of them, unmeasured"
    )
    n_questions: int = Field(100, ge=2, description="development questions; each is rewritten in three ways")
    seed: int = Field(0, ge=0, description="which questions are made; the same as in mining")
    engine: str = Field("auto", description="what writes, as it will be served; a recipe sets it from `serve`")
    precision: str = Field("float32", description="of its weights; set likewise")


def decide_rewriting(
    config: DecideRewritingConfig,
    step: Step,
    model: Artifact,
    index: Artifact,
    embedder_dir: Source | Artifact,
    dataset: Artifact,
    fit: Artifact,
) -> dict[str, float | int | str]:
    """Write `rewriting.json` into `step.out`: the kind that serves, or none, and what was measured of each."""
    if config.kind != "fitted":
        write_json(step.out / FILE_NAME, {"kind": config.kind, "measured": []})
        return {"kind": config.kind}
    chosen = MineConfig(n_questions=4 * config.n_questions, seed=config.seed)
    questions = questions_of(chosen, dataset, load_documents(dataset.path), "dev")
    with (
        closing(Searcher.open(index.path, embedder_dir.path, load_fusion(fit.path).choice)) as searcher,
        closing(load_engine(model.path, name="rewriting", engine=config.engine, precision=config.precision)) as engine,
    ):
        measured = fit_rewriting(searcher, engine.stream, questions)
    best = max(measured, key=lambda one: (one.on, one.gain.mean))
    kind = best.kind if best.on else NO_REWRITE
    write_json(step.out / FILE_NAME, {"kind": kind, "measured": [asdict(one) for one in measured]})
    return {"kind": kind, "questions": len(questions), **{f"gain_{one.kind}": one.gain.mean for one in measured}}


def load_rewriting(path: Path) -> str:
    """The kind that serves, as `rewriting.json` in a folder says. Raises WorkspaceError where it is not to be read."""
    try:
        kind = json.loads((path / FILE_NAME).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = f"the rewriting cannot be read: {error!r}"
        raise WorkspaceError(what, where=str(path), remedy="Run the recipe again.") from error
    return str(kind)
