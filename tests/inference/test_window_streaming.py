"""Texts longer than the model knows: refused, unless a window with sinks was asked for; then read in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.types import Sampling
from genwerk.inference.engine import Engine
from genwerk.inference.model_runner import make_runner
from genwerk.inference.receipt import loading_of, window_of
from genwerk.inference.runner import BLOCK
from genwerk.inference.streaming import STRETCH, with_window
from genwerk.models.decoder import Decoder
from genwerk.models.decoder_config import Window
from genwerk.models.huggingface import save_decoder
from genwerk.tokenizers.tokenizer import Tokenizer

WINDOW, SINKS = 40, 4
Make = Callable[..., Engine]


@pytest.fixture
def directory(tiny_model: Decoder, tokenizer_files: Path, tmp_path: Path) -> Path:
    """`tiny_model`, which knows 1,024 positions."""
    save_decoder(tiny_model, tmp_path / "model", tokenizer_files)
    return tmp_path / "model"


@pytest.fixture(params=["torch", "native"])
def make(request: pytest.FixtureRequest, directory: Path) -> Make:
    def load(positions: int = 1024, **options: object) -> Engine:
        asked = {"window": WINDOW, "sinks": SINKS, "engine": request.param, "cache_positions": positions} | options
        return Engine.load(directory, **asked)  # type: ignore[arg-type]

    return load


def text(length: int) -> list[int]:
    drawn: list[int] = torch.randint(0, 256, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    return drawn


def answer(engine: Engine, prompt: list[int], tokens: int = 20) -> list[int | None]:
    sampling = Sampling(max_tokens=tokens, min_tokens=tokens)
    return [delta.token for delta in engine.stream_ids(prompt, sampling)]


def test_beyond_the_context_a_prompt_is_refused_unless_a_window_was_asked_for(make: Make, directory: Path) -> None:
    with pytest.raises(RequestError, match="3000 tokens, the model's context is 1024") as refused:
        answer(Engine.load(directory), text(3000))
    assert refused.value.code == "context_length_exceeded"
    engine = make()
    assert engine.max_context == STRETCH * 1024
    assert len(answer(engine, text(3000))) == 20
    with pytest.raises(RequestError, match="context is 8192"):
        answer(engine, text(9000))
    assert make(max_context=20000).max_context == 20000


def test_the_answer_is_that_of_one_long_forward_pass(make: Make, tiny_model: Decoder) -> None:
    prompt = text(1500)
    said = answer(make(), prompt)
    tiny_model.config = with_window(tiny_model.config, WINDOW, SINKS)
    with torch.no_grad():
        logits = tiny_model(torch.tensor([[*prompt, *said]]))[0, len(prompt) - 1 : -1]
    logits[:, 257] = -torch.inf  # the end token, which `min_tokens` rules out
    assert logits.argmax(-1).tolist() == said


def test_memory_is_bounded_by_the_window(make: Make) -> None:
    engine = make(positions=20 * BLOCK, share_prefixes=False)
    most = 0
    stream = engine.stream_ids(text(900), Sampling(max_tokens=900, min_tokens=900))
    for _ in stream:
        most = max(most, engine.blocks.count - engine.blocks.available)
    assert most <= -(-engine.scheduler.room // BLOCK) <= 20
    assert engine.blocks.available == engine.blocks.count


def test_known_prompts_and_preemption_change_no_bit(make: Make) -> None:
    prompts = [text(700), [*text(700), *text(333)], [*text(700)[:500], *text(50)], text(90)]
    alone = [answer(make(share_prefixes=False, speculate=False), prompt) for prompt in prompts]
    engine = make(positions=15 * BLOCK)  # room for little more than one of them
    for _ in range(2):
        assert [answer(engine, prompt) for prompt in prompts] == alone
    streams = [engine.stream_ids(prompt, Sampling(max_tokens=20, min_tokens=20)) for prompt in prompts]
    said: list[list[int | None]] = [[] for _ in prompts]
    while streams_left := [(stream, tokens) for stream, tokens in zip(streams, said, strict=True) if len(tokens) < 20]:
        for stream, tokens in streams_left:
            tokens.append(next(stream).token)
    assert said == alone
    engine.blocks.check()


def test_a_text_that_goes_on_is_not_read_twice(make: Make) -> None:
    engine = make()
    prompt = text(640)
    answer(engine, prompt)
    read: list[int] = []
    run = engine.runner.step
    engine.runner.step = lambda chunks: (read.extend(len(one.tokens) for one in chunks), run(chunks))[1]  # type: ignore[method-assign]
    answer(engine, [*prompt, *text(30)], tokens=1)
    assert sum(read) <= 30 + (BLOCK if engine.runner.aligned == 1 else engine.runner.aligned)


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_weights_packed_now_or_before_are_served_with_the_window(
    directory: Path, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genwerk.inference.native.weights.cache_directory", lambda: tmp_path / "cache")
    said = []
    for _ in range(2):
        engine = Engine.load(directory, engine="native", precision=precision, window=WINDOW, sinks=SINKS)
        assert engine.runner.config.view == Window(WINDOW, SINKS)
        said.append(answer(engine, text(200)))
    assert said[0] == said[1] != answer(Engine.load(directory, engine="native", precision=precision), text(200))


@pytest.mark.parametrize(("window", "sinks"), [(WINDOW, SINKS), (WINDOW, 0), (None, 0)])
def test_a_receipt_names_the_window_to_replay_it_with(make: Make, window: int | None, sinks: int) -> None:
    receipt = make(window=window, sinks=sinks).complete("abc", Sampling(max_tokens=3)).receipt
    assert window_of(receipt) == (window, sinks)
    assert loading_of(receipt)[1] == "float32"


def test_what_is_changed_is_said_aloud(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make()
    assert "only the last 40 tokens and the first 4" in capsys.readouterr().err


def test_windows_that_cannot_be_are_refused(tiny_model: Decoder) -> None:
    config = tiny_model.config
    with pytest.raises(ModelError, match="no window to stand beside"):
        with_window(config, None, 4)
    for window, sinks in ((0, 4), (-1, 0), (1024, 1), (40, 33), (40, -1)):
        with pytest.raises(ModelError, match="cannot be"):
            with_window(config, window or -5, sinks)
    mistral = replace(config, sliding_window=64)
    assert with_window(mistral, None, 4).sliding_window == 64
    assert with_window(mistral, None, 0) is mistral and with_window(mistral, 64, 0) is mistral
    assert with_window(config, 100, 0).max_positions == config.max_positions


def test_a_model_with_a_window_of_its_own_gives_blocks_back_too(tiny_model: Decoder, byte_tokenizer: Tokenizer) -> None:
    tiny_model.config = replace(tiny_model.config, sliding_window=40)
    engine = Engine(make_runner(tiny_model, positions=14 * BLOCK), byte_tokenizer, name="tiny")
    assert engine.max_context == 1024
    assert len(answer(engine, text(900))) == 20
    layered = replace(tiny_model.config, full_layers=(1,))
    tiny_model.config = layered
    engine = Engine(make_runner(tiny_model, positions=14 * BLOCK), byte_tokenizer, name="tiny")
    assert engine.max_context == 14 * BLOCK
