"""Ray Serve with two replicas here: one is killed under load, and every request gets its whole, right answer."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_chain
import torch

from genwerk.core.errors import ConfigError, GenwerkError, ModelError, RequestError
from genwerk.core.types import Constraint, Message, Request, Sampling
from genwerk.core.workspace import Workspace
from genwerk.inference.engine import Engine
from genwerk.inference.model_files import files_sha256
from genwerk.serving.cluster import EngineProcess, connect, start_replicas
from genwerk.serving.replicas import Added, Replicas

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments")  # within Ray
WITHOUT_RAY = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install 'genwerk[cluster]'"
)


@dataclass
class Setting:
    """Two replicas, an engine like theirs in this process and what makes it, and an adapter."""

    cluster: Replicas
    make: Callable[[], Engine]
    alone: Engine
    adapter: Path


@pytest.fixture(scope="module")
def setting(tiny_workspace: Workspace) -> Iterator[Setting]:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    model, adapter = (tiny_workspace.find(pinned[part]).path for part in ("model", "adapter"))
    make = partial(Engine.load, model, name="tiny")
    alone = make()
    with closing(start_replicas("tiny", [make, make], alone.tokenizer, address="local")) as cluster:
        yield Setting(cluster, make, alone, adapter)


def ask(number: int, **sampling: object) -> Request:
    drawn = {"max_tokens": 60, "temperature": 1.0, "seed": number, "logprobs": 1, "min_tokens": 60}
    messages = (Message("user", f"Write {number} " * 9),)
    return Request(messages, Sampling(**{**drawn, **sampling}))  # type: ignore[arg-type]


def processes(cluster: Replicas) -> list[int]:
    return [replica._handle.process.remote().result() for replica in cluster._replicas]  # type: ignore[attr-defined]


@WITHOUT_RAY
@pytest.mark.slow
def test_one_of_two_is_killed_under_load_and_no_request_is_lost(setting: Setting) -> None:
    cluster, requests = setting.cluster, [ask(number) for number in range(24)]
    expected = [setting.alone.generate(request) for request in requests]
    victim, under_way = processes(cluster)[0], threading.Event()

    def answer(request: Request) -> object:
        deltas = []
        for delta in cluster.stream(request):
            deltas.append(delta)
            if len(deltas) > 5 and cluster._busy[0] > 2:
                under_way.set()
        return tuple(delta.token for delta in deltas), "".join(delta.text for delta in deltas)

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(answer, request) for request in requests]
        assert under_way.wait(60)
        os.kill(victim, signal.SIGKILL)
        found = [answer.result(60) for answer in answers]
    assert found == [(generation.tokens, generation.text) for generation in expected]
    with cluster._changed:
        assert cluster._changed.wait_for(lambda: not cluster._down, 60), "the dead replica was not replaced"
    assert victim not in processes(cluster)
    assert cluster.generate(requests[0]) == expected[0]


@WITHOUT_RAY
@pytest.mark.slow
def test_errors_forms_adapters_and_receipts_are_those_of_one_engine(setting: Setting) -> None:
    cluster, alone = setting.cluster, setting.alone
    with pytest.raises(RequestError) as refused:
        cluster.stream(ask(1, top_p=0.0))
    assert refused.value.param == "top_p"
    with pytest.raises(RequestError):
        cluster.stream(replace(ask(1), constraint=Constraint("regex", "(")))
    for engine in (cluster, alone):
        engine.add_adapter("tuned", setting.adapter)
    request = Request(
        (Message("user", "Say"),), Sampling(max_tokens=12), "tuned", constraint=Constraint("regex", "[a-f]{9}")
    )
    assert cluster.generate(request) == alone.generate(request)
    cluster.remove_adapter("tuned")
    with pytest.raises(RequestError, match="no adapter"):
        cluster.stream(request)
    assert cluster.title == alone.title and cluster.max_context == alone.max_context


@WITHOUT_RAY
@pytest.mark.slow
def test_a_reader_who_leaves_ends_the_work_at_the_replica(setting: Setting) -> None:
    with closing(setting.cluster.stream(ask(1))) as stream:
        next(stream)
    assert sum(setting.cluster._busy) == 0
    assert setting.cluster.generate(ask(2)) == setting.alone.generate(ask(2))


@WITHOUT_RAY
@pytest.mark.slow
def test_servers_of_one_name_share_a_cluster_and_their_replicas_load_side_by_side(
    setting: Setting, tmp_path: Path
) -> None:
    make, expected, places = setting.make, setting.alone.generate(ask(1)), [tmp_path / "one", tmp_path / "two"]

    def meet(mine: Path, other: Path) -> Engine:  # makes one only while the other is being made
        mine.touch()
        ended = time.monotonic() + 20
        while not other.exists():
            assert time.monotonic() < ended, "the other replica is not being made"
            os.sched_yield()
        return make()

    makers = [partial(meet, *pair) for pair in (places, places[::-1])]
    start = partial(start_replicas, "tiny", tokenizer=setting.alone.tokenizer)
    with closing(start(makers=makers, server="127.0.0.1:8000")) as one:
        with closing(start(makers=[make], server="[::1]:8000")) as other:
            theirs = processes(one), processes(other)
            assert len({*theirs[0], *theirs[1], *processes(setting.cluster)}) == 5
            again = start(makers=[make], server="[::1]:8000")  # as after a kill that left `other` behind
            assert again.generate(ask(1)) == expected and processes(again) != theirs[1]
        assert processes(one) == theirs[0] and one.generate(ask(1)) == expected
    assert setting.cluster.generate(ask(1)) == expected


def test_adapters_of_a_replica_change_one_at_a_time_and_only_to_the_files_that_were_named(tmp_path: Path) -> None:
    changing, threads = threading.Lock(), torch.get_num_threads()

    class Changing:
        name, title, max_context, markers, file_hashes = "tiny", "native", 64, None, dict[str | None, str]()
        adapters: tuple[str, ...] = ()

        def add_adapter(self, name: str, path: Path) -> None:
            with self.change():
                self.adapters = (*self.adapters, name)

        def remove_adapter(self, name: str) -> None:
            with self.change():
                self.adapters = tuple(one for one in self.adapters if one != name)

        @contextmanager
        def change(self) -> Iterator[None]:
            assert changing.acquire(blocking=False), "two change the adapters at a time"
            for _ in range(100):
                os.sched_yield()
            yield
            changing.release()

    engine = Changing()
    process = EngineProcess(lambda: engine, threads)  # type: ignore[arg-type, return-value]
    added = Added(tmp_path, files_sha256(tmp_path))

    async def change() -> list[GenwerkError | None]:
        tasks = ("add_adapter", "tuned", added), ("remove_adapter", "tuned")
        return await asyncio.gather(*(process.run(*tasks[number % 2]) for number in range(40)))

    assert asyncio.run(change()) == [None] * 40
    assert len(engine.adapters) <= 1
    refused = asyncio.run(process.run("add_adapter", "other", Added(tmp_path, "00ff")))
    assert isinstance(refused, ModelError) and "other" not in engine.adapters


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not there
    with pytest.raises(ConfigError, match=r"genwerk\[cluster\]"):
        start_replicas("tiny", [], None)  # type: ignore[arg-type]


class FakeRay:
    """Ray that was not started; `there` is the cluster that it knows of here."""

    def __init__(self, there: str = "") -> None:
        self.there, self.begun = there, list[str]()
        self.serve = SimpleNamespace(start=lambda **options: None)
        self.services = SimpleNamespace(canonicalize_bootstrap_address=self.find)

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **options: object) -> None:
        self.begun.append(address)

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address=self.begun[-1])

    def find(self, address: str) -> str:
        if not self.there:
            raise ConnectionError("Could not find any running Ray instance.")
        return self.there


@pytest.fixture
def make_ray(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRay]:
    def make(there: str = "") -> FakeRay:
        made = FakeRay(there)
        for name, module in (("", made), (".serve", made.serve), ("._private", made)):
            monkeypatch.setitem(sys.modules, f"ray{name}", module)  # type: ignore[arg-type]
        return made

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return make


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address where nobody listens, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def heard() -> Iterator[str]:
    """An address where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("named", ["argument", "RAY_ADDRESS"])
