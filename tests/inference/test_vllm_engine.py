"""The engine around vLLM, with a stand-in for vLLM: what is asked of it, and what is never asked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.vllm_engine import VllmEngine
from genwerk.models.decoder import DecoderConfig
from genwerk.tokenizers.tokenizer import Tokenizer

CONFIG = DecoderConfig(
    vocab_size=258, d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=16, d_ff=48, max_positions=128
)


class StandIn:
    """An LLMEngine that answers every request with its end token."""

    def __init__(self) -> None:
        self.model_config = SimpleNamespace(dtype="torch.bfloat16")
        self.engine_core = SimpleNamespace(shutdown=lambda: None)
        self.asked: dict[str, Any] = {}
        self._open: list[str] = []

    def add_lora(self, lora: Any) -> None:
        """It takes any."""

    def add_request(self, identity: str, prompt: Any, params: Any, *, lora_request: Any, priority: int) -> None:
        self.asked[identity] = lora_request
        self._open.append(identity)

    def step(self) -> list[Any]:
        answer = SimpleNamespace(token_ids=[257], logprobs=None, finish_reason="stop")
        ended, self._open = self._open, []
        return [SimpleNamespace(request_id=one, outputs=[answer], finished=True, prompt_logprobs=None) for one in ended]


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
def engine(stand_in: StandIn, byte_tokenizer: Tokenizer) -> Iterator[VllmEngine]:
    vllm = SimpleNamespace(
        __version__="0",
        SamplingParams=SimpleNamespace,
        inputs=SimpleNamespace(tokens_input=list),
        lora=SimpleNamespace(request=SimpleNamespace(LoRARequest=lambda *facts: SimpleNamespace(facts=facts))),
        sampling_params=SimpleNamespace(RequestOutputKind=SimpleNamespace(DELTA="delta")),
    )
    made = VllmEngine(
        stand_in, vllm, ThreadPoolExecutor(1), byte_tokenizer, CONFIG, name="m", max_context=128, device="cpu", ranks=8
    )
    yield made
    made.close()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    (tmp_path / "adapter_config.json").write_text('{"r": 4}')
    return tmp_path


def ask(adapter: str | None = None) -> Request:
    return Request((Message("user", "Hello"),), Sampling(max_tokens=4), adapter)


def test_a_request_goes_to_the_adapter_it_names(engine: VllmEngine, stand_in: StandIn, adapter: Path) -> None:
    engine.add_adapter("tuned", adapter)
    for name in (None, "tuned"):
        assert engine.generate(ask(name)).tokens == (257,)
    base, tuned = stand_in.asked.values()
    assert base is None and tuned.facts[0] == "tuned"


def test_an_adapter_removed_before_the_first_token_is_refused_and_never_answered_by_the_base(
    engine: VllmEngine, stand_in: StandIn, adapter: Path
) -> None:
    engine.add_adapter("tuned", adapter)
    stream = engine.stream(ask("tuned"))
    engine.remove_adapter("tuned")
    with pytest.raises(RequestError, match="no adapter 'tuned'") as refused:
        next(stream)
    assert refused.value.status == 404 and not stand_in.asked
