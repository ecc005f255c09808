"""Invariant: what is kept over a restart gives the bits of a cold start; what is damaged or foreign is never used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.blocks import BlockManager
from genwerk.inference.engine import Engine
from genwerk.inference.runner import BLOCK
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import save_decoder
from genwerk.tokenizers.tokenizer import Tokenizer

TEXT = "what all of them begin with, " * 22


def ask(text: str = TEXT, adapter: str | None = None) -> Request:
    sampling = Sampling(max_tokens=10, temperature=0.9, logprobs=2)
    return Request((Message("user", text),), sampling, adapter)


@dataclass
class Place:
    """A model on disk, and where its prefixes are kept."""

    model: Path
    file: Path
    engine: str

    def start(self, **options: Any) -> Engine:
        options = {"engine": self.engine, "cache_file": self.file, "cache_positions": 2048} | options
        return Engine.load(self.model, **options)

    def filled(self, *requests: Request, **options: Any) -> None:
        """An engine served these requests, and ended."""
        engine = self.start(**options)
        for request in requests:
            engine.generate(request)
        engine.save_cache()


@pytest.fixture(params=["torch", "native"])
def place(request: pytest.FixtureRequest, tiny_model: Decoder, byte_tokenizer: Tokenizer, tmp_path: Path) -> Place:
    save_decoder(tiny_model, tmp_path / "model", Path(byte_tokenizer._where))
    return Place(tmp_path / "model", tmp_path / "kept" / "prefixes.kv", request.param)


def prompt_rows(engine: Engine, request: Request) -> tuple[int, Any]:
    """How many tokens of the prompt were computed, and the answer's log-probabilities."""
    rows, step = [], engine.runner.step
    engine.runner.step = lambda chunks: (rows.append(len(chunks[0].tokens)), step(chunks))[1]  # type: ignore
    generation = engine.generate(request)
    engine.runner.step = step  # type: ignore[method-assign]
    return sum(rows) - generation.usage.completion_tokens + 1, generation.logprobs


def test_a_prompt_is_not_read_again_after_a_restart(place: Place) -> None:
    cold, told = prompt_rows(place.start(), ask())
    place.filled(ask())
    engine = place.start()
    warm, again = prompt_rows(engine, ask())
    assert again == told
    assert warm <= cold - 512 < cold
    engine.blocks.check()


def test_prefixes_of_adapters_come_back_with_the_same_adapter_only(place: Place, adapter_path: Path) -> None:
    tuned = {"adapters": {"tuned": adapter_path}}
    place.filled(ask(adapter="tuned"), **tuned)
    cold, told = prompt_rows(place.start(cache_file=None, **tuned), ask(adapter="tuned"))
    warm, again = prompt_rows(place.start(**tuned), ask(adapter="tuned"))
    assert again == told and warm <= cold - 512
    os.utime(adapter_path / "adapter_model.safetensors", (1, 1))
    assert prompt_rows(place.start(**tuned), ask(adapter="tuned")) == (cold, told)


def test_those_used_last_come_back_where_there_is_less_room(place: Place) -> None:
    first, last = ask("a" * 560), ask("b" * 560)
    place.filled(first, last)
    cold, _ = prompt_rows(place.start(cache_file=None), last)
    engine = place.start(cache_positions=800)
    assert prompt_rows(engine, last)[0] <= cold - 512
    engine.blocks.check()


def test_a_second_end_keeps_what_the_first_kept(place: Place) -> None:
    place.filled(ask("a" * 560))
    place.filled(ask("b" * 560))
    engine = place.start()
    assert all(prompt_rows(engine, ask(letter * 560))[0] < 128 for letter in "ab")


def test_a_file_of_another_cache_precision_is_said_and_ignored(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    if place.engine == "torch":
        pytest.skip("PyTorch's runner has one precision")
    place.filled(ask())
    narrow = place.start(cache_precision="int8")
    assert "of another model, precision" in capsys.readouterr().err and not narrow.blocks.known()
    cold, told = prompt_rows(narrow, ask())
    narrow.save_cache()
    warm, again = prompt_rows(place.start(cache_precision="int8"), ask())
    assert again == told and warm <= cold - 512
    assert not place.start().blocks.known()


@pytest.mark.parametrize("damage", ["cut", "bent", "other", "empty", "header"])
def test_a_damaged_file_is_said_and_ignored(place: Place, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    cold = prompt_rows(place.start(), ask())
    place.filled(ask())
    held = bytearray(place.file.read_bytes())
    if damage == "bent":
        held[-1000] ^= 1
    elif damage == "header":
        held[40] ^= 1
    changed = {"cut": bytes(held[:-5000]), "other": b"no such file", "empty": b""}.get(damage, bytes(held))
    place.file.write_bytes(changed)
    engine = place.start()
    assert "is damaged" in capsys.readouterr().err and not engine.blocks.known()
    assert prompt_rows(engine, ask()) == cold
    engine.save_cache()
    assert place.start().blocks.known(), "the file was not written again"


def test_a_file_of_another_model_is_said_and_ignored(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.filled(ask())
    os.utime(place.model / "model.safetensors", (1, 1))
    assert not place.start().blocks.known()
    assert "another model, precision or version" in capsys.readouterr().err


def test_a_file_of_another_precision_is_said_and_ignored(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENWERK_CACHE", str(tmp_path / "cache"))
    place.filled(ask(), engine="native")
    shutil.copy(place.file, tmp_path / "kept.kv")
    assert not place.start(engine="native", precision="int8").blocks.known()
    assert not place.start(engine="torch").blocks.known()
    assert capsys.readouterr().err.count("another model, precision or version") == 2


def test_blocks_go_through_bytes_unchanged(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    engine.generate(ask())
    blocks = [one.block for one in engine.blocks.known()][:3]
    data, runner = engine.runner.read_blocks(blocks), engine.runner
    empty = make_engine().runner
    empty.write_blocks([5, 0, 9], data)
    assert empty.read_blocks([5, 0, 9]) == data == b"".join(runner.read_blocks([block]) for block in blocks)
    assert any(data) and not any(empty.read_blocks([1]))
    with pytest.raises((ValueError, RuntimeError)):
        empty.write_blocks([1], data[:-4])


@given(
    prompts=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6), st.sampled_from([None, "a"])), max_size=8),
    room=st.integers(1, 12),
)
@settings(max_examples=100, deadline=None)
def test_what_is_adopted_is_found_as_before(prompts: list[tuple[int, int, str | None]], room: int) -> None:
    old, new = BlockManager(16), BlockManager(room)
    for token, size, adapter in prompts:
        tokens = [token] * (size * BLOCK + 1)
        table = old.open(adapter, tokens)
        assert old.extend(table, len(tokens))
        old.seal(table, tokens, len(tokens))
        old.close(table)
    for one in old.known():
        new.adopt(one.key, one.adapter)
        new.check()
    old.check()
    assert len(new.known()) == min(room, len(old.known())) and new.available == room
    if room >= len(old.known()):
        for token, size, adapter in prompts:
            tokens = [token] * (size * BLOCK + 1)
            assert new.open(adapter, tokens).sealed == old.open(adapter, tokens).sealed