def test_a_named_cluster_that_does_not_answer_is_said_at_once(
    named: str, make_ray: Callable[..., FakeRay], deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = make_ray()
    for address in (deaf, "nowhere", "127.0.0.1:port", "127.0.0.1:99999"):
        monkeypatch.setenv("RAY_ADDRESS", address if named == "RAY_ADDRESS" else "")
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at {address}") as refused:
            connect("" if named == "RAY_ADDRESS" else address)
        assert "ray start --head" in refused.value.remedy and "RAY_ADDRESS" in refused.value.remedy
    assert ray.begun == []


def test_a_cluster_that_answers_is_taken_and_none_is_started(
    make_ray: Callable[..., FakeRay], heard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = make_ray(heard)
    assert connect("") == (ray, False) and connect(heard) == (ray, False)
    monkeypatch.setenv("RAY_ADDRESS", heard)
    assert connect("") == (ray, False)
    assert ray.begun == ["auto", heard, heard]


def test_without_a_cluster_ray_is_started_here_and_once(
    make_ray: Callable[..., FakeRay], deaf: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, there, said in (("", "", ""), ("", deaf, deaf), ("local", deaf, "")):
        ray = make_ray(there)
        assert connect(address) == (ray, True) and ray.begun == ["local"]
        assert said in capsys.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", "local")
    ray = make_ray(deaf)
    assert connect("") == (ray, True) and ray.begun == ["local"]
    with pytest.raises(ConfigError, match="no Ray cluster answers at auto"):
        make_ray() and connect("auto")
