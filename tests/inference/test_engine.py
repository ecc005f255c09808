from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.engine import Delta, Engine, Generation
from genwerk.inference.several import take_turns
from genwerk.models.decoder import Decoder
from genwerk.models.lora import load_adapter, merge_adapter
from genwerk.tokenizers.tokenizer import Tokenizer


def ask(text: str = "Hello", *, adapter: str | None = None, **sampling: object) -> Request:
    settings = Sampling(**{"max_tokens": 24, **sampling})  # type: ignore[arg-type]
    return Request((Message("user", text),), settings, adapter)


def essence(generation: Generation) -> tuple[object, ...]:
    return generation.tokens, generation.text, generation.logprobs, generation.finish_reason, generation.usage


def test_greedy_tokens_are_the_argmax_of_a_full_forward(tiny_engine: Engine, tiny_model: Decoder) -> None:
    request = ask(max_tokens=16)
    generation = tiny_engine.generate(request)
    ids = tiny_engine.tokenizer.encode_chat(request.messages)
    with torch.no_grad():
        for token in generation.tokens:
            assert token == int(tiny_model(torch.tensor([ids]))[0, -1].argmax())
            ids.append(token)


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_the_streams_text_joined_is_generates_text(tiny_engine: Engine, temperature: float) -> None:
    for seed in range(5):
        request = ask(temperature=temperature, seed=seed, max_tokens=60)
        deltas = list(tiny_engine.stream(request))
        generation = tiny_engine.generate(request)
        assert "".join(delta.text for delta in deltas) == generation.text
        assert tuple(delta.token for delta in deltas) == generation.tokens
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert deltas[-1].finish_reason == generation.finish_reason
        assert deltas[-1].usage == generation.usage


def test_text_is_the_decoding_of_the_tokens(tiny_engine: Engine) -> None:
    generation = tiny_engine.generate(ask(temperature=1.0, max_tokens=80))
    assert generation.text == tiny_engine.tokenizer.decode(generation.tokens)


@pytest.mark.parametrize("size", [1, 200, 256, 480, 517, 700])
def test_a_warm_prompt_gives_the_bits_of_a_cold_one(make_engine: Callable[..., Engine], size: int) -> None:
    request = ask("x" * size + "?", logprobs=5, temperature=0.8, seed=3)
    cold = make_engine(share_prefixes=False).generate(request)
    warm = make_engine()
    warm.generate(ask("x" * 700))
    warm.generate(request)
    assert essence(warm.generate(request)) == essence(cold)


def test_a_warm_prompt_is_not_read_again(scripted: Callable[..., Engine]) -> None:
    engine = scripted("ok")
    engine.generate(ask("x" * 600))
    before = engine.runner.steps
    engine.generate(ask("x" * 600))
    assert engine.runner.steps - before == 1 + 2  # the rest of the prompt, and a step after each letter


@pytest.mark.parametrize("max_rows", [1, 7, 64, 1000])
def test_how_a_prompt_is_cut_changes_no_bit(make_engine: Callable[..., Engine], max_rows: int) -> None:
    request = ask("word " * 60, logprobs=5, temperature=0.8, seed=1)
    whole = make_engine().generate(request)
    assert essence(make_engine(max_rows=max_rows).generate(request)) == essence(whole)


def test_sequences_that_gave_their_blocks_back_go_on_with_the_same_bits(make_engine: Callable[..., Engine]) -> None:
    requests = [ask(f"{n} question" * 20, temperature=1.0, seed=n, logprobs=2, max_tokens=150) for n in range(6)]
    roomy, tight = make_engine(positions=8192), make_engine(positions=1024)
    alone = [essence(roomy.generate(request))[0] for request in requests]
    preempted = count_preemptions(tight)
    streams = [tight.stream(request) for request in requests]
    together = zip_longest(*streams)  # one token of each in turn
    got = list(zip(*([delta.token if delta else None for delta in row] for row in together), strict=True))
    assert [tuple(token for token in tokens if token is not None) for tokens in got] == alone
    assert preempted
    tight.blocks.check()


@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.2])
def test_speculation_changes_no_bit(make_engine: Callable[..., Engine], temperature: float) -> None:
    text = "the cat sat on the mat and the cat sat on the hat and " * 6
    for seed in range(4):
        request = ask(text, temperature=temperature, seed=seed, logprobs=3, max_tokens=120, repetition_penalty=1.1)
        plain = make_engine(speculate=False).generate(request)
        assert essence(make_engine().generate(request)) == essence(plain)


