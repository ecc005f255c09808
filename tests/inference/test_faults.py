"""What happens when: the table of docs/inference.md, line by line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.engine import Delta, Engine
from genwerk.inference.logits import Logits
from genwerk.inference.model_runner import make_runner
from genwerk.inference.native.packed_decoder import pack_decoder
from genwerk.inference.native.weights import kept_weights
from genwerk.inference.runner import Chunk
from genwerk.models.decoder import Block, Decoder
from genwerk.models.feed_forward import MLP
from genwerk.models.hf_config import read_config
from genwerk.models.huggingface import save_decoder
from genwerk.tokenizers.tokenizer import Tokenizer

Make = Callable[..., Engine]


def ask(text: str = "Hello", **sampling: object) -> Request:
    return Request((Message("user", text),), Sampling(**{"max_tokens": 20, **sampling}))  # type: ignore[arg-type]


def assert_clean(engine: Engine) -> None:
    """Nobody is served, nothing is held, and the engine answers."""
    assert not engine.scheduler.running and not engine.scheduler.waiting
    assert engine.blocks.available == engine.blocks.count
    engine.blocks.check()
    assert engine.generate(ask()).tokens


def test_a_full_cache_makes_answers_wait_and_changes_none(make_engine: Make) -> None:
    requests = [ask(f"{n} and more" * 30, seed=n, temperature=1.0, max_tokens=60) for n in range(8)]
    alone = [make_engine(positions=8192).generate(request).tokens for request in requests]
    engine = make_engine(positions=512)
    streams = [engine.stream(request) for request in requests]
    rows = zip_longest(*streams)
    got = list(zip(*([delta and delta.token for delta in row] for row in rows), strict=True))
    assert [tuple(token for token in tokens if token is not None) for tokens in got] == alone
    assert_clean(engine)


def test_a_prompt_that_never_fits_into_the_cache_is_refused(make_engine: Make) -> None:
    engine = make_engine(positions=256)
    with pytest.raises(RequestError, match="context is 256") as caught:
        engine.generate(ask("x" * 400))
    assert caught.value.code == "context_length_exceeded"
    assert_clean(engine)


def unstarted(engine: Engine) -> Iterator[Delta]:
    return engine.stream(ask("x" * 300))


def answering(engine: Engine) -> Iterator[Delta]:
    stream = engine.stream(ask("x" * 300))
    next(stream), next(stream)
    return stream


def ended(engine: Engine) -> Iterator[Delta]:
    stream = engine.stream(ask(max_tokens=2))
    list(stream)
    return stream


@pytest.mark.parametrize("state", [unstarted, answering, ended])
def test_a_reader_may_leave_in_any_state(make_engine: Make, state: Callable[[Engine], Iterator[Delta]]) -> None:
    engine = make_engine()
    whole = engine.generate(ask("other " * 40, max_tokens=40)).tokens
    other = engine.stream(ask("other " * 40, max_tokens=40))
    tokens = [next(other).token]
    stream = state(engine)
    stream.close()  # type: ignore[attr-defined]
    tokens += [delta.token for delta in other]
    assert tuple(tokens) == whole
    assert_clean(engine)


def test_a_reader_may_leave_before_every_step(make_engine: Make) -> None:
    """Two answers in a cache too small for both: whatever the first has reached, leaving loses nothing."""
    second = ask("second " * 30, seed=2, temperature=1.0, max_tokens=90)
    alone = make_engine(positions=8192).generate(second).tokens
    for taken in (0, 1, 2, 5, 17, 40, 63):
        engine = make_engine(positions=512, max_rows=64)
        leaving, staying = engine.stream(ask("first " * 30, max_tokens=64, temperature=1.0)), engine.stream(second)
        tokens = [next(staying).token]
        for _ in range(taken):
            tokens.append(next(staying).token)
            next(leaving, None)
        leaving.close()
        tokens += [delta.token for delta in staying]
        assert tuple(tokens) == alone
        assert_clean(engine)


def test_a_reader_may_leave_while_the_step_is_computed(make_engine: Make) -> None:
    engine = make_engine()
    inside, go_on = threading.Event(), threading.Event()
    leaving, staying = engine.stream(ask("leaving")), engine.stream(ask("staying"))
    whole = engine.generate(ask("staying")).tokens
    first = [next(leaving).token, next(staying).token][1]
    step = engine.runner.step

    def slow(chunks: Sequence[Chunk]) -> Logits:
        inside.set()
        assert go_on.wait(30)
        return step(chunks)

    engine.runner.step = slow  # type: ignore[method-assign]
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.extend(delta.token for delta in staying))
    thread.start()
    assert inside.wait(30)
    leaving.close()
    go_on.set()
    thread.join(60)
    assert (first, *got) == whole
    assert_clean(engine)


def test_a_step_that_fails_ends_its_answers_and_nobody_elses(make_engine: Make) -> None:
    engine = make_engine()
    step, engine.scheduler.max_sequences = engine.runner.step, 2
    streams = [engine.stream(ask(f"{n}", seed=n)) for n in range(2)]
    for stream in streams:
        next(stream)

    def fail(chunks: Sequence[Chunk]) -> Logits:
        engine.runner.step = step  # type: ignore[method-assign]
        raise MemoryError("no room for the logits")

    engine.runner.step = fail  # type: ignore[method-assign]
    for stream in streams:
        with pytest.raises(MemoryError, match="no room"):
            list(stream)
    assert_clean(engine)


def rows_of(model: Decoder, matrix: str) -> Tensor:
    """The outputs of a matrix of the second layer, (N, K)."""
    block, config = model.layers[1], model.config
    assert isinstance(block, Block) and isinstance(block.mlp, MLP)
    if matrix == "down":
        return block.mlp.down.weight
    sizes = [heads * config.head_dim for heads in (config.n_heads, config.n_kv_heads, config.n_kv_heads)]
    return dict(zip("qkv", block.self_attn.qkv.weight.split(sizes), strict=True))[matrix]


@pytest.mark.parametrize("matrix", ["q", "k", "v", "down"])
@pytest.mark.parametrize(
    ("kind", "precision", "cache"),
    [
        ("torch", "float32", "auto"),
        *(("native", precision, cache) for precision in ("float32", "int8", "int4") for cache in ("auto", "int8")),
    ],
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_end_every_answer_with_an_error(
    tiny_model: Decoder, byte_tokenizer: Tokenizer, kind: str, precision: str, cache: str, matrix: str, bad: float
) -> None:
    with torch.no_grad():
        rows_of(tiny_model, matrix)[3] = bad
    runner = make_runner(tiny_model, engine=kind, precision=precision, cache_precision=cache)
    engine = Engine(runner, byte_tokenizer, name="broken")
    for _ in range(2):
        with pytest.raises(ModelError, match="not finite"):
            engine.generate(ask())
    assert engine.blocks.available == engine.blocks.count and not engine.blocks.known()


@pytest.mark.parametrize("damage", ["bent", "cut", "unsealed"])
def test_packed_weights_that_are_damaged_are_made_again(
    tiny_model: Decoder,
    byte_tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    monkeypatch.setenv("GENWERK_CACHE", str(tmp_path / "cache"))
    save_decoder(tiny_model, tmp_path / "model", Path(byte_tokenizer._where))
    config = read_config(tmp_path / "model")
    kept = partial(kept_weights, tmp_path / "model", config, "int8", lambda: pack_decoder(tiny_model, "int8"))
    fresh = {name: one.copy() for name, one in kept().arrays.items()}
    (file,) = (tmp_path / "cache" / "packed").glob("*.safetensors")
    held = bytearray(file.read_bytes())
    if damage == "unsealed":
        file.with_suffix(".seal").unlink()
    else:
        held[-40] ^= 4
        file.write_bytes(held if damage == "bent" else held[:-100])
    again = kept()
    assert ("is damaged and is made again" in capsys.readouterr().err) == (damage != "unsealed")
    mapped = kept()
    for found in (again, mapped):
        assert found.arrays.keys() == fresh.keys()
        assert all(np.array_equal(found.arrays[name], one) for name, one in fresh.items())
