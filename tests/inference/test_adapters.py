"""Invariant: adapters that come and go while others answer change no token of anybody, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.engine import Engine
from genwerk.inference.model_files import files_sha256
from genwerk.models.decoder import Decoder
from genwerk.models.lora import LoraConfig, adapter_parameters, add_adapter, load_adapter, save_adapter

Make = Callable[..., Engine]
ANSWER = Sampling(max_tokens=12, temperature=0.9, seed=4, logprobs=1)
TEXT = "the same long question for everybody " * 4


def ask(adapter: str | None = None, text: str = TEXT) -> Request:
    return Request((Message("user", text),), ANSWER, adapter)


@pytest.fixture
def draw_adapter(tiny_model: Decoder, tmp_path: Path) -> Callable[..., Path]:
    """An adapter on disk for networks like `tiny_model`, another one for every seed."""

    def draw(seed: int, rank: int = 4) -> Path:
        model = Decoder(tiny_model.config)
        add_adapter(model, "drawn", LoraConfig(rank=rank), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter_parameters(model, "drawn"):
                parameter.normal_(std=0.3, generator=generator)
        save_adapter(model, "drawn", tmp_path / f"adapter-{seed}", "tiny")
        return tmp_path / f"adapter-{seed}"

    return draw


def test_an_adapter_added_later_equals_one_that_was_there(
    tiny_model: Decoder, make_engine: Make, draw_adapter: Callable[..., Path]
) -> None:
    path = draw_adapter(1)
    late = make_engine()
    base = late.generate(ask())
    late.add_adapter("tuned", path)
    tuned = late.generate(ask("tuned"))
    late.remove_adapter("tuned")
    load_adapter(tiny_model, "tuned", path)
    early = make_engine(adapters=("tuned",))
    assert early.generate(ask("tuned")).logprobs == tuned.logprobs != base.logprobs
    assert early.generate(ask()).logprobs == base.logprobs == late.generate(ask()).logprobs


def test_dozens_in_one_batch_give_what_each_gives_alone(make_engine: Make, draw_adapter: Callable[..., Path]) -> None:
    engine = make_engine(positions=32 * 320)
    names = [f"user{number}" for number in range(26)]
    for number, name in enumerate(names):
        engine.add_adapter(name, draw_adapter(number, rank=(4, 8, 16)[number % 3]))
    requests = [ask(name) for name in (None, *names)]
    alone = [engine.generate(request).tokens for request in requests]
    together = zip_longest(*(engine.stream(request) for request in requests))
    got = list(zip(*([delta and delta.token for delta in row] for row in together), strict=True))
    assert [tuple(token for token in tokens if token is not None) for tokens in got] == alone
    assert len(set(alone)) > 20, "the adapters do not differ"


def test_an_adapter_in_use_is_refused_at_once_and_dropped_with_its_last_answer(
    make_engine: Make, draw_adapter: Callable[..., Path]
) -> None:
    engine = make_engine()
    engine.add_adapter("tuned", draw_adapter(1))
    whole = engine.generate(ask("tuned")).tokens
    first, second, late = (engine.stream(ask("tuned")) for _ in range(3))
    tokens = [next(first).token, next(second).token]
    engine.remove_adapter("tuned")
    assert engine.adapters == () and engine.runner.adapters == ("tuned",)
    with pytest.raises(RequestError, match="no adapter 'tuned'"):
        engine.stream(ask("tuned"))
    with pytest.raises(RequestError, match="no adapter 'tuned'"):
        next(late)  # it was checked before, and had not begun
    with pytest.raises(RequestError, match="still use the old adapter"):
        engine.add_adapter("tuned", draw_adapter(2))
    second.close()
    assert engine.runner.adapters == ("tuned",)
    tokens = [tokens[0], *(delta.token for delta in first)]
    assert tuple(tokens) == whole
    assert engine.runner.adapters == ()
    engine.add_adapter("tuned", draw_adapter(2))
    assert engine.generate(ask("tuned")).tokens != whole
    engine.blocks.check()


def test_another_adapter_of_the_same_name_finds_nothing_of_the_old_one(
    make_engine: Make, draw_adapter: Callable[..., Path]
) -> None:
    old, new = draw_adapter(1), draw_adapter(2)
    engine, fresh = make_engine(), make_engine()
    fresh.add_adapter("tuned", new)
    told = fresh.generate(ask("tuned", "x" * 600)).logprobs
    fresh.remove_adapter("tuned")  # PyTorch's engines share the network here
    engine.add_adapter("tuned", old)
    engine.generate(ask())
    engine.generate(ask("tuned", "x" * 600))
    engine.remove_adapter("tuned")
    engine.blocks.check()
    assert not engine.blocks.open("tuned", [0] * 600).blocks
    engine.add_adapter("tuned", new)
    assert engine.generate(ask("tuned", "x" * 600)).logprobs == told
    assert engine.blocks.available == engine.blocks.count


def test_a_removed_adapter_frees_its_place_for_the_others(make_engine: Make, draw_adapter: Callable[..., Path]) -> None:
    engine = make_engine()
    for number in range(3):
        engine.add_adapter(f"user{number}", draw_adapter(number))
    before = [engine.generate(ask(name)).tokens for name in ("user1", "user2")]
    stream = engine.stream(ask("user2"))
    tokens = [next(stream).token]
    engine.remove_adapter("user0")
    tokens += [delta.token for delta in stream]
    assert tuple(tokens) == before[1]
    assert engine.adapters == ("user1", "user2")
    assert [engine.generate(ask(name)).tokens for name in ("user1", "user2")] == before


def test_what_cannot_be_added_or_removed_is_refused_and_changes_nothing(
    make_engine: Make, draw_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    engine = make_engine()
    engine.add_adapter("tuned", draw_adapter(1))
    tokens = engine.generate(ask("tuned")).tokens
    with pytest.raises(RequestError, match="already"):
        engine.add_adapter("tuned", draw_adapter(2))
    with pytest.raises(RequestError, match="no adapter 'other'"):
        engine.remove_adapter("other")
    with pytest.raises(ModelError):
        engine.add_adapter("missing", tmp_path / "missing")
    with pytest.raises(ModelError, match="cannot name"):
        engine.add_adapter("a.b", draw_adapter(3))
    spoilt = draw_adapter(5)
    (spoilt / "adapter_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError):
        engine.add_adapter("spoilt", spoilt)
    assert engine.adapters == ("tuned",) and engine.generate(ask("tuned")).tokens == tokens


def test_an_adapter_is_hashed_before_the_engine_stands_still(
    make_engine: Make, draw_adapter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, path, stood_still = make_engine(), draw_adapter(1), list[bool]()

    def watched(directory: Path) -> str:
        stood_still.append(engine._stepping)
        return files_sha256(directory)

    monkeypatch.setattr("genwerk.inference.upkeep.files_sha256", watched)
    engine.add_adapter("tuned", path)
    assert stood_still == [False]
    assert engine.weights("tuned")["adapter"] == files_sha256(path)