def test_a_copied_text_takes_fewer_steps(scripted: Callable[..., Engine]) -> None:
    text = "copy this sentence word by word, please."
    engine, plain = scripted(text, speculate=True), scripted(text)
    generation = engine.generate(ask(text, max_tokens=100))
    assert generation.text == plain.generate(ask(text, max_tokens=100)).text == text
    assert generation.tokens[-1] == 257
    assert engine.runner.steps < plain.runner.steps / 3
    assert engine.blocks.available == engine.blocks.count


def count_preemptions(engine: Engine) -> list[object]:
    """A list that grows with every preemption."""
    seen: list[object] = []
    preempt = engine.scheduler._preempt
    engine.scheduler._preempt = lambda sequence: (seen.append(sequence), preempt(sequence))  # type: ignore[method-assign]
    return seen


def test_interleaved_requests_equal_isolated_ones(tiny_engine: Engine) -> None:
    requests = [ask("question " * (n * 20 + 1), temperature=1.0, seed=n, logprobs=2) for n in range(4)]
    alone = [essence(tiny_engine.generate(request)) for request in requests]
    got: list[list[Delta]] = [[] for _ in requests]
    for number, delta in take_turns([tiny_engine.stream(request) for request in requests]):
        got[number].append(delta)
    assert [tuple(delta.token for delta in deltas) for deltas in got] == [tokens for tokens, *_ in alone]
    assert [tuple(delta.logprob for delta in deltas) for deltas in got] == [one[2] for one in alone]


