"""Invariant: whichever replica dies, and when, every request gets the bits it would have got from one engine alone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_chain

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.types import Constraint, Message, Request, Sampling
from genwerk.core.workspace import Workspace
from genwerk.inference.blocks import chain_of
from genwerk.inference.engine import Engine
from genwerk.inference.generation import Delta
from genwerk.inference.model_files import files_sha256
from genwerk.inference.text_engine import Asked
from genwerk.serving import replicas as module
from genwerk.serving.replicas import Added, Facts, LostError, Replicas


class LocalReplica:
    """An engine in this process that dies after `lives` more deltas, and comes back when `revive` is called."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make, self.engine = make, make()
        self._facts = Facts.of(self.engine)
        self.left: float = float("inf")
        self.asked: list[Asked] = []
        self.checked: list[Asked] = []
        self.dead, self._back = False, threading.Event()

    def die_after(self, deltas: int) -> None:
        self.left = deltas
        self._back.clear()

    def revive(self) -> None:
        self.engine, self.left, self.dead = self._make(), float("inf"), False
        self._facts = Facts.of(self.engine)
        self._back.set()

    def facts(self) -> Facts:
        if self.dead:
            self._back.wait()
        return self._facts

    def check(self, asked: Asked, added: Added | None) -> None:
        self.checked.append(asked)
        self._open(asked, added).close()

    def stream(self, asked: Asked, added: Added | None) -> Generator[Delta, None, None]:
        self.asked.append(asked)
        with closing(self._open(asked, added)) as deltas:
            for delta in deltas:
                self.left -= 1
                if self.left < 0:
                    self.dead = True
                    raise LostError("killed")
                yield delta

    def _open(self, asked: Asked, added: Added | None) -> Generator[Delta, None, None]:
        if self.dead:
            raise LostError("dead")
        if asked.adapter and asked.adapter not in self.engine.adapters:
            assert added is not None
            self.engine.add_adapter(asked.adapter, added.path)
        return self.engine.ask(asked)

    def add_adapter(self, name: str, added: Added) -> None:
        if self.dead:
            raise LostError("dead")
        self.engine.add_adapter(name, added.path)

    def remove_adapter(self, name: str) -> None:
        if name in self.engine.adapters:
            self.engine.remove_adapter(name)

    def save_cache(self) -> None: ...

    def close(self) -> None:
        self._back.set()


@pytest.fixture(scope="module")
def paths(tiny_workspace: Workspace) -> tuple[Path, Path]:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    return tiny_workspace.find(pinned["model"]).path, tiny_workspace.find(pinned["adapter"]).path


@pytest.fixture
def local(paths: tuple[Path, Path]) -> list[LocalReplica]:
    return [LocalReplica(lambda: Engine.load(paths[0], name="tiny", cache_positions=4096)) for _ in range(2)]


@pytest.fixture
def cluster(local: list[LocalReplica]) -> Iterator[Replicas]:
    made = Replicas(local, local[0].engine.tokenizer)
    yield made
    made.close()


def ask(number: int = 0, **sampling: object) -> Request:
    drawn = {"max_tokens": 24, "temperature": 1.0, "seed": number, "logprobs": 1, "min_tokens": 24}
    return Request((Message("user", f"Write {number} " * 9),), Sampling(**{**drawn, **sampling}))  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0, 1, 7, 23])
def test_a_stream_that_breaks_goes_on_to_the_bit(cluster: Replicas, local: list[LocalReplica], after: int) -> None:
    expected = list(local[1].engine.stream(ask()))
    local[0].die_after(after)
    assert list(cluster.stream(ask())) == expected
    assert local[0].dead and cluster.down == {0}
    assert len(local[0].asked) == len(local[1].asked) == 1


def test_under_load_no_request_is_lost(cluster: Replicas, local: list[LocalReplica], paths: tuple[Path, Path]) -> None:
    alone = Engine.load(paths[0], name="tiny")
    expected = [alone.generate(ask(number)) for number in range(12)]
    local[1].die_after(60)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda number: cluster.generate(ask(number)), range(12))) == expected
    assert local[1].dead and local[0].asked and local[1].asked


