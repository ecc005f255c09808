"""vLLM behind our protocol: for GPUs, where it is the faster engine. It is imported only when it is chosen.

    engine = VllmEngine.load(path, adapters={"handbook": adapter_path})
    for delta in engine.stream(Request((Message("user", "What does zip do?"),))): print(delta.text, end="")

Source: Kwon et al. (2023), Efficient Memory Management for Large Language Model Serving with PagedAttention.

    messages ─ our template and tokenizer ─ ids ─ vLLM: schedule, compute, draw ─ ids ─ our reader: text, stop, thinking

Chosen:   vLLM's synchronous engine in this process, stepped by whoever waits for a token (as in engine.py), in one
          thread, because its threads and its device belong to the thread that made it. Text is read from tokens by our
          reader, so stop strings, thinking and usage mean what they mean elsewhere; forms are held by llguidance there
          and here. What it has no equal for is refused (vllm_sampling.py).
Left out: the same bits alone and in a batch, which vLLM does not promise: a receipt names its version and precision,
          and `replay` shows where tokens differ. Users in turn (vLLM takes requests by priority, then as they come),
          drafts of ours, packed weights, and `logits`.
Try it:   pip install 'genwerk[gpu]'; genwerk generate --engine vllm --model … --prompt …
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.machine import probe
from genwerk.core.progress import say
from genwerk.inference.answer_reader import AnswerReader
from genwerk.inference.constraint import Compiler
from genwerk.inference.generation import Delta
from genwerk.inference.limits import check_adapter, check_new_adapter
from genwerk.inference.model_files import files_sha256
from genwerk.inference.native.packed_directory import packed_precision
from genwerk.inference.prompt_scores import PromptScores
from genwerk.inference.reasoning import find_markers
from genwerk.inference.sampler import Alternative, Draw, TokenLogprob, make_generator
from genwerk.inference.sequence import Sequence
from genwerk.inference.text_engine import Asked, TextEngine
from genwerk.inference.vllm_sampling import check_mapped, sampling_arguments
from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.hf_config import read_config
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["VllmEngine", "engine_arguments"]

FLOATS = ("float32", "bfloat16", "float16")
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM makes room for
_SEQUENCES = 32
_SETTINGS = {
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_T = TypeVar("_T")


class VllmEngine(TextEngine):
    """Owns `llm`, an LLMEngine of vLLM's. Make it with `VllmEngine.load`.

    vllm     the library, already imported.
    worker   the thread that made `llm`.
    ranks    largest rank of an adapter; 0: it was started without adapters.

    precision is what vLLM computes in: float32, bfloat16 or float16.
    """

    def __init__(
        self, llm: Any, vllm: Any, worker: ThreadPoolExecutor, tokenizer: Tokenizer, config: DecoderConfig, *,
        name: str, max_context: int, device: str, ranks: int = 0,
    ) -> None:  # fmt: skip
        self._llm, self._vllm, self._worker = llm, vllm, worker
        self.name, self.tokenizer, self.max_context = name, tokenizer, max_context
        self.markers = find_markers(tokenizer.chat_template)
        self.precision = str(llm.model_config.dtype).removeprefix("torch.")
        self._title = f"vllm {vllm.__version__} {self.precision} {device}"
        self._compiler = Compiler(tokenizer, config.vocab_size)
        self.file_hashes = {}
        self._changed = threading.Condition()
        self._stepping = False
        self._numbers, self._live = count(1), dict[str, Sequence]()
        self._ranks, self._loras = ranks, dict[str, Any]()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        adapters: Mapping[str, Path] | None = None,
        name: str | None = None,
        max_context: int | None = None,
        cache_positions: int | None = None,
        precision: str = "float32",
    ) -> Self:
        """Read a Hugging Face directory and adapters in peft's format. Raises ModelError.

        precision         float32, bfloat16 or float16; for another one the model's own, which is said
        cache_positions   room for keys and values, in tokens of all sequences; default: two whole contexts on a
                          processor, on a GPU what vLLM finds free
        """
        if (held := packed_precision(path)) is not None:
            remedy = "Serve it with `engine: native`, or give vLLM the model it was made from."
            raise ModelError(f"vLLM does not read weights packed in {held}", where=str(path), remedy=remedy)
        vllm, machine, config, tokenizer = _import_vllm(), probe(), read_config(path), Tokenizer.load(path)
        context = min(max_context or config.max_positions, config.max_positions)
        ranks = max((_rank(adapter) for adapter in (adapters or {}).values()), default=0)
        arguments = engine_arguments(
            config, path, precision, context, ranks, cuda=machine.cuda, positions=cache_positions
        )  # fmt: skip
        worker = ThreadPoolExecutor(1, "genwerk-vllm")
        try:
            llm = worker.submit(lambda: vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**arguments))).result()
        except Exception as error:  # vLLM raises many kinds
            worker.shutdown()
            raise ModelError(f"vLLM cannot run this model: {error}", where=str(path)) from error
        device = machine.gpus[0].name if machine.cuda else "cpu"
        loaded = cls(
            llm, vllm, worker, tokenizer, config,
            name=name or path.name, max_context=context, device=device, ranks=arguments.get("max_lora_rank", 0),
        )  # fmt: skip
        if precision != loaded.precision:
            say(f"vLLM runs the model in {loaded.precision}, not in {precision}", style="yellow")
        loaded.file_hashes[None] = files_sha256(path)
        for adapter, adapter_path in (adapters or {}).items():
            loaded.add_adapter(adapter, adapter_path)
        return loaded

    @property
    def title(self) -> str:
        return self._title

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._loras)

    def _answer(self, asked: Asked) -> Generator[Delta, None, None]:
        prompt, sampling, constraint = asked.prompt, asked.sampling, asked.constraint
        check_mapped(sampling, constraint, thinks=asked.section is not None)
        if constraint is not None:
            self._compiler.compile(constraint)  # so that what cannot be held is refused as everywhere
        limit = min(sampling.max_tokens, self.max_context - len(prompt))
        generator = make_generator(sampling.seed)  # vLLM draws with one of its own
        sequence = Sequence(
            list(prompt), sampling, asked.adapter, asked.user, limit, generator, asked.priority, section=asked.section
        )
        if sampling.prompt_logprobs is not None:
            sequence.scores = PromptScores(sequence.prompt, sampling.prompt_logprobs)
        arguments = sampling_arguments(sampling, limit=limit, ends=self.tokenizer.eos_ids, constraint=constraint)
        return self._deltas(sequence, arguments)

    def add_adapter(self, name: str, path: Path) -> None:
        check_new_adapter(name, self.adapters)
        if (rank := _rank(path)) > self._ranks:
            what = f"vLLM was started for adapters of rank {self._ranks} at most, this one has {rank}"
            raise ModelError(what, where=str(path), remedy="Name it when the engine is loaded.")
        sha256 = files_sha256(path)  # before anything is loaded that would have to be taken back
        lora = self._vllm.lora.request.LoRARequest(name, next(self._numbers), str(path))
        try:
            self._work(lambda: self._llm.add_lora(lora))
        except Exception as error:  # vLLM raises many kinds
            raise ModelError(f"vLLM cannot use this adapter: {error}", where=str(path)) from error
        self._loras[name], self.file_hashes[name] = lora, sha256

    def remove_adapter(self, name: str) -> None:
        check_adapter(name, self.adapters)
        del self._loras[name]  # vLLM drops what was not asked for longest; another of this name gets another number

    def save_cache(self) -> None:
        pass  # vLLM's cache ends with it

    def close(self) -> None:
        """End vLLM; answers in progress end with it."""
        self._work(lambda: self._llm.engine_core.shutdown())
        self._worker.shutdown()

    def _work(self, task: Callable[[], _T]) -> _T:
        """Run it in vLLM's thread, between two steps."""
        return self._worker.submit(task).result()

    def _deltas(self, sequence: Sequence, arguments: dict[str, Any]) -> Generator[Delta, None, None]:
        reader = AnswerReader(self.tokenizer, sequence)
        with closing(self._draws(sequence, arguments)) as draws:
            for draw in draws:
                delta = reader.read(draw)
                yield delta
                if delta.finish_reason:
                    return

    def _draws(self, sequence: Sequence, arguments: dict[str, Any]) -> Generator[Draw, None, None]:
        """The tokens of `sequence`; vLLM forgets it when this generator is closed."""
        identity = self._work(lambda: self._add(sequence, arguments))
        try:
            while (draw := self._next(sequence)) is not None:
                yield draw
        finally:
            with suppress(RuntimeError):  # vLLM has been closed, and has forgotten everything
                self._worker.submit(self._forget, identity)

    def _add(self, sequence: Sequence, arguments: dict[str, Any]) -> str:
        identity, vllm = str(next(self._numbers)), self._vllm
        form = arguments.get("structured_outputs")
        held = {} if form is None else {"structured_outputs": vllm.sampling_params.StructuredOutputsParams(**form)}
        delta = vllm.sampling_params.RequestOutputKind.DELTA
        loras = dict(self._loras)
        check_adapter(sequence.adapter, tuple(loras))  # it may have been removed since the request was checked
        lora = None if sequence.adapter is None else loras[sequence.adapter]
        try:
            params = vllm.SamplingParams(**(arguments | held), output_kind=delta)
            prompt = vllm.inputs.tokens_input(list(sequence.prompt))
            self._llm.add_request(identity, prompt, params, lora_request=lora, priority=sequence.priority)
        except ValueError as error:
            raise RequestError(f"vLLM does not take this request: {error}") from error
        self._live[identity] = sequence
        return identity

    def _forget(self, identity: str) -> None:
        if not self._live.pop(identity).finished:
            self._llm.abort_request([identity])

    def _next(self, sequence: Sequence) -> Draw | None:
        """The sequence's next token. Whoever waits for one asks for the steps, for all; the others look on."""
        while True:
            with self._changed:
                while self._stepping and not (sequence.draws or sequence.finished or sequence.error):
                    self._changed.wait()
                if sequence.draws:
                    return sequence.draws.popleft()
                if sequence.error is not None:
                    raise sequence.error
                if sequence.finished:
                    return None
                self._stepping = True
            try:
                self._work(self._step)
            finally:
                with self._changed:
                    self._stepping = False
                    self._changed.notify_all()

    def _step(self) -> None:
        try:
            outputs = self._llm.step()
        except Exception as error:  # of vLLM's state nothing is known any more: all answers end
            with self._changed:
                for sequence in self._live.values():
                    sequence.error = ModelError(f"vLLM failed: {error}", remedy="Start the engine again.")
            return
        with self._changed:
            for output in outputs:
                if output.request_id in self._live:
                    _give(self._live[output.request_id], output)


