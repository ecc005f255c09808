"""A draft changes how many steps an answer takes and nothing else; it forgets what was rejected and gives all back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.errors import ModelError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference import draft_model
from genwerk.inference.draft_model import DraftModel, Follower
from genwerk.inference.engine import Engine
from genwerk.inference.generation import Generation
from genwerk.inference.logits import Logits
from genwerk.inference.model_runner import make_runner
from genwerk.inference.prompt_lookup import PromptLookup
from genwerk.inference.runner import BLOCK, Chunk, Runner
from genwerk.inference.speculation import Draft, Pace, StepTimes
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.huggingface import save_decoder
from genwerk.models.lora import load_adapter
from genwerk.models.shortlist import read_shortlist, shorten, write_shortlist
from genwerk.tokenizers.tokenizer import Tokenizer

SHAPE = DecoderConfig(
    vocab_size=258, d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=32, max_positions=1024,
    sliding_window=64, architecture="mistral",
)  # fmt: skip


class Always(Pace):
    """The same k in every step."""

    def __init__(self, k: int) -> None:
        free = StepTimes([1], [1.0])
        super().__init__(free, free)
        self.k = k

    def next(self, chances: Sequence[float]) -> int:
        return self.k if chances else 0


def ask(text: str = "Hello", *, adapter: str | None = None, **sampling: Any) -> Request:
    return Request((Message("user", text),), Sampling(**{"max_tokens": 60, **sampling}), adapter)


def essence(generation: Generation) -> tuple[object, ...]:
    return generation.tokens, generation.text, generation.logprobs, generation.finish_reason, generation.usage


def small_model() -> Decoder:
    torch.manual_seed(3)
    return Decoder(SHAPE).eval()


def make_draft(model: Decoder, k: int = 3, **options: Any) -> DraftModel:
    positions = options.pop("positions", 4096)
    return DraftModel(
        make_runner(model, engine="native", precision="float32", positions=positions), Always(k), **options
    )


@pytest.fixture
def serve(tiny_model: Decoder, byte_tokenizer: Tokenizer) -> Callable[..., Engine]:
    """serve(draft) is an engine of `tiny_model` on the native runner."""

    def make(draft: DraftModel | None = None, *, positions: int = 8192, **options: Any) -> Engine:
        adapters = options.pop("adapters", ())
        runner = make_runner(
            tiny_model, engine="native", precision="float32", positions=positions, adapters=tuple(adapters)
        )
        return Engine(runner, byte_tokenizer, name="tiny", draft=draft, **options)

    return make


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.2])
@pytest.mark.parametrize("kind", ["the target itself", "another model", "a few words"])
def test_a_draft_changes_no_bit(
    serve: Callable[..., Engine], tiny_model: Decoder, kind: str, temperature: float
) -> None:
    model = tiny_model if kind == "the target itself" else small_model()
    words = torch.arange(32, 96) if kind == "a few words" else None
    draft = make_draft(
        model if words is None else shorten(model, words), words=None if words is None else words.numpy()
    )
    engine, plain = serve(draft), serve(speculate=False)
    for seed in range(3):
        for text in ("Hello", "to be or not to be " * 20):
            request = ask(text, temperature=temperature, seed=seed, logprobs=3, repetition_penalty=1.1)
            assert essence(engine.generate(request)) == essence(plain.generate(request))
    assert draft.blocks.available == draft.blocks.count


def test_a_draft_that_is_the_target_takes_a_step_for_all_it_foretells(
    serve: Callable[..., Engine], tiny_model: Decoder
) -> None:
    draft = make_draft(tiny_model, k=4, lookup=False)
    engine = serve(draft)
    steps, small = count_steps(engine.runner), count_steps(draft.runner)
    tokens = len(engine.generate(ask(max_tokens=200)).tokens)
    assert tokens > 20
    assert len(steps) == 1 + -(-(tokens - 1) // 5)  # the prompt with the first token, then five by five
    assert len(small) <= 4 * (len(steps) - 1)


def test_the_draft_takes_one_small_step_for_all_sequences(serve: Callable[..., Engine]) -> None:
    draft = make_draft(small_model(), k=3, lookup=False)
    engine = serve(draft)
    steps, small = count_steps(engine.runner), count_steps(draft.runner)
    list(zip(*(engine.stream(ask(f"{n} question", seed=n, temperature=1.0)) for n in range(6)), strict=False))
    assert max(len(chunks) for chunks in small) >= 5
    assert len(small) <= 3 * len(steps)


def test_what_is_foretold_is_what_the_draft_says_after_the_true_text(serve: Callable[..., Engine]) -> None:
    """Whatever was rejected before, cached positions hold the true text and nothing else."""
    model = small_model()
    draft = make_draft(model, k=3, lookup=False)
    looked: list[int] = []
    foretell = draft.foretell

    def check(drafts: Any) -> None:
        followers = list(drafts)
        foretell(followers)
        for one in followers:
            ids = list(one.tokens)
            for token in one.ahead:
                with torch.no_grad():
                    assert token == int(model(torch.tensor([ids]))[0, -1].argmax())
                ids.append(token)
            looked.append(len(one.ahead))

    draft.foretell = check  # type: ignore[method-assign]
    engine = serve(draft)
    list(zip_longest(*(engine.stream(ask(f"{n}" * 40, temperature=0.9, seed=n)) for n in range(3))))
    assert looked.count(3) > 30


def test_sequences_that_gave_their_blocks_back_go_on_with_the_same_bits(serve: Callable[..., Engine]) -> None:
    requests = [ask(f"{n} question" * 20, temperature=1.0, seed=n, logprobs=2, max_tokens=150) for n in range(6)]
    plain = serve(speculate=False)
    alone = [plain.generate(request).tokens for request in requests]
    for positions in (512, 4096):  # the draft's own blocks run out too, or do not
        draft = make_draft(small_model(), positions=positions)
        tight = serve(draft, positions=1024)
        rows = zip_longest(*(tight.stream(request) for request in requests))
        got = zip(*([delta.token if delta else None for delta in row] for row in rows), strict=True)
        assert [tuple(token for token in tokens if token is not None) for tokens in got] == alone
        draft.blocks.check()
        assert draft.blocks.available == draft.blocks.count


def test_closing_a_stream_gives_the_drafts_blocks_back(serve: Callable[..., Engine]) -> None:
    draft = make_draft(small_model())
    stream = serve(draft).stream(ask(max_tokens=500))
    for _ in range(5):
        next(stream)
    assert draft.blocks.available < draft.blocks.count
    stream.close()
    assert draft.blocks.available == draft.blocks.count


def test_adapters_are_served_beside_a_draft_that_has_none(
    serve: Callable[..., Engine], tiny_model: Decoder, adapter_path: Path
) -> None:
    load_adapter(tiny_model, "tuned", adapter_path)
    engine, plain = serve(make_draft(small_model()), adapters=("tuned",)), serve(speculate=False, adapters=("tuned",))
    assert essence(engine.generate(ask(adapter="tuned"))) == essence(plain.generate(ask(adapter="tuned")))


def test_a_long_prompt_is_read_in_pieces(serve: Callable[..., Engine]) -> None:
    draft = make_draft(small_model(), k=2, lookup=False)
    small = count_steps(draft.runner)
    serve(draft).generate(ask("abcdefgh " * 90))
    assert max(sum(len(chunk.tokens) for chunk in chunks) for chunks in small) <= 256


def test_near_the_end_of_its_context_nothing_is_foretold(serve: Callable[..., Engine]) -> None:
    draft = make_draft(small_model(), k=3, lookup=False)
    engine = serve(draft)
    request = ask("x" * 930, max_tokens=200, logit_bias=((257, -100.0),))
    assert essence(engine.generate(request)) == essence(serve(speculate=False).generate(request))


@pytest.mark.parametrize("harm", ["raises", "says nan"])
def test_a_broken_draft_costs_no_answer(
    serve: Callable[..., Engine], harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(draft_model, "say", lambda text, **_: said.append(text))
    draft = make_draft(small_model())
    engine, plain = serve(draft), serve(speculate=False).generate(ask())
    if harm == "raises":
        draft.runner.step = lambda chunks: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    else:
        draft.runner.step = lambda chunks: np.full((len(chunks), 258), np.nan, np.float32)  # type: ignore[method-assign]
    for _ in range(2):
        assert essence(engine.generate(ask())) == essence(plain)
    assert len(said) == (harm == "raises")
    assert draft.blocks.available == draft.blocks.count


def test_another_vocabulary_is_refused_with_the_first_difference(
    tiny_model: Decoder, byte_tokenizer: Tokenizer, tokenizer_files: Path, tmp_path: Path
) -> None:
    runner = make_runner(tiny_model, engine="native", precision="float32", positions=512)
    save_decoder(small_model(), tmp_path / "draft", tokenizer_files)
    assert DraftModel.load(tmp_path / "draft", runner, byte_tokenizer) is not None
    file = tmp_path / "draft" / "tokenizer.json"
    file.write_text(file.read_text().replace('"a":', '"swap":').replace('"b":', '"a":').replace('"swap":', '"b":'))
    with pytest.raises(ModelError, match=r"token 64 is 'b' there and 'a' in the target.*genwerk distill"):
        DraftModel.load(tmp_path / "draft", runner, byte_tokenizer)
    larger = Decoder(DecoderConfig(300, 16, 1, 2, 1, 8, 32, 1024))
    save_decoder(larger, tmp_path / "larger", tokenizer_files)
    with pytest.raises(ModelError, match="300 tokens, the target 258"):
        DraftModel.load(tmp_path / "larger", runner, byte_tokenizer)


def test_an_engine_loads_its_draft_with_the_words_it_may_say(
    tiny_model: Decoder, tokenizer_files: Path, tmp_path: Path
) -> None:
    save_decoder(tiny_model, tmp_path / "model", tokenizer_files)
    save_decoder(small_model(), tmp_path / "draft", tokenizer_files)
    write_shortlist(tmp_path / "draft", torch.arange(0, 128, 2))
    engine = Engine.load(tmp_path / "model", draft=tmp_path / "draft", engine="native")
    plain = Engine.load(tmp_path / "model", speculate=False, engine="native")
    request = ask(temperature=0.8, seed=4)
    assert engine.generate(request) == plain.generate(request)  # receipts included
    words = read_shortlist(tmp_path / "draft", 258)
    assert words is not None and words.tolist() == list(range(0, 128, 2))


def test_a_damaged_list_of_words_is_refused(tmp_path: Path) -> None:
    for words in ([1, 2, 3], [*range(31), 258]):
        write_shortlist(tmp_path, torch.tensor(words))
        with pytest.raises(ModelError, match=r"shortlist\.json does not list a multiple of 32 words below 258"):
            read_shortlist(tmp_path, 258)


def test_a_target_that_computes_token_by_token_says_that_it_uses_no_draft(
    tiny_model: Decoder, byte_tokenizer: Tokenizer, tokenizer_files: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    said: list[str] = []
    monkeypatch.setattr(draft_model, "say", lambda text, **_: said.append(text))
    save_decoder(small_model(), tmp_path, tokenizer_files)
    runner = make_runner(tiny_model, engine="torch", positions=512)
    assert DraftModel.load(tmp_path, runner, byte_tokenizer) is None
    assert "token by token" in said[0]


class Recorder:
    """A runner whose next token is a number made of all tokens it finds in the blocks of a sequence."""

    config, precision, aligned, blocks, adapters, title = SHAPE, "float32", 1, 12, (), "recorder"

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], int] = {}

    def step(self, chunks: Sequence[Chunk]) -> Logits:
        for chunk in chunks:
            for at, token in enumerate(chunk.tokens, start=chunk.start):
                self.cells[chunk.table[at // BLOCK], at % BLOCK] = token
        said = [self.after([self.cells[chunk.table[at // BLOCK], at % BLOCK] for at in range(length(chunk))])
                for chunk in chunks]  # fmt: skip
        return np.eye(SHAPE.vocab_size, dtype=np.float32)[said]

    @staticmethod
    def after(tokens: Sequence[int]) -> int:
        return zlib.crc32(repr(list(tokens)).encode()) % 5


def length(chunk: Chunk) -> int:
    return chunk.start + len(chunk.tokens)


@pytest.mark.parametrize("kind", ["lookup", "draft", "both"])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.booleans()), max_size=40))
def test_every_draft_keeps_the_protocol(kind: str, steps: list[tuple[int, int, bool]]) -> None:
    """It may be asked at any time, proposes at most what is asked for, and may be released and go on."""
    model = DraftModel(Recorder(), Always(3), lookup=kind == "both")
    one: Draft = PromptLookup([1, 2, 3]) if kind == "lookup" else model.follow([1, 2, 3])
    for token, most, release in steps:
        model.foretell([one, None])
        proposed = one.propose(most)
        assert len(proposed) <= most and all(0 <= word < SHAPE.vocab_size for word in proposed)
        assert one.propose(most) == proposed  # asking changes nothing
        accepted = next((n for n, word in enumerate(proposed) if word != token), len(proposed))
        for word in [*proposed[:accepted], token]:
            one.extend(word)
        if proposed:
            one.learn(len(proposed), accepted)
        if release:
            one.release()
    one.release()
    assert model._works and model.blocks.available == model.blocks.count


moves = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["right", "wrong", "ahead", "release"])), max_size=60)


@settings(max_examples=60, deadline=None)
@given(moves, st.integers(1, 4))
def test_whatever_happens_the_cache_holds_the_true_text(moves: list[tuple[int, str]], k: int) -> None:
    draft = DraftModel(Recorder(), Always(k), lookup=False)
    followers = [draft.follow([number] * (20 + 30 * number)) for number in range(3)]
    for number, move in moves:
        one = followers[number]
        if move == "release":
            one.release()
        elif move == "ahead":
            draft.foretell(followers)
            for other in followers:
                assert len(other.ahead) in (0, k)
                check_foretold(other)
        else:
            right = one.ahead[0] if one.ahead else 0
            one.extend(right if move == "right" else (right + 1) % 5)
        draft.blocks.check()
    assert draft._works
    for one in followers:
        one.release()
    assert draft.blocks.available == draft.blocks.count


def check_foretold(one: Follower) -> None:
    for at, token in enumerate(one.ahead):
        assert token == Recorder.after([*one.tokens, *one.ahead[:at]])


def count_steps(runner: Runner) -> list[Sequence[Chunk]]:
    """A list that grows with every step."""
    seen: list[Sequence[Chunk]] = []
    step = runner.step
    runner.step = lambda chunks: (seen.append(chunks), step(chunks))[1]  # type: ignore[method-assign]
    return seen