def test_one_that_comes_back_is_used_again(cluster: Replicas, local: list[LocalReplica]) -> None:
    local[0].die_after(3)
    cluster.generate(ask())
    local[0].revive()
    with cluster._changed:
        assert cluster._changed.wait_for(lambda: not cluster._down, 30)
    local[1].die_after(3)
    again = cluster.generate(ask())  # it was answered by the other one, which dies now
    assert cluster.down == {1} and local[0].asked[-1] == local[1].asked[-1]
    assert again == local[0].engine.generate(ask())


def test_a_request_waits_where_no_replica_is_there(cluster: Replicas, local: list[LocalReplica]) -> None:
    expected = local[0].engine.generate(ask())
    stream = cluster.stream(ask())
    local[0].die_after(2)
    local[1].die_after(4)
    found = [next(stream) for _ in range(4)]
    timer = threading.Timer(0.2, local[1].revive)
    timer.start()
    assert [delta.token for delta in (*found, *stream)] == list(expected.tokens)


def test_a_request_that_kills_whoever_answers_it_is_given_up(cluster: Replicas, local: list[LocalReplica]) -> None:
    stream = cluster.stream(ask())
    for replica in local:
        replica.die_after(2)
        replica.revive = lambda: None  # type: ignore[method-assign]
        replica.facts = lambda: cluster._facts  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="3 replicas died"):
        list(stream)


def test_another_token_ends_the_answer_instead_of_being_patched_in(
    cluster: Replicas, local: list[LocalReplica]
) -> None:
    local[0].die_after(3)
    genuine = local[1].stream
    local[1].stream = lambda asked, path: genuine(replace(asked, sampling=replace(asked.sampling, seed=99)), path)  # type: ignore[method-assign]
    stream = cluster.stream(ask())
    with pytest.raises(ModelError, match="another token at place"):
        list(stream)


def test_a_conversation_stays_with_its_replica(cluster: Replicas, local: list[LocalReplica]) -> None:
    talks: dict[int, tuple[Message, ...]] = {
        number: (Message("user", f"{number} tell me " * 30),) for number in range(4)
    }
    for _ in range(3):
        for number, said in talks.items():
            answer = cluster.generate(Request(said, Sampling(max_tokens=8)))
            talks[number] = (*said, Message("assistant", answer.text), Message("user", "and then?"))
    homes = [{asked.prompt[:80] for asked in replica.asked} for replica in local]
    assert len(homes[0]) == len(homes[1]) == 2 and not homes[0] & homes[1]


def test_a_stream_that_is_closed_is_closed_at_its_replica(cluster: Replicas, local: list[LocalReplica]) -> None:
    with closing(cluster.stream(ask())) as stream:
        next(stream)
        assert sum(cluster._busy) == 1
    assert sum(cluster._busy) == 0
    assert all(not replica.engine.scheduler.answering() for replica in local)


def test_unsound_requests_are_refused_before_any_work(cluster: Replicas, local: list[LocalReplica]) -> None:
    formless = replace(ask(), constraint=Constraint("regex", "("))
    for request in (ask(top_p=0.0), Request(()), replace(ask(), adapter="none"), ask(thinking_budget=1), formless):
        with pytest.raises(RequestError):
            cluster.stream(request)
    assert not any(replica.asked for replica in local) and sum(cluster._busy) == 0


def test_adapters_come_and_go_on_all_and_one_that_comes_back_learns_of_them(
    cluster: Replicas, local: list[LocalReplica], paths: tuple[Path, Path]
) -> None:
    cluster.add_adapter("tuned", paths[1])
    assert all(replica.engine.adapters == ("tuned",) for replica in local) and cluster.adapters == ("tuned",)
    request = replace(ask(), adapter="tuned")
    expected = local[1].engine.generate(request)
    local[0].die_after(1)
    assert cluster.generate(request) == expected
    local[0].revive()
    with cluster._changed:
        assert cluster._changed.wait_for(lambda: not cluster._down, 30)
    assert local[0].engine.adapters == ()
    local[1].die_after(1)
    assert cluster.generate(request) == expected
    local[1].dead, local[1].left = False, float("inf")  # it was out of reach, and has the adapter still
    local[1]._back.set()
    with cluster._changed:
        assert cluster._changed.wait_for(lambda: not cluster._down, 30)
    with pytest.raises(RequestError):
        cluster.add_adapter("tuned", paths[1])