def engine_arguments(
    config: DecoderConfig, path: Path, precision: str, context: int, rank: int, *, cuda: bool, positions: int | None
) -> dict[str, Any]:
    """Keyword arguments of vLLM's EngineArgs, as plain data. rank: the largest one of the adapters, 0 without."""
    size = 4 if precision == "float32" or not cuda else 2
    per_position = 2 * size * config.n_layers * config.n_kv_heads * config.head_dim
    arguments: dict[str, Any] = {
        "model": str(path),
        "dtype": precision if precision in FLOATS else "auto" if cuda else "float32",
        "max_model_len": context,
        "max_num_seqs": _SEQUENCES,
        "scheduling_policy": "priority",
        "structured_outputs_config": {"backend": "guidance"},
        "generation_config": "vllm",  # no defaults of sampling but ours
        "disable_log_stats": True,
    }
    if positions is not None or not cuda:
        arguments["kv_cache_memory_bytes"] = per_position * max(positions or 0, 2 * context)
    if not cuda:
        arguments["enforce_eager"] = True  # compiling takes minutes and a compiler
    if rank:
        room = next((one for one in RANKS if one >= rank), rank)
        arguments |= {"enable_lora": True, "max_lora_rank": room, "max_loras": 4, "max_cpu_loras": 64}
    return arguments


