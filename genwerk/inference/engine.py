"""The engine: one model, any number of callers, the same tokens every time.

    engine = Engine.load(path, adapters={"handbook": adapter_path})
    for delta in engine.stream(Request((Message("user", "What does zip do?"),), adapter="handbook")):
        print(delta.text, end="")

A prompt is read in blocks that begin at fixed positions and an answer token by token, so a sequence's numbers depend on
nothing but the sequence: not on who else is served, not on what was cached. Between two steps the turn goes to whoever
has waited longest, so a slow reader holds nobody up. Closing a stream stops its work at the next step.

Chosen:   one sequence per step; caches of finished prompts are kept and reused bit for bit (prefix.py).
Left out: several sequences in one step, quantised weights, speculation, constrained decoding.
Try it:   genwerk generate
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Receipt, Request, Sampling, Usage
from genwerk.inference.prefix import BLOCK, PrefixStore
from genwerk.inference.receipt import check_replayable, make_receipt
from genwerk.inference.sampler import Alternative, Draw, check_sampling, make_generator, sample
from genwerk.inference.stopping import StopMatcher
from genwerk.inference.turns import Turnstile
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder
from genwerk.models.kv_cache import KVCache
from genwerk.models.lora import load_adapter, use_adapter
from genwerk.tokenizers.tokenizer import StreamDecoder, Tokenizer

__all__ = ["Alternative", "Delta", "Engine", "Generation", "TokenLogprob"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability (nats) of a drawn token and of the likeliest ones, under the raw distribution."""

    token: int
    logprob: float
    top: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of an answer. `text` may be empty while characters or a possible stop string are incomplete.

    finish_reason and usage are set on the last delta: "stop" (end token or stop string) or "length".
    """

    text: str
    token: int | None = None
    logprob: TokenLogprob | None = None
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole answer. `tokens` are all that were drawn, an end token included; `logprobs` one each when asked for."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: str
    usage: Usage
    receipt: Receipt


class Engine:
    """Serves a decoder and its adapters, which it owns from then on. All methods may be called from several threads.

    name                 what receipts and the API call the model
    adapters             names of adapters that `model` already holds
    max_context          most tokens of prompt and answer together; default: all positions the model knows
    prefix_cache_tokens  positions of finished prompts that are kept for reuse; 0 keeps none
    max_sequences        answers in progress at once (each holds a key-value cache); later ones wait in line
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        name: str,
        adapters: Sequence[str] = (),
        max_context: int | None = None,
        prefix_cache_tokens: int = 8192,
        max_sequences: int = 8,
    ) -> None:
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        self.adapters = tuple(adapters)
        self.max_context = min(max_context or model.config.max_positions, model.config.max_positions)
        self._prefixes = PrefixStore(prefix_cache_tokens)
        self._admission, self._turn = Turnstile(max_sequences), Turnstile()
        self._active: str | None = None
        use_adapter(model, None)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        adapters: Mapping[str, Path] | None = None,
        name: str | None = None,
        max_context: int | None = None,
        prefix_cache_tokens: int = 8192,
    ) -> Self:
        """Read a Hugging Face directory and adapters in peft's format. Raises ModelError."""
        model, tokenizer = load_decoder(path), Tokenizer.load(path)
        for adapter, place in (adapters or {}).items():
            load_adapter(model, adapter, place)
        return cls(
            model,
            tokenizer,
            name=name or path.name,
            adapters=tuple(adapters or ()),
            max_context=max_context,
            prefix_cache_tokens=prefix_cache_tokens,
        )

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Length of the prompt that `messages` become, template included."""
        return len(self.tokenizer.encode_chat(messages))

    def receipt(self, request: Request) -> Receipt:
        """What `replay` needs, with the messages, to get the same tokens again."""
        return make_receipt(self.name, request.adapter, self.tokenizer.template_sha256, request.sampling)

    def generate(self, request: Request) -> Generation:
        """The whole answer. Raises RequestError for what cannot be asked, ModelError for a broken model."""
        return _collect(self.stream(request), self.receipt(request))

    def stream(self, request: Request) -> Generator[Delta, None, None]:
        """The answer step by step. The request is checked here, before the first step; close() ends the work."""
        if not request.messages:
            raise RequestError("there are no messages", param="messages", remedy="Send at least one user message.")
        return self.stream_ids(self.tokenizer.encode_chat(request.messages), request.sampling, request.adapter)

    def complete(self, prompt: str, sampling: Sampling, adapter: str | None = None) -> Generation:
        """Continue raw text, without the chat template."""
        receipt = make_receipt(self.name, adapter, "", sampling)
        return _collect(self.stream_text(prompt, sampling, adapter), receipt)

    def stream_text(self, prompt: str, sampling: Sampling, adapter: str | None = None) -> Generator[Delta, None, None]:
        """Continue raw text step by step."""
        start = self.tokenizer.bos_id
        return self.stream_ids(self.tokenizer.encode(prompt) or ([] if start is None else [start]), sampling, adapter)

    def stream_ids(
        self, prompt: Sequence[int], sampling: Sampling, adapter: str | None = None
    ) -> Generator[Delta, None, None]:
        """Continue token ids step by step. Raises RequestError here, before the first step."""
        check_sampling(sampling, self.tokenizer.vocab_size)
        if adapter is not None and adapter not in self.adapters:
            raise RequestError(
                f"there is no adapter {adapter!r}",
                param="model",
                status=404,
                code="model_not_found",
                remedy=f"Known adapters: {', '.join(self.adapters) or 'none'}.",
            )
        if not prompt:
            raise RequestError("the prompt is empty", param="prompt", remedy="Give at least one character.")
        if len(prompt) >= self.max_context:
            raise RequestError(
                f"the prompt has {len(prompt)} tokens, the model's context is {self.max_context} with the answer",
                param="messages",
                code="context_length_exceeded",
                remedy="Shorten the prompt or start a new conversation.",
            )
        return self._deltas(list(prompt), sampling, adapter)

    def replay(self, receipt: Receipt, messages: Sequence[Message]) -> Generation:
        """Generate again what `receipt` was given for. Raises RequestError if another model made it."""
        check_replayable(receipt, self.name, self.tokenizer.template_sha256)
        return self.generate(Request(tuple(messages), receipt.sampling, receipt.adapter))

    def _deltas(self, prompt: list[int], sampling: Sampling, adapter: str | None) -> Generator[Delta, None, None]:
        limit = min(sampling.max_tokens, self.max_context - len(prompt))
        decoder, stops = StreamDecoder(self.tokenizer), StopMatcher(sampling.stop)
        with closing(self._draws(prompt, sampling, adapter, limit)) as draws:
            for drawn, draw in enumerate(draws, start=1):
                ended = draw.token in self.tokenizer.eos_ids
                text = "" if ended else stops.push(decoder.push(draw.token))
                reason = "stop" if ended or stops.stopped else "length" if drawn == limit else None
                if reason and not stops.stopped:
                    text += stops.push(decoder.flush())
                    reason = "stop" if stops.stopped else reason
                    text += stops.flush()
                yield Delta(text, draw.token, _logprob(draw), reason, Usage(len(prompt), drawn) if reason else None)
                if reason:
                    return

    def _draws(
        self, prompt: list[int], sampling: Sampling, adapter: str | None, limit: int
    ) -> Generator[Draw, None, None]:
        """Up to `limit` tokens after `prompt`; the caller stops at the end of the answer."""
        generator = make_generator(sampling.seed)
        history: list[int] = []
        with self._admission:
            cache = self._prefixes.take(adapter, prompt)
            if cache is None:
                cache = KVCache(self.model.config, self.max_context, dtype=self.model.dtype, device=self.model.device)
            try:
                logits = self._read(prompt, adapter, cache)
                while True:
                    draw = sample(logits, history, prompt, sampling, generator)
                    history.append(draw.token)
                    yield draw
                    if len(history) == limit:
                        return
                    logits = self._step([draw.token], adapter, cache)
            finally:
                self._prefixes.give(adapter, prompt, cache)

    def _read(self, prompt: list[int], adapter: str | None, cache: KVCache) -> Tensor:
        """Logits after the prompt, (V,). Blocks begin at multiples of BLOCK; what `cache` holds is not read again."""
        logits: Tensor
        for start in range(cache.length, len(prompt), BLOCK):
            logits = self._step(prompt[start : start + BLOCK], adapter, cache)
        return logits

    def _step(self, tokens: list[int], adapter: str | None, cache: KVCache) -> Tensor:
        """Run (1, T) tokens in this thread's turn; logits after the last, (V,)."""
        with self._turn, torch.inference_mode():
            if adapter != self._active:
                use_adapter(self.model, adapter)
                self._active = adapter
            hidden = self.model.hidden(torch.tensor([tokens], device=self.model.device), cache=cache)  # (1, T, D)
            return self.model.logits(hidden[0, -1])


def _logprob(draw: Draw) -> TokenLogprob | None:
    return None if draw.logprob is None else TokenLogprob(draw.token, draw.logprob, draw.top)


def _collect(deltas: Iterator[Delta], receipt: Receipt) -> Generation:
    parts = list(deltas)
    last = parts[-1]
    assert last.finish_reason is not None and last.usage is not None
    return Generation(
        "".join(part.text for part in parts),
        tuple(part.token for part in parts if part.token is not None),
        tuple(part.logprob for part in parts if part.logprob is not None),
        last.finish_reason,
        last.usage,
        receipt,
    )