@pytest.mark.parametrize("where", ["here", "at a replica"])
def test_an_adapter_that_cannot_be_read_is_on_none(
    where: str,
    cluster: Replicas,
    local: list[LocalReplica],
    paths: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(*((module, "files_sha256") if where == "here" else (local[1], "add_adapter")), fail)
        with pytest.raises(OSError, match="the disk is gone"):
            cluster.add_adapter("tuned", paths[1])
    assert cluster.adapters == () and set(cluster.file_hashes) == {None}
    assert not any(replica.engine.adapters for replica in local)
    cluster.add_adapter("tuned", paths[1])
    assert cluster.file_hashes["tuned"] == local[0].engine.file_hashes["tuned"]


def test_an_adapter_whose_files_are_others_is_refused(paths: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(paths[1], tmp_path / "tuned")
    added = Added(tmp_path / "tuned", files_sha256(paths[1]))
    added.check()
    changed = tmp_path / "tuned" / "adapter_config.json"
    changed.chmod(0o644)
    changed.write_text(changed.read_text() + " ")
    with pytest.raises(ModelError, match="files are others"):
        added.check()


def test_a_request_is_checked_where_it_is_answered(cluster: Replicas, local: list[LocalReplica]) -> None:
    with closing(cluster.stream(ask())) as busy:
        next(busy)
        for number in range(3):
            cluster.generate(replace(ask(number, seed=number), messages=ask().messages))
    assert [len(replica.asked) for replica in local] == [4, 0]
    assert [len(replica.checked) for replica in local] == [4, 0]


def test_an_adapter_that_is_removed_meanwhile_is_refused_and_not_loaded_again(
    cluster: Replicas, local: list[LocalReplica], paths: tuple[Path, Path]
) -> None:
    cluster.add_adapter("tuned", paths[1])
    stream = cluster.stream(replace(ask(), adapter="tuned"))
    cluster.remove_adapter("tuned")
    with pytest.raises(RequestError, match="no adapter 'tuned'"):
        next(stream)
    with pytest.raises(RequestError, match="no adapter 'tuned'"):
        cluster._answer(Asked((1, 2, 3), Sampling(), "tuned"))  # removed right behind the check
    assert not any(replica.asked or replica.engine.adapters for replica in local)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"title": "native int8 avx2"}, "title native .* and native int8 avx2"),
     ({"file_hashes": {None: "00ff"}}, "file_hashes .* and {None: '00ff'}")],
)  # fmt: skip
def test_replicas_that_would_compute_otherwise_or_serve_other_files_are_refused(
    local: list[LocalReplica], change: dict[str, Any], told: str
) -> None:
    local[1]._facts = replace(local[1]._facts, **change)
    with pytest.raises(ModelError, match=f"replicas differ: {told}") as refused:
        Replicas(local, local[0].engine.tokenizer)
    assert "the same files" in refused.value.remedy


def test_one_that_comes_back_with_other_files_is_not_used(
    cluster: Replicas, local: list[LocalReplica], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    monkeypatch.setattr(
        module, "say", lambda text, style="": told.set() if "is not used: file_hashes" in text else None
    )
    local[0].die_after(3)
    cluster.generate(ask())
    other = local[0].engine
    other.file_hashes = {None: "00ff"}
    local[0]._make = lambda: other
    local[0].revive()
    assert told.wait(30) and cluster.down == {0}


def test_nobody_waits_while_a_prompt_is_hashed(cluster: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[bool] = []

    def chain(*arguments: Any) -> tuple[bytes, ...]:
        locked.append(cluster._changed._is_owned())  # type: ignore[attr-defined]
        return chain_of(*arguments)

    monkeypatch.setattr(module, "chain_of", chain)
    cluster.generate(ask())
    assert locked and not any(locked)


def test_where_none_comes_back_the_request_ends_with_an_error(
    cluster: Replicas, local: list[LocalReplica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    stream = cluster.stream(ask())
    for replica in local:
        replica.die_after(1)
    with pytest.raises(ModelError, match="no replica has come back"):
        list(stream)
