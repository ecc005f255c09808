"""What serving and recipes need of an engine, and what follows from it for every engine alike.

    Engine         engine.py            native kernels or PyTorch, in this process
    VllmEngine     vllm_engine.py       vLLM, in this process
    Replicas       serving/replicas.py  any of these, several times, in processes of Ray Serve's

A chat becomes token ids here, by our tokenizer and template, so the same messages are the same prompt everywhere. An
engine answers what is asked or refuses it with a RequestError that names it: nothing of a request is passed over.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Message, Receipt, Request, Sampling
from genwerk.inference.generation import Delta, Generation, collect
from genwerk.inference.limits import check_adapter, check_priority, check_sampling
from genwerk.inference.prompts import encode_messages, is_raw
from genwerk.inference.reasoning import Markers, Section
from genwerk.inference.receipt import check_replayable, make_receipt
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Asked", "TextEngine"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in tokens: the arguments of `stream_ids`."""

    prompt: tuple[int, ...]
    sampling: Sampling
    adapter: str | None = None
    user: str = ""
    constraint: Constraint | None = None
    section: Section | None = None
    priority: int = 0


class TextEngine(Protocol):
    """Serves a model and its adapters. All methods may be called from several threads.

    name          what receipts and the API call the model
    max_context   most tokens of prompt and answer together
    markers       around what a reasoning model thinks
    file_hashes   of the files of the model (None) and of adapters
    """

    name: str
    tokenizer: Tokenizer
    max_context: int
    markers: Markers | None
    file_hashes: dict[str | None, str]

    @property
    def title(self) -> str:
        """What computes, for receipts: engine, version, precision, device."""
        ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that may be asked for."""
        ...

    def _answer(self, asked: Asked) -> Generator[Delta, None, None]:
        """Continue checked token ids, a delta per token. Raises RequestError here for what only this engine cannot do;
        close() ends the work."""
        ...

    def add_adapter(self, name: str, path: Path) -> None:
        """Load an adapter in peft's format. Raises RequestError for a name in use, ModelError for files."""
        ...

    def remove_adapter(self, name: str) -> None:
        """Refuse an adapter from now on; answers that use it end with it. Raises RequestError if there is none."""
        ...

    def save_cache(self) -> None:
        """Keep what prompts have in common for the next start, where the engine was told to."""
        ...

    def close(self) -> None:
        """Give back what is held outside this object."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Length of the prompt that `messages` become, template included."""
        return len(encode_messages(self.tokenizer, messages))

    def receipt(self, request: Request) -> Receipt:
        """What `replay` needs, with the messages, to get the same tokens again."""
        return make_receipt(
            self.name,
            request.adapter,
            self._template_of(request.messages),
            request.sampling,
            self.title,
            request.constraint,
            self.weights(request.adapter),
        )

    def generate(self, request: Request) -> Generation:
        """The whole answer. Raises RequestError for what cannot be asked, ModelError for a broken model."""
        return collect(self.stream(request), self.receipt(request))

    def stream(self, request: Request) -> Generator[Delta, None, None]:
        """The answer step by step. The request is checked here, before the first step; close() ends the work."""
        if not request.messages:
            raise RequestError("there are no messages", param="messages", remedy="Send at least one user message.")
        ids = encode_messages(self.tokenizer, request.messages)
        markers = None if is_raw(request.messages) else self.markers
        section = None if markers is None else Section.after(ids, markers, self.tokenizer)
        return self.stream_ids(
            ids, request.sampling, request.adapter, request.user, request.constraint, section, request.priority
        )

    def stream_ids(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        adapter: str | None = None,
        user: str = "",
        constraint: Constraint | None = None,
        section: Section | None = None,
        priority: int = 0,
    ) -> Generator[Delta, None, None]:
        """Continue token ids step by step; see `ask`.

        section   in which the model thinks first; None: all it says is answer
        """
        return self.ask(Asked(tuple(prompt), sampling, adapter, user, constraint, section, priority))

    def ask(self, asked: Asked) -> Generator[Delta, None, None]:
        """The answer to a request in tokens, step by step; every way to ask ends here.

        Raises RequestError here, before the first step; close() ends the work.
        """
        check_sampling(asked.sampling, self.tokenizer.vocab_size)
        check_priority(asked.priority)
        check_adapter(asked.adapter, self.adapters)
        self.check_prompt(asked.prompt)
        return self._answer(asked)

    def complete(self, prompt: str, sampling: Sampling, adapter: str | None = None) -> Generation:
        """Continue raw text, without the chat template."""
        return self.generate(Request((Message("prompt", prompt),), sampling, adapter))

    def stream_text(self, prompt: str, sampling: Sampling, adapter: str | None = None) -> Generator[Delta, None, None]:
        """Continue raw text step by step."""
        return self.stream(Request((Message("prompt", prompt),), sampling, adapter))

    def replay(self, receipt: Receipt, messages: Sequence[Message]) -> Generation:
        """Generate again what `receipt` was given for. Raises RequestError if another model made it."""
        self.check_receipt(receipt, messages)
        return self.generate(Request(tuple(messages), receipt.sampling, receipt.adapter, constraint=receipt.constraint))

    def check_receipt(self, receipt: Receipt, messages: Sequence[Message]) -> None:
        """Raise RequestError where `receipt`, given for an answer to `messages`, is of another model or template."""
        check_replayable(receipt, self.name, self._template_of(messages), self.weights(receipt.adapter))

    def weights(self, adapter: str | None) -> dict[str, str]:
        """Hashes of the files of the model and of an adapter, as receipts name them, where there are files."""
        parts = {"model": None} if adapter is None else {"model": None, "adapter": adapter}
        return {part: self.file_hashes[name] for part, name in parts.items() if name in self.file_hashes}

    def _template_of(self, messages: Sequence[Message]) -> str:
        """The hash of the chat template, for messages that go through it."""
        return "" if is_raw(messages) else self.tokenizer.template_sha256

    def between_steps(self) -> AbstractContextManager[None]:
        """What is done inside shares this process's cores with no step; an engine that computes elsewhere goes on."""
        return nullcontext()

    def check_prompt(self, prompt: Sequence[int]) -> None:
        """Raise RequestError for a prompt that is empty or leaves no room for an answer."""
        if not prompt:
            what, remedy = "the prompt is empty", "Give at least one character."
            raise RequestError(what, param="prompt", code="invalid_value", remedy=remedy)
        if len(prompt) >= self.max_context:
            raise RequestError(
                f"the prompt has {len(prompt)} tokens, the model's context is {self.max_context} with the answer",
                param="messages",
                code="context_length_exceeded",
                remedy="Shorten the prompt or start a new conversation.",
            )
