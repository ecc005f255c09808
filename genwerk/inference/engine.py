"""The engine: one model, any number of callers, the same tokens every time.

    engine = Engine.load(path, adapters={"handbook": adapter_path})
    for delta in engine.stream(Request((Message("user", "What does zip do?"),), adapter="handbook")):
        print(delta.text, end="")

All sequences in progress share one step: each gets its next token, prompts are read in pieces beside (scheduler.py),
and what prompts have in common is computed once (blocks.py). A sequence's numbers depend on nothing but the sequence:
not on who else is served, not on what was cached, not on how its prompt was cut.

Chosen:   no thread of its own: of the callers that wait for a token, one runs the step for all, so nothing is computed
          that nobody waits for, and closing a stream ends its work.
Left out: several answers to one prompt, which are several.py.
Try it:   genwerk generate
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from collections.abc import Sequence as Tokens
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from genwerk.core.errors import GenwerkError, ModelError, RequestError
from genwerk.core.resident import share_heap
from genwerk.core.types import Constraint, Sampling
from genwerk.inference.adapters import Adapters
from genwerk.inference.answer_reader import AnswerReader
from genwerk.inference.backend import load_runner
from genwerk.inference.beam_search import beam_search
from genwerk.inference.blocks import BlockManager
from genwerk.inference.constraint import Compiler
from genwerk.inference.draft_model import DraftModel
from genwerk.inference.generation import Delta, Generation
from genwerk.inference.logits import Logits
from genwerk.inference.model_files import files_sha256
from genwerk.inference.prompt_lookup import PromptLookup
from genwerk.inference.prompt_scores import PromptScores
from genwerk.inference.reasoning import Markers, Section, ThinkingRule, find_markers
from genwerk.inference.rules import Form, make_rules
from genwerk.inference.runner import BLOCK, Chunk, Runner
from genwerk.inference.sampler import Alternative, Draw, TokenLogprob, make_generator, sample
from genwerk.inference.scheduler import Scheduler, Slice
from genwerk.inference.sequence import Sequence
from genwerk.inference.text_engine import Asked, TextEngine
from genwerk.inference.upkeep import Upkeep
from genwerk.inference.vocabulary import Vocabulary
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Alternative", "Delta", "Engine", "Generation", "TokenLogprob"]


class Engine(Upkeep, TextEngine):
    """Serves a network and its adapters. All methods may be called from several threads.

    name            what receipts and the API call the model
    max_context     most tokens of prompt and answer together; default: all positions the model knows
    max_sequences   answers in progress at once; later ones wait in line
    max_rows        most tokens of one step: a long prompt is read in pieces, between which others get their tokens
    share_prefixes  whether prompts that begin alike are computed once
    markers         around what a reasoning model thinks; default: those its chat template speaks of
    speculate       whether what a text said before is tried ahead (prompt_lookup.py); answers are the same either way
    draft           a small model that runs ahead (draft_model.py); answers are the same with and without
    """

    def __init__(
        self,
        runner: Runner,
        tokenizer: Tokenizer,
        *,
        name: str,
        max_context: int | None = None,
        max_sequences: int = 32,
        max_rows: int = 256,
        share_prefixes: bool = True,
        speculate: bool = True,
        draft: DraftModel | None = None,
        markers: Markers | None = None,
    ) -> None:
        self.markers = markers or find_markers(tokenizer.chat_template)
        self.runner, self.tokenizer, self.name = runner, tokenizer, name
        self.blocks = BlockManager(runner.blocks, share=share_prefixes, window=runner.config.view)
        self.scheduler = Scheduler(self.blocks, max_rows=max_rows, max_sequences=max_sequences, aligned=runner.aligned)
        room = runner.blocks * BLOCK
        most = runner.config.max_positions if self.scheduler.room <= room else min(runner.config.max_positions, room)
        self.max_context = min(max_context or most, most)
        self._adapters = Adapters(runner, self.blocks, self.scheduler)
        self._speculates, self._draft = speculate and runner.aligned == 1, draft
        self._compiler = Compiler(tokenizer, runner.config.vocab_size)
        self._vocabulary = Vocabulary(tokenizer, runner.config.vocab_size)
        self._changed = threading.Condition()
        self._stepping = False
        self._cancelled: list[Sequence] = []
        self.file_hashes = {}

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        adapters: Mapping[str, Path] | None = None,
        name: str | None = None,
        max_context: int | None = None,
        cache_positions: int | None = None,
        engine: str = "auto",
        precision: str = "float32",
        share_prefixes: bool = True,
        speculate: bool = True,
        draft: Path | None = None,
        cache_file: Path | None = None,
        window: int | None = None,
        sinks: int = 0,
        cache_precision: str = "auto",
    ) -> Self:
        """Read a Hugging Face directory and adapters in peft's format. Raises ModelError.

        engine, precision   see `inference.model_runner.make_runner`
        cache_positions     room for keys and values, in tokens of all sequences; default: two whole contexts
        cache_precision     of keys and values: auto, or int8, which holds 1.9 times as many in the same memory, beside
                            float32 weights 3.8 times
        draft               directory of a small model with the same vocabulary, which foretells answers
        window, sinks       what is seen of a text: its last and its first tokens; it may be longer than the model knows
                            then (streaming.py)
        cache_file          where `save_cache` keeps what prompts have in common; it is read at once if it is there
        """
        share_heap()  # before any of its threads is there
        with ThreadPoolExecutor(1) as beside:
            reading = beside.submit(Tokenizer.load, path)
            runner = load_runner(
                path, engine=engine, precision=precision, positions=cache_positions, adapters=adapters,
                window=window, sinks=sinks, longest=max_context, cache_precision=cache_precision,
            )  # fmt: skip
        tokenizer = reading.result()
        loaded = cls(
            runner,
            tokenizer,
            name=name or path.name,
            max_context=max_context,
            share_prefixes=share_prefixes,
            speculate=speculate,
            draft=None
            if draft is None
            else DraftModel.load(draft, runner, tokenizer, engine=engine, cache_precision=cache_precision),
        )
        hashes = {part: files_sha256(place) for part, place in (adapters or {}).items()}
        loaded.file_hashes = {None: files_sha256(path)} | hashes
        loaded._keep_prefixes(cache_file, path, adapters or {})
        return loaded

    @property
    def title(self) -> str:
        return self.runner.title

    def close(self) -> None:
        pass  # everything is this process's own

    def _answer(self, asked: Asked) -> Generator[Delta, None, None]:
        prompt, sampling = asked.prompt, asked.sampling
        form = self._form(asked.constraint, sampling, asked.section)
        limit, generator = min(sampling.max_tokens, self.max_context - len(prompt)), make_generator(sampling.seed)
        sequence = Sequence(
            list(prompt), sampling, asked.adapter, asked.user, limit, generator, asked.priority,
            matcher=form, section=asked.section,
        )  # fmt: skip
        sequence.rules = make_rules(sampling, self.tokenizer.eos_ids, self._vocabulary, form)
        if sampling.prompt_logprobs is not None:
            sequence.scores = PromptScores(sequence.prompt, sampling.prompt_logprobs)
        if self._speculates and asked.constraint is None:
            sequence.draft = PromptLookup(prompt) if self._draft is None else self._draft.follow(prompt)
        return self._deltas(sequence)

    def logits(self, tokens: Tokens[int], adapter: str | None = None) -> Logits:
        """Logits after each of `tokens`, (T, V), in one piece that nothing is reused for. For measuring.

        Raises RequestError where they do not fit beside the answers in progress.
        """
        with self.between_steps():
            table = self.blocks.open(adapter, ())
            try:
                if len(tokens) > self.max_context or not self.blocks.extend(table, len(tokens)):
                    raise RequestError(f"there is no room for {len(tokens)} tokens", remedy="Measure a shorter text.")
                return self.runner.step([Chunk(tokens, 0, table.blocks, adapter, wanted=len(tokens))])
            finally:
                self.blocks.close(table)

    def _deltas(self, sequence: Sequence) -> Generator[Delta, None, None]:
        reader = AnswerReader(self.tokenizer, sequence)
        try:
            with closing(self._draws(sequence) if sequence.sampling.beams == 1 else self._search(sequence)) as draws:
                for draw in draws:
                    delta = reader.read(draw)
                    yield delta
                    if delta.finish_reason:
                        return
        finally:
            self._rest()

    def _form(self, constraint: Constraint | None, sampling: Sampling, section: Section | None) -> Form | None:
        """What holds an answer to its form, and its thinking to its budget."""
        budget, matcher = sampling.thinking_budget, None if constraint is None else self._compiler.compile(constraint)
        if section is None and budget is not None:
            what = "there is no thinking section to give a budget"
            raise RequestError(what, param="thinking_budget", remedy="Ask a reasoning model, in a chat.")
        if section is None or (budget is None and matcher is None):
            return matcher
        ends = self.tokenizer.eos_ids | set(sampling.stop_tokens)
        return ThinkingRule(self.tokenizer, self._vocabulary, section, ends, budget, matcher)

    def _search(self, sequence: Sequence) -> Generator[Draw | None, None, None]:
        ends = self.tokenizer.eos_ids | set(sequence.sampling.stop_tokens)
        rules = partial(make_rules, sequence.sampling, self.tokenizer.eos_ids, self._vocabulary)
        return beam_search(sequence, ends, self._look, rules)

    def _look(self, sequences: list[Sequence]) -> list[Draw]:
        """The first token of each, computed together."""
        with self._changed:
            for sequence in sequences:
                self._adapters.check(sequence.adapter)
                self.scheduler.add(sequence)
        try:
            return [draw for sequence in sequences if (draw := self._next(sequence)) is not None]
        finally:
            for sequence in sequences:
                self._cancel(sequence)

    def _draws(self, sequence: Sequence) -> Generator[Draw | None, None, None]:
        """Up to `limit` tokens of `sequence`; ends with an end token."""
        with self._changed:
            self._adapters.check(sequence.adapter)  # it may have been removed since the request was checked
            self.scheduler.add(sequence)
        try:
            while (draw := self._next(sequence)) is not None:
                yield draw
        finally:
            self._cancel(sequence)

    def _next(self, sequence: Sequence) -> Draw | None:
        """The sequence's next token. Whoever waits for one runs the steps, for all sequences; the others look on."""
        while True:
            with self._changed:
                self._await_turn(lambda: bool(sequence.draws or sequence.finished or sequence.error))
                if sequence.draws:
                    return sequence.draws.popleft()
                if sequence.error is not None:
                    raise sequence.error
                if sequence.finished:
                    return None
                self._stepping = True
            try:
                self._step()
            finally:
                self._end_step()

    def _step(self) -> None:
        """Plan a step, compute it and draw a token for every sequence that is read to its end."""
        if self._draft is not None:
            self._draft.foretell(sequence.draft for sequence in self.scheduler.answering())
        with self._changed:
            plan, copies = self.scheduler.plan(), self.blocks.take_copies()
            self._steps += 1
        assert plan, "a sequence waits and no step is possible: blocks were lost"
        chunks = []
        for part in plan:
            sequence = part.sequence
            assert sequence.table is not None
            tokens = [*sequence.tokens(part.start, part.stop), *part.draft]
            wanted = sequence.wanted(part.start, part.stop) + len(part.draft)
            chunks.append(Chunk(tokens, part.start, sequence.table.blocks, sequence.adapter, wanted=wanted))
        try:
            if copies:
                self.runner.copy_blocks(copies)
            logits = self.runner.step(chunks)
        except Exception as error:  # raised to the caller of each of these sequences, and to nobody else
            with self._changed:
                for part in plan:
                    self._fail(part.sequence, error)
            return
        rows = np.split(logits, np.cumsum([chunk.wanted for chunk in chunks])[:-1])
        drawn = [self._draw(part, below) for part, below in zip(plan, rows, strict=True)]
        with self._changed:
            for part, new in zip(plan, drawn, strict=True):
                self._give(part, new)

    def _draw(self, part: Slice, logits: Logits) -> list[Draw] | GenwerkError:
        """The tokens that follow `part`: none while a prompt is being read, else those its draft foretold, and one."""
        sequence = part.sequence
        if sequence.scores is not None:
            sequence.scores.add(part.stop + len(part.draft) - len(logits), logits)
        if part.stop < sequence.length:
            return []
        new: list[Draw] = []
        rows = logits[len(logits) - len(part.draft) - 1 :]
        try:
            for row, foretold in zip(rows, [*part.draft, None], strict=True):
                history = [*sequence.drawn, *(draw.token for draw in new)] if new else sequence.drawn
                for rule in sequence.rules:
                    row = rule.restrict(row)
                new.append(sample(row, history, sequence.prompt, sequence.sampling, sequence.generator))
                for rule in sequence.rules:
                    rule.consume(new[-1].token)
                if new[-1].token != foretold or self._ends(sequence.sampling, new[-1].token):
                    break
        except (ModelError, RequestError) as error:
            return error
        return new

    def _ends(self, sampling: Sampling, token: int) -> bool:
        return token in self.tokenizer.eos_ids or token in sampling.stop_tokens

    def _give(self, part: Slice, new: list[Draw] | GenwerkError) -> None:
        sequence = part.sequence
        if isinstance(new, GenwerkError):
            self._fail(sequence, new)
            return
        sequence.follow(new, len(part.draft))
        self.scheduler.commit(part, max(0, len(new) - 1))
        if new and (self._ends(sequence.sampling, new[-1].token) or len(sequence.drawn) == sequence.limit):
            sequence.finished = True
            self.scheduler.remove(sequence)

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        sequence.error = error
        self.scheduler.remove(sequence, forget=True)

    def _cancel(self, sequence: Sequence) -> None:
        with self._changed:
            if self._stepping:
                self._cancelled.append(sequence)
            else:
                self.scheduler.remove(sequence)
                self._adapters.settle()
