"""Keys and values in int8, asked of the engine: as much memory, more positions, the same promises; else refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from genwerk.core.errors import ModelError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.engine import Delta, Engine
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.receipt import Receipt, cache_of, loading_of, window_of
from genwerk.inference.several import take_turns
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import save_decoder
from genwerk.tokenizers.tokenizer import Tokenizer


@pytest.fixture
def directory(tiny_model: Decoder, byte_tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_decoder(tiny_model, tmp_path / "model", Path(byte_tokenizer._where))
    return tmp_path / "model"


def load(directory: Path, cache: str, positions: int | None = None, **options: object) -> Engine:
    return Engine.load(
        directory, engine="native", precision="int8", cache_precision=cache, cache_positions=positions, **options
    )  # type: ignore[arg-type]


def bytes_of(engine: Engine) -> int:
    assert isinstance(engine.runner, NativeDecoder)
    return engine.runner.keys.nbytes + engine.runner.values.nbytes


def test_the_memory_of_two_contexts_holds_more_positions(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide, narrow = load(directory, "auto"), load(directory, "int8")
    block = bytes_of(narrow) // narrow.runner.blocks
    assert bytes_of(wide) - block < bytes_of(narrow) <= bytes_of(wide)
    assert narrow.runner.blocks > 1.5 * wide.runner.blocks
    assert "kept in int8, as asked" in capsys.readouterr().err


def test_positions_that_are_asked_for_are_given(directory: Path) -> None:
    assert load(directory, "int8", 320).runner.blocks == 10


def test_answers_are_the_same_with_preemption_and_prefixes_as_with_neither(directory: Path) -> None:
    def ask(number: int) -> Request:
        text = "what all of them begin with " * 3 + str(number)
        return Request((Message("user", text),), Sampling(max_tokens=30, temperature=0.9, seed=number, logprobs=1))

    roomy, tight = load(directory, "int8", 4096, share_prefixes=False), load(directory, "int8", 288, max_context=256)
    alone = [roomy.generate(ask(number)).logprobs for number in range(4)]
    told: list[list[Delta]] = [[] for _ in alone]
    for number, delta in take_turns([tight.stream(ask(number)) for number in range(4)]):
        told[number].append(delta)
    for one, other in zip(alone, told, strict=True):
        assert list(one) == [delta.logprob for delta in other]
    tight.blocks.check()


def test_a_title_and_its_receipt_name_the_cache(directory: Path) -> None:
    engine = load(directory, "int8", 320, window=40, sinks=4)
    assert ", cache int8, window 40 and 4 sinks" in engine.title
    receipt = Receipt("m", None, "", Sampling(), {"runner": engine.title})
    assert (cache_of(receipt), window_of(receipt), loading_of(receipt)) == ("int8", (40, 4), ("native", "int8"))
    assert cache_of(Receipt("m", None, "", Sampling(), {"runner": load(directory, "auto", 320).title})) == "auto"


def test_pytorch_refuses_it_and_says_what_to_do(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"PyTorch.*int8.*cache_precision"):
        Engine.load(directory, engine="torch", cache_precision="int8")
    with pytest.raises(ModelError, match="no cache precision `int4`"):
        Engine.load(directory, cache_precision="int4")

    def missing(_: str) -> None:
        raise NativeUnavailableError("there is no C++ compiler")

    monkeypatch.setattr("genwerk.inference.runner_choice.load_library", missing)
    with pytest.raises(ModelError, match="engine: native"):
        Engine.load(directory, cache_precision="int8")
