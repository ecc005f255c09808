"""The assistant under test, put together as the server puts it together: search, model with adapter, threshold.

Each part is loaded when it is first asked for, so that measuring retrieval alone loads no language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from genwerk.core.errors import WorkspaceError
from genwerk.core.types import ARMS, Message, Retrieved, Sampling
from genwerk.evaluation.artifacts import Inputs
from genwerk.evaluation.measures import RERANKED, RRF
from genwerk.evaluation.speed import Stopwatch
from genwerk.inference.engines import load_engine
from genwerk.inference.streaming import with_window
from genwerk.inference.text_engine import TextEngine
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder
from genwerk.models.lora import load_adapter
from genwerk.retrieval.abstention import Abstention, load_abstention
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.answer_events import AnswerEvent
from genwerk.retrieval.answering import Answerer
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.reranking import Reranker
from genwerk.retrieval.search import AS_FITTED, Options, Search
from genwerk.retrieval.stages import decided_search
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Assistant"]

_ADAPTER = "tuned"


class Assistant:
    """Searches, answers and stays silent with the artifacts of `given`; greedy, so that it says the same each time.

    served     what `load_engine` is told beside the model and its adapters
    answering  how passages become an answer
    """

    def __init__(
        self,
        given: Inputs,
        *,
        max_tokens: int,
        served: Mapping[str, Any],
        answering: AnswerConfig | None = None,
    ) -> None:
        self._given, self._served, self._answering = given, served, answering
        self._sampling = Sampling(max_tokens=max_tokens)
        self.adapter = _ADAPTER if given.artifact("adapter") is not None else None
        self._quantised = given.artifact("quantised")
        self._ending = ExitStack()

    @cached_property
    def engine(self) -> TextEngine:
        """What answers, as it will be served."""
        path, adapters = (self._quantised.path, {}) if self._quantised else (self._path, self._adapters)
        engine = load_engine(path, adapters=adapters, name="evaluated", **self._served)
        self._ending.callback(engine.close)
        return engine

    def close(self) -> None:
        """Give back what the engine holds, where it was loaded."""
        self._ending.close()

    @property
    def merged_adapter(self) -> str | None:
        """The adapter that the engine's own weights hold already, so that no request names it."""
        return self.adapter if self._quantised else None

    @cached_property
    def model(self) -> Decoder:
        """The same network with its adapter at hand, for what is measured on whole texts; it sees of them what the
        engine sees."""
        model = load_decoder(self._path).eval()
        model.config = with_window(model.config, self._served.get("window"), self._served.get("sinks", 0))
        for name, path in self._adapters.items():
            load_adapter(model, name, path)
        return model

    @property
    def _path(self) -> Path:
        """The answering model: kind `model`, or the one trained here where a run has no other."""
        model = self._given.artifact("model") or self._given.artifact("pretrained")
        if model is None:
            raise WorkspaceError("there is no model to evaluate", remedy="Give an artifact of kind `model`.")
        return model.path

    @property
    def _adapters(self) -> dict[str, Path]:
        tuned = self._given.artifact("adapter")
        return {_ADAPTER: tuned.path} if tuned else {}

    @property
    def tokenizer(self) -> Tokenizer:
        return self.engine.tokenizer

    @cached_property
    def searcher(self) -> Search:
        index = Index.open(self._given.need("index", measure="retrieval").path)
        embedder = Embedder.load(self._given.need("embedder", measure="retrieval").path)
        self._given.need("fit", measure="retrieval")
        given = {role: item.path for role, item in self._given}
        reranker = Reranker.load(given["reranker"]) if "reranker" in given else None
        return decided_search(index, embedder, lambda request: self.engine.stream(request), reranker, given)

    @property
    def arms(self) -> tuple[str, ...]:
        """Those of the search, both fused by ranks beside, and the second stage where there is one."""
        return (*ARMS, RRF) if self.searcher.as_decided().rerank is None else (*ARMS, RRF, RERANKED)

    @property
    def served_arm(self) -> str:
        """The one that has the last word."""
        return RERANKED if self.searcher.as_decided().rerank else self.searcher.fusion.arm

    @cached_property
    def abstention(self) -> Abstention:
        fitted = self._given.artifact("abstention") or self._given.need("fit", measure="abstention")
        return load_abstention(fitted.path)

    @cached_property
    def watch(self) -> Stopwatch:
        """Between the answerer and the engine, so that times are those of the very answers that are checked."""
        return Stopwatch(self.engine.stream)

    @cached_property
    def answerer(self) -> Answerer:
        return Answerer(
            self.searcher.index, self.searcher, self.watch, self.abstention, count_tokens=self.engine.count_tokens,
            config=self._answering,
        )  # fmt: skip

    def search(self, question: str, arm: str, k: int) -> Sequence[Retrieved]:
        """The first `k` passages of one arm."""
        second, by_ranks = arm == RERANKED, arm == RRF
        options = Options(fusion=RRF if by_ranks else AS_FITTED.fusion, rerank=second)
        return self.searcher.search(question, k, None if second else "hybrid" if by_ranks else arm, options=options)

    def score(self, question: str, without: str | None) -> float:
        """What abstention looks at, with a document left out of the search where `without` names one."""
        found = self.searcher.look(question, exclude=() if without is None else (without,))
        return self.abstention.score(found.signals)

    def answer(self, question: str) -> Iterator[AnswerEvent]:
        """Answer as the server does, guards apart; starts the watch."""
        self.watch.start()
        adapter = None if self.merged_adapter else self.adapter
        return self.answerer.answer((Message("user", question),), self._sampling, adapter)