def _import_vllm() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    try:
        import vllm
        import vllm.inputs
        import vllm.lora.request
        import vllm.sampling_params
    except ImportError as error:
        remedy = "Install it with `pip install 'genwerk[gpu]'`, or take `engine: native`."
        raise ModelError(f"vLLM cannot be imported: {error}", remedy=remedy) from error
    return vllm


def _give(sequence: Sequence, output: Any) -> None:
    """Hand over what one step of vLLM's brought for `sequence`."""
    if output.prompt_logprobs and sequence.scores is not None and len(sequence.scores.found) == 1:
        top = sequence.sampling.prompt_logprobs or 0
        pairs = zip(sequence.prompt[1:], output.prompt_logprobs[1:], strict=True)
        sequence.scores.found += [_scored(token, found, top) for token, found in pairs]
    answer = output.outputs[0]
    for place, token in enumerate(answer.token_ids):
        if answer.logprobs is None:
            sequence.draws.append(Draw(token))
        else:
            scored = _scored(token, answer.logprobs[place], sequence.sampling.logprobs or 0)
            sequence.draws.append(Draw(token, scored.logprob, scored.top))
    sequence.drawn += answer.token_ids
    sequence.finished = output.finished
    if output.finished and answer.finish_reason not in ("stop", "length"):
        sequence.error = ModelError(f"vLLM ended the answer: {answer.finish_reason}", remedy="Ask again.")


def _scored(token: int, found: Mapping[int, Any], top: int) -> TokenLogprob:
    ranked = sorted((one.rank, other) for other, one in found.items() if one.rank <= top)[:top]
    return TokenLogprob(
        token, found[token].logprob, tuple(Alternative(other, found[other].logprob) for _, other in ranked)
    )  # fmt: skip


def _rank(adapter: Path) -> int:
    """Raises ModelError where its settings cannot be read."""
    file = adapter / "adapter_config.json"
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the adapter's settings cannot be read: {error}", where=str(file)) from error