def test_threads_get_what_they_would_get_alone(tiny_engine: Engine) -> None:
    requests = [ask(f"{n} " * 30, temperature=1.0, seed=n, max_tokens=12) for n in range(12)]
    alone = [essence(tiny_engine.generate(request)) for request in requests]
    got: dict[int, tuple[object, ...]] = {}

    def work(n: int) -> None:
        got[n] = essence(tiny_engine.generate(requests[n]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [got[n] for n in range(len(requests))] == alone


def test_a_switched_adapter_equals_merged_weights(
    tiny_model: Decoder, make_engine: Callable[..., Engine], adapter_path: Path
) -> None:
    load_adapter(tiny_model, "tuned", adapter_path)
    engine = make_engine(adapters=("tuned",))
    texts = ["Hello", "x" * 600]
    base = [engine.generate(ask(text)).text for text in texts]
    tuned = [engine.generate(ask(text, adapter="tuned")).text for text in texts]
    assert [engine.generate(ask(text)).text for text in texts] == base
    assert tuned != base
    merge_adapter(tiny_model, "tuned")
    merged = make_engine(name="merged")
    assert [merged.generate(ask(text)).text for text in texts] == tuned


def test_adapters_share_a_step(tiny_model: Decoder, make_engine: Callable[..., Engine], adapter_path: Path) -> None:
    load_adapter(tiny_model, "tuned", adapter_path)
    engine = make_engine(adapters=("tuned",))
    requests = [ask("x" * 300), ask("x" * 300, adapter="tuned")]
    alone = [engine.generate(request).tokens for request in requests]
    streams = zip(*(engine.stream(request) for request in requests), strict=False)
    both = [(base.token, tuned.token) for base, tuned in streams]
    length = min(map(len, alone))
    assert both[:length] == list(zip(alone[0][:length], alone[1][:length], strict=True))


def test_an_unknown_adapter_is_refused_with_the_known_ones(tiny_engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"no adapter 'nope'.*Known adapters: none") as caught:
        tiny_engine.stream(ask(adapter="nope"))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_closing_a_stream_stops_the_work_and_lets_others_in(
    make_engine: Callable[..., Engine], scripted: Callable[..., Engine]
) -> None:
    engine = make_engine(max_sequences=1)
    stream = engine.stream(ask(max_tokens=500))
    next(stream)
    stream.close()
    assert engine.generate(ask()).tokens
    told = scripted("a long answer")
    stream = told.stream(ask())
    next(stream), stream.close()
    assert told.runner.steps == 1
    assert told.blocks.available == told.blocks.count


def test_a_broken_answer_lets_others_in_and_is_not_found_again(scripted: Callable[..., Engine]) -> None:
    engine = scripted([65, -1])
    for _ in range(2):
        before = engine.runner.steps
        with pytest.raises(ModelError, match="not finite"):
            engine.generate(ask("x" * 300))
        assert engine.runner.steps - before == 3  # the whole prompt again, and one token
    assert engine.blocks.available == engine.blocks.count


def test_an_error_in_a_step_reaches_its_callers_and_the_engine_goes_on(scripted: Callable[..., Engine]) -> None:
    engine = scripted("ok")
    step, engine.runner.step = engine.runner.step, lambda chunks: 1 / 0
    with pytest.raises(ZeroDivisionError):
        engine.generate(ask())
    engine.runner.step = step
    assert engine.generate(ask()).text == "ok"
    assert engine.blocks.available == engine.blocks.count


def test_who_waits_in_line_is_not_told_of_the_error_of_another(tiny_engine: Engine) -> None:
    tiny_engine.scheduler.max_sequences = 1
    first, second = tiny_engine.stream(ask()), tiny_engine.stream(ask("Another", seed=2))
    next(first)
    step = tiny_engine.runner.step

    def fail_once(chunks: object) -> object:
        tiny_engine.runner.step = step  # type: ignore[method-assign]
        raise MemoryError("full")

    tiny_engine.runner.step = fail_once  # type: ignore[assignment, method-assign]
    assert next(second).token is not None
    with pytest.raises(MemoryError):
        list(first)
    second.close()
    assert tiny_engine.blocks.available == tiny_engine.blocks.count


def test_measuring_logits_leaves_answers_and_their_prefixes_alone(
    make_engine: Callable[..., Engine], tiny_model: Decoder
) -> None:
    engine, request = make_engine(), ask("x" * 300, logprobs=3)
    first = engine.generate(request)
    tokens = list(range(100))
    logits = torch.from_numpy(engine.logits(tokens))
    with torch.no_grad():
        torch.testing.assert_close(logits, tiny_model(torch.tensor([tokens]))[0], atol=1e-4, rtol=0)
    assert essence(engine.generate(request)) == essence(first)
    engine.blocks.check()
    with pytest.raises(RequestError, match="no room for 2000"):
        engine.logits([1] * 2000)
    assert engine.generate(request).tokens == first.tokens


@pytest.mark.parametrize("text", ["Grüße, 日本語 und 👩‍👩‍👧‍👦!", "🎉" * 5, "é"])
def test_characters_are_never_split(scripted: Callable[..., Engine], text: str) -> None:
    deltas = list(scripted(text).stream(ask(max_tokens=200)))
    assert "".join(delta.text for delta in deltas) == text
    assert not any("\ufffd" in delta.text for delta in deltas)
    assert deltas[-1].finish_reason == "stop"


def test_a_character_cut_by_the_token_limit_is_one_replacement_sign(scripted: Callable[..., Engine]) -> None:
    generation = scripted("a🎉").generate(ask(max_tokens=3))
    assert (generation.text, generation.finish_reason) == ("a\ufffd", "length")


def test_a_stop_string_across_tokens_ends_the_answer(scripted: Callable[..., Engine]) -> None:
    generation = scripted("4.\nUser: and then?").generate(ask(stop=("\nUser:",)))
    assert (generation.text, generation.finish_reason) == ("4.", "stop")
    assert generation.usage.completion_tokens == len("4.\nUser:")


def test_a_stop_token_ends_the_answer_and_has_no_text(scripted: Callable[..., Engine]) -> None:
    last = scripted("abcd").tokenizer.encode("c")[0]
    told = scripted("abcd").generate(ask(stop_tokens=(last,)))
    assert (told.text, told.finish_reason, told.usage.completion_tokens) == ("ab", "stop", 3)


def test_an_answer_does_not_end_before_its_least_length(tiny_engine: Engine) -> None:
    request = ask(temperature=1.0, logit_bias=((257, 100.0),), max_tokens=30)
    assert len(tiny_engine.generate(request).tokens) == 1
    longer = replace(request, sampling=replace(request.sampling, min_tokens=9))
    assert len(tiny_engine.generate(longer).tokens) == 10


def test_held_back_text_comes_when_no_stop_string_completes(scripted: Callable[..., Engine]) -> None:
    for end, reason in ((True, "stop"), (False, "length")):
        generation = scripted("4.\nUse", end=end).generate(ask(stop=("\nUser:",), max_tokens=6 if not end else 20))
        assert (generation.text, generation.finish_reason) == ("4.\nUse", reason)


def test_the_end_token_is_counted_and_has_no_text(scripted: Callable[..., Engine]) -> None:
    generation = scripted("ok").generate(ask(logprobs=1))
    assert (generation.text, len(generation.tokens), generation.usage.completion_tokens) == ("ok", 3, 3)
    assert len(generation.logprobs) == 3


def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(tiny_engine: Engine) -> None:
    request = ask("x" * 2000)
    count = tiny_engine.count_tokens(request.messages)
    with pytest.raises(RequestError, match=rf"{count} tokens.*1024") as caught:
        tiny_engine.stream(request)
    assert caught.value.code == "context_length_exceeded"


def test_an_answer_that_reaches_the_end_of_the_context_says_length(
    make_engine: Callable[..., Engine], byte_tokenizer: Tokenizer
) -> None:
    room = 9
    request = ask("Hello", max_tokens=1000, temperature=1.0)
    prompt = len(byte_tokenizer.encode_chat(request.messages))
    engine = make_engine(max_context=prompt + room)
    byte_tokenizer.eos_ids, before = frozenset(), byte_tokenizer.eos_ids
    try:
        generation = engine.generate(request)
    finally:
        byte_tokenizer.eos_ids = before
    assert (len(generation.tokens), generation.finish_reason) == (room, "length")


def test_bad_sampling_is_refused_before_the_first_step(tiny_engine: Engine) -> None:
    with pytest.raises(RequestError) as caught:
        tiny_engine.stream(ask(temperature=-1.0))
    assert caught.value.param == "temperature"


def test_no_messages_and_empty_prompts_are_refused(tiny_engine: Engine) -> None:
    with pytest.raises(RequestError, match="no messages"):
        tiny_engine.stream(Request(()))
    with pytest.raises(RequestError, match="prompt is empty"):
        tiny_engine.stream_ids([], Sampling())


def test_raw_text_is_continued_without_the_template(tiny_engine: Engine, tiny_model: Decoder) -> None:
    generation = tiny_engine.complete("abc", Sampling(max_tokens=5))
    assert generation.usage.prompt_tokens == 3
    with torch.no_grad():
        logits = tiny_model(torch.tensor([tiny_engine.tokenizer.encode("abc")]))
    assert generation.tokens[0] == int(logits[0, -1].argmax())


def test_a_receipt_and_the_messages_give_the_same_tokens_again(
    tiny_model: Decoder, make_engine: Callable[..., Engine], adapter_path: Path
) -> None:
    load_adapter(tiny_model, "tuned", adapter_path)
    engine = make_engine(adapters=("tuned",))
    request = ask("How?", adapter="tuned", temperature=1.1, top_p=0.9, seed=99, logprobs=1)
    first = engine.generate(request)
    engine.generate(ask("something between", temperature=1.0))
    again = engine.replay(first.receipt, request.messages)
    assert essence(again) == essence(first)
    assert again.receipt == first.receipt


def test_a_receipt_of_another_model_or_template_is_refused(tiny_engine: Engine) -> None:
    request = ask()
    receipt = tiny_engine.receipt(request)
    for changed in ({"model": "other"}, {"template_sha256": "0" * 64}):
        with pytest.raises(RequestError, match=next(iter(changed))):
            tiny_engine.replay(replace(receipt, **changed), request.messages)


def test_the_callers_grad_mode_is_left_alone(tiny_engine: Engine) -> None:
    stream = tiny_engine.stream(ask())
    next(stream)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    stream.close()


def test_an_engine_loads_a_directory_with_adapters(
    tiny_model: Decoder,
    tiny_engine: Engine,
    byte_tokenizer: Tokenizer,
    adapter_path: Path,
    tmp_path: Path,
) -> None:
    from genwerk.models.huggingface import save_decoder

    save_decoder(tiny_model, tmp_path / "model", Path(byte_tokenizer._where))
    engine = Engine.load(tmp_path / "model", adapters={"tuned": adapter_path})
    assert (engine.name, engine.adapters) == ("model", ("tuned",))
    assert engine.generate(ask()).tokens == tiny_engine.generate(ask()).tokens
