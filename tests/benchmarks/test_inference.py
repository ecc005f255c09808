"""benchmarks/inference: what a peer does wrong never ends a run, and the bounds are computed as they are written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "benchmarks" / "inference"
WORKER = f"""
import sys
sys.path.insert(0, {str(PLACE / "workers")!r})
from protocol import Clock, Hello, UnsupportedError, serve

class Echo:
    def __init__(self, settings):
        if settings.variant == "absent":
            raise RuntimeError("there are no weights")
        print("a library greets")
        self.hello = Hello("1.0", weights_mb=3.0)

    def run(self, ask):
        print("a library chats")
        if ask.lookup:
            raise UnsupportedError("no lookup here")
        if ask.prompts == [[0]]:
            sys.exit("it fell over")
        if ask.prompts == [[1]]:
            raise ValueError("one is too few")
        clock = Clock()
        clock.tick()
        return clock.answer([[prompt[-1]] * (ask.new - (prompt == [2])) for prompt in ask.prompts])

serve(Echo)
"""


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLACE))


@pytest.fixture
def worker(tmp_path: Path) -> str:
    path = tmp_path / "echo.py"
    path.write_text(WORKER)
    return str(path)


@pytest.fixture
def echo(worker: str) -> Iterator[object]:
    from contestant import Contestant
    from workers.protocol import Settings

    with Contestant("echo", sys.executable, worker, Settings("", "", "", "whole")) as contestant:
        yield contestant


def test_answers_come_back_whatever_a_library_prints(echo) -> None:
    from workers.protocol import Ask

    assert echo.hello.weights_mb == 3.0
    answer = echo.ask(Ask([[5, 6], [5, 7]], 3))
    assert answer.tokens == [[6, 6, 6], [7, 7, 7]]
    assert 0 < answer.first <= answer.seconds
    assert echo.resident_mb() > 1


def test_what_goes_wrong_is_told_apart(echo) -> None:
    from contestant import FailedError
    from workers.protocol import Ask, UnsupportedError

    with pytest.raises(UnsupportedError, match="no lookup here"):
        echo.ask(Ask([[5]], 1, lookup=True))
    with pytest.raises(FailedError, match="one is too few"):
        echo.ask(Ask([[1]], 1))
    with pytest.raises(FailedError, match="tokens instead of"):
        echo.ask(Ask([[2]], 4))
    assert echo.ask(Ask([[5]], 1)).tokens == [[5]], "it goes on after an error"
    with pytest.raises(FailedError, match=r"status 1.*it fell over"):
        echo.ask(Ask([[0]], 1))


def test_a_peer_that_does_not_start_says_why(worker: str) -> None:
    from contestant import Contestant, FailedError
    from workers.protocol import Settings

    with pytest.raises(FailedError, match="there are no weights"):
        Contestant("echo", sys.executable, worker, Settings("", "", "", "absent"))


def test_every_turn_asks_something_new_of_the_size_it_says() -> None:
    from scenarios import SCENARIOS, Text

    text = Text(range(100_000))
    for name, scenario in SCENARIOS.items():
        asks = [scenario.ask(text, turn, 128) for turn in range(5)]
        assert len({tuple(ask.prompts[0]) for ask in asks}) == 5, name
        assert len({len(prompt) for ask in asks for prompt in ask.prompts}) == 1, name
        assert scenario.ask(text, 3, 128) == asks[3], "ours and the peer's turn ask the same"
    prompts = SCENARIOS["prefix"].ask(text, 0, 128).prompts
    assert len(prompts) == 16 and len({tuple(prompt[:512]) for prompt in prompts}) == 1
    assert len({tuple(prompt[512:]) for prompt in prompts}) == 16


def test_shared_beginnings_leave_every_prompt_a_token_of_its_own() -> None:
    from workers.protocol import common_prefix

    same = list(range(40))
    assert common_prefix([[*same, 1], [*same, 2, 3]]) == same
    assert common_prefix([same, same]) == same[:39]
    assert common_prefix([same]) == [] == common_prefix([[1, 2], [1, 3]])


def test_bounds_compare_with_the_best_peer_of_the_precision() -> None:
    from alone import Held, Memory, Shared
    from report import Pair, Results, verdicts

    def pairs(scenario: str, peer: str, precision: str, ours: float, theirs: float) -> list[Pair]:
        return [Pair(scenario, peer, precision, ours * noise, theirs * noise) for noise in (0.9, 1.0, 1.1)]

    results = Results(
        pairs=[
            *pairs("single", "slow INT8", "int8", 100, 40),
            *pairs("single", "quick INT8", "int8", 100, 100),
            *pairs("single", "quicker F32", "float32", 30, 500),
            *pairs("prompt", "slow INT8", "int8", 1600, 400),
            *pairs("prompt", "quicker F32", "float32", 300, 1000),
        ],
        bandwidth=[20.0],
        weights_mb={"int8": 100.0},
        memory={"int8": Memory(resident=500, weights=100, cache=200)},
        held={"int8": [Held(100, 90)]},
        shared={"int8": [Shared("single", 100, 80), Shared("sixteen", 400, 200)]},
    )
    lines = list(verdicts(results))
    assert "1  one stream, 128 in, 128 out, int8 100.0 beside quick INT8 100.0, ratio: 1.00, wanted at least 1.25: " \
        "falls short by 20%" in lines  # fmt: skip
    assert any("int8 1600.0 beside quicker F32 1000.0, ratio of medians: 1.60" in line for line in lines)
    assert any(
        line.startswith("1  share") and "0.50, wanted at least 0.6: falls short by 17%" in line for line in lines
    )
    assert any(line.startswith("6  one stream") and "0.80, wanted at least 0.75: holds" in line for line in lines)
    assert any(line.startswith("6  16") and "0.50, wanted at least 0.75: falls short by 33%" in line for line in lines)
    assert any(line.startswith("7") and "200.00, wanted at most 250: holds" in line for line in lines)
    assert any(line.startswith("8") and "0.10, wanted at most 0.05: falls short by 0.05" in line for line in lines)
    assert sum("not measured" in line for line in lines) == 6


def test_starts_are_told_with_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import alone
    from report import Results, line_of_starts, verdicts

    worker = tmp_path / "starts.py"
    worker.write_text(
        "import os; print('{\"imports\": 0.5, \"load\": 0.25, \"token\": ' + os.environ['OMP_NUM_THREADS'] + '}')"
    )
    monkeypatch.setattr(alone, "STARTED", worker)
    starts = alone.start(tmp_path, "int8", 2, threads=3)
    assert [(one.imports, one.load, one.token) for one in starts] == [(0.5, 0.25, 3.0)] * 2
    starts = [alone.Start(1.5, 0.5, 0.25, 0.5), alone.Start(1.7, 0.7, 0.25, 0.5)]
    assert line_of_starts(starts) == (
        "first token 1.60 (1.50–1.70) s after a start, of which "
        "imports 0.60 (0.50–0.70), load 0.25 (0.25–0.25), token 0.50 (0.50–0.50)"
    )
    line = "-  s from a start to the first token, int8: 1.60, wanted at most 1: falls short by 0.60"
    assert line in list(verdicts(Results(starts={"int8": starts})))


def test_a_start_that_fails_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import alone
    from contestant import FailedError

    with pytest.raises(FailedError, match="ended with status 1"):
        alone.start(tmp_path / "absent", "int8", 1, threads=1)
    assert "absent" in capfd.readouterr().err


def test_drawing_needs_no_peer(tmp_path: Path) -> None:
    from draw import draw

    curves = {"batch": {"1": [90.0, 100.0], "64": [600.0, 700.0]}, "context": {"128": [99.0], "8192": [40.0]}}
    draw({"growth": {"int8": curves}, "pairs": []}, tmp_path / "growth.svg")
    picture = (tmp_path / "growth.svg").read_text()
    assert "8,192" in picture and "int8" in picture
