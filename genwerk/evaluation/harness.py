"""Evaluate a model on documents it was not trained on: every group of measures once, all numbers in one record.

    workspace.step(evaluate, EvaluateConfig(...), model, adapter, index, fit, dataset, embedder, pretrained, ...)

Inputs are found by kind (artifacts.py), so their order is free and what a run does not have is left out: no adapter, no
tuned measures; a measure whose input is missing is refused by name. The artifact holds

    report.json    {"groups", "measures", "details", "settings", "inputs"}: the same bytes for the same inputs
    timings.json   {"measures", "machine"}: differs from run to run, apart so that report.json does not

Metrics are flat dotted names to numbers, `NAME.low` and `NAME.high` where there is an interval, timings among them. The
page and the gates are another step (report.py). A killed evaluation goes on after its last finished group.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cached_property
from typing import Any, Literal

from genwerk.core.artifact import Artifact, Source
from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.types import Document
from genwerk.core.workspace import Step
from genwerk.data.chat_examples import make_chat_examples
from genwerk.data.documents import load_documents
from genwerk.data.questions import Question, known_item_questions
from genwerk.evaluation.abstention import measure_abstention
from genwerk.evaluation.artifacts import Inputs
from genwerk.evaluation.assistant import Assistant
from genwerk.evaluation.citations import answer_questions, measure_citations
from genwerk.evaluation.divergence import allowed_divergence, measure_divergence
from genwerk.evaluation.measures import Measure, flatten
from genwerk.evaluation.outcome import Outcome
from genwerk.evaluation.perplexity import held_out_excerpts, measure_answer_loss, measure_bits_per_byte
from genwerk.evaluation.retrieval import measure_retrieval
from genwerk.evaluation.speed import machine_facts, measure_speed
from genwerk.inference.engine import Engine
from genwerk.inference.engines import SERVED
from genwerk.inference.runner import window_title
from genwerk.models.huggingface import load_decoder
from genwerk.models.lora import adapter as adapter_on
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["EvaluateConfig", "evaluate"]

Group = Literal["perplexity", "retrieval", "citations", "abstention", "speed"]


class EvaluateConfig(Config):
    """What is measured, and on how much; more cases give narrower intervals and take longer."""

    measures: tuple[Group, ...] = Field(
        ("perplexity", "retrieval", "citations", "abstention", "speed"), description="groups of measures"
    )
    seed: int = Field(0, description="draws excerpts, questions and examples")
    characters: int = Field(10_000, ge=200, description="held-out text for bits per byte")
    excerpt_characters: int = Field(600, ge=100, description="longest stretch taken from a document at a time")
    context: int = Field(512, ge=16, description="tokens a model sees at once for bits per byte")
    n_examples: int = Field(10, ge=2, description="held-out chat examples for the answer loss")
    n_questions: int = Field(200, ge=2, description="known-item questions for retrieval and abstention")
    n_answers: int = Field(12, ge=2, description="questions that are answered to check citations and time")
    max_tokens: int = Field(96, ge=8, description="longest answer in tokens")
    engine: str = Field("auto", description="what answers, as it will be served; a recipe sets it from `serve`")
    precision: str = Field("float32", description="of the weights, as they will be served; set likewise")
    cache_precision: str = Field("auto", description="of keys and values, as they will be served; set likewise")
    window: int | None = Field(None, description="what is seen of a text, as it will be served; set likewise")
    sinks: int = Field(0, description="first tokens seen beside the window; set likewise")
    answer: AnswerConfig = Field(AnswerConfig(), description="how passages become an answer; set by the recipe's own")


def evaluate(config: EvaluateConfig, step: Step, *inputs: Artifact | Source) -> Mapping[str, float | int | str]:
    """Measure every group of `config.measures`; write report.json and timings.json; return the metrics.

    Raises WorkspaceError for a missing input, DataError when nothing is held out or no question can be made.
    """
    given = Inputs.of(inputs)
    served = {key: getattr(config, key) for key in SERVED}
    with closing(Assistant(given, max_tokens=config.max_tokens, served=served, answering=config.answer)) as assistant:
        outcomes = _measure(config, step, _Bench(config, given, assistant))
    measures = [measure for outcome in outcomes for measure in outcome.measures]
    timings = [measure for outcome in outcomes for measure in outcome.timings]
    report = {
        "groups": list(config.measures),
        "measures": [measure.to_json() for measure in measures],
        "details": {name: value for outcome in outcomes for name, value in outcome.details.items()},
        "settings": config.model_dump(mode="json"),
        "inputs": given.lineage(),
    }
    write_json(step.out / "report.json", report)
    write_json(
        step.out / "timings.json",
        {"measures": [item.to_json() for item in timings], "machine": machine_facts() if timings else {}},
    )
    return {name: value for name, value in flatten([*measures, *timings]).items() if math.isfinite(value)}


def _measure(config: EvaluateConfig, step: Step, bench: _Bench) -> list[Outcome]:
    groups: dict[str, Callable[[], Outcome]] = {
        "perplexity": bench.perplexity, "retrieval": bench.retrieval, "abstention": bench.abstention,
        "answers": bench.answers,
    }  # fmt: skip
    wanted: list[str] = [name for name in groups if name in config.measures]
    if "citations" in config.measures or "speed" in config.measures:
        wanted.append("answers")
    return [_once(step, name, groups[name]) for name in wanted]


def _once(step: Step, name: str, measure: Callable[[], Outcome]) -> Outcome:
    """Measure a group, or read what an earlier attempt at this very step measured before it was killed."""
    kept = step.scratch / f"{name}.json"
    if kept.exists():
        return Outcome.from_json(json.loads(kept.read_text(encoding="utf-8")))
    outcome = measure()
    write_json(kept, outcome.to_json())
    return Outcome.from_json(json.loads(json.dumps(outcome.to_json())))


class _Bench:
    """The parts under test, each loaded when first needed."""

    def __init__(self, config: EvaluateConfig, given: Inputs, assistant: Assistant) -> None:
        self._config, self._given, self._assistant = config, given, assistant

    @cached_property
    def _documents(self) -> list[Document]:
        return load_documents(self._given.need("dataset", measure=self._config.measures[0]).path)

    @cached_property
    def _questions(self) -> list[Question]:
        found = known_item_questions(
            self._documents, seed=self._config.seed, limit=self._config.n_questions, split="heldout"
        )
        if not found:
            raise DataError(
                "no question can be made from the held-out documents",
                remedy="Hold more documents out (`data.holdout`), or add documents with headings and prose.",
            )
        return found

    def perplexity(self) -> Outcome:
        config, assistant = self._config, self._assistant
        excerpts = held_out_excerpts(
            self._documents,
            characters=config.characters,
            excerpt_characters=config.excerpt_characters,
            seed=config.seed,
        )
        examples = make_chat_examples(self._documents, seed=config.seed)
        held_out = [example for example in examples if example.split == "heldout"][: config.n_examples]
        model, tokenizer = assistant.model, assistant.tokenizer
        measures: list[Measure] = []
        for which, name in (("base", None), ("tuned", assistant.adapter)):
            if which == "tuned" and name is None:
                continue
            what = ("base model" if name is None else "adapter on") + window_title(model.config)
            with adapter_on(model, name):
                measures.append(
                    measure_bits_per_byte(
                        f"perplexity.{which}_bits_per_byte",
                        model,
                        tokenizer,
                        excerpts,
                        context=config.context,
                        what=what,
                    )
                )
                if held_out:
                    loss = f"perplexity.{which}_answer_loss"
                    measures.append(measure_answer_loss(loss, model, tokenizer, held_out, what=what))
        engine, cache = assistant.engine, config.cache_precision
        if isinstance(engine, Engine) and allowed_divergence(engine.runner.precision, cache):  # vLLM is given floats
            with adapter_on(model, assistant.merged_adapter):
                measures.append(measure_divergence(model, engine, excerpts, context=config.context, cache=cache))
        if (pretrained := self._given.artifact("pretrained")) is not None:
            measures.append(self._pretrained(pretrained, excerpts))
        return Outcome(tuple(measures))

    def _pretrained(self, artifact: Artifact, excerpts: Any) -> Measure:
        model, tokenizer = load_decoder(artifact.path).eval(), Tokenizer.load(artifact.path)
        context = min(self._config.context, model.config.max_positions - 1)
        found = measure_bits_per_byte(
            "pretrained.bits_per_byte", model, tokenizer, excerpts, context=context, what="model trained here"
        )
        del model
        gc.collect()
        return found

    def retrieval(self) -> Outcome:
        assistant = self._assistant
        return measure_retrieval(
            self._questions,
            assistant.search,
            served=assistant.served_arm,
            chunks=len(assistant.searcher.index.chunks),
            arms=assistant.arms,
        )

    def abstention(self) -> Outcome:
        return measure_abstention(self._questions, self._assistant.score, self._assistant.abstention.threshold)

    def answers(self) -> Outcome:
        assistant = self._assistant
        chosen = self._questions[: self._config.n_answers]
        times, answers = [], []
        for answered in answer_questions(chosen, assistant.answer):
            answers.append(answered)
            times.append(assistant.watch.stop())
        outcome = measure_citations(answers, {document.id: document for document in self._documents})
        return Outcome(outcome.measures, outcome.details, measure_speed(times[1:] if len(times) > 1 else times))
