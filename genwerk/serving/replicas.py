"""Several engines as one: each request to the replica that knows its beginning, and on to another if that one dies.

    request ─ check ─ Router ─ replica ─ deltas ─┬─ caller
                        ▲                        │ the replica is lost after k deltas
                        └── another replica ─────┘ that makes them again; its first k are compared and left out

An answer depends on nothing but its request, so another replica makes the same tokens, bit by bit, and the caller sees
one stream without a gap. Replicas that would compute otherwise (another version, precision or instruction set) are
refused when they start, and a token that comes out otherwise ends the answer with an error instead of a patched text.

Chosen:   a request that has cost three replicas their lives is given up: it may well be what kills them.
Left out: replicas that come and go while serving; how many there are is said at the start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from collections.abc import Sequence as Tokens
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, Self

from genwerk.core.errors import GenwerkError, ModelError
from genwerk.core.progress import say
from genwerk.inference.blocks import chain_of
from genwerk.inference.generation import Delta
from genwerk.inference.limits import check_adapter, check_new_adapter
from genwerk.inference.model_files import files_sha256
from genwerk.inference.reasoning import Markers
from genwerk.inference.text_engine import Asked, TextEngine
from genwerk.serving.routing import Router
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Added", "Facts", "LostError", "Replica", "Replicas"]

_LIVES = 3
_PATIENCE = 300.0  # seconds to wait where no replica is there
_PAUSE = 1.0  # seconds between two looks for one that died


@dataclass(frozen=True, slots=True)
class Facts:
    """What a replica says of its engine, as it was when it was started."""

    name: str
    title: str
    max_context: int
    markers: Markers | None
    adapters: tuple[str, ...]
    file_hashes: Mapping[str | None, str]

    @classmethod
    def of(cls, engine: TextEngine) -> Self:
        adapters, hashes = tuple(sorted(engine.adapters)), dict(engine.file_hashes)
        return cls(engine.name, engine.title, engine.max_context, engine.markers, adapters, hashes)

    def differences(self, other: Facts) -> str:
        """What `other` has otherwise, by name; empty where nothing is."""
        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        return ", ".join(f"{name} {ours} and {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs)


@dataclass(frozen=True, slots=True)
class Added:
    """An adapter that was added while serving: where it lies on every machine, and the hash of its files."""

    path: Path
    sha256: str

    def check(self) -> None:
        """Raise ModelError where other files lie on this machine."""
        if files_sha256(self.path) != self.sha256:
            remedy = "Put the same files there on every machine that has a replica."
            raise ModelError("replicas differ: this adapter's files are others", where=str(self.path), remedy=remedy)


class LostError(GenwerkError):
    """A replica has died, or cannot be reached."""

    code = "replica_lost"


class Replica(Protocol):
    """An engine somewhere else. Every method raises LostError where it has died, and what the engine raises.

    added   the adapter that is asked for, if it was added later
    """

    def facts(self) -> Facts:
        """Waits until the replica is there."""
        ...

    def check(self, asked: Asked, added: Added | None) -> None:
        """Raise what the engine would before the first step."""
        ...

    def stream(self, asked: Asked, added: Added | None) -> Generator[Delta, None, None]: ...

    def add_adapter(self, name: str, added: Added) -> None: ...

    def remove_adapter(self, name: str) -> None:
        """Drop an adapter, if it is there."""
        ...

    def save_cache(self) -> None: ...

    def close(self) -> None: ...


class Replicas(TextEngine):
    """Serves with all of `replicas`, which compute the same. Raises ModelError where they do not."""

    def __init__(self, replicas: Tokens[Replica], tokenizer: Tokenizer, router: Router | None = None) -> None:
        self._replicas, self.tokenizer = tuple(replicas), tokenizer
        facts, *others = [replica.facts() for replica in self._replicas]
        if differences := next(filter(None, map(facts.differences, others)), ""):
            remedy = "Use the same files and versions, and machines of one kind, so that all give the same tokens."
            raise ModelError(f"replicas differ: {differences}", remedy=remedy)
        self.name, self._title, self.max_context, self.markers = (
            facts.name, facts.title, facts.max_context, facts.markers,
        )  # fmt: skip
        self._adapters: dict[str, Added | None] = dict.fromkeys(facts.adapters)
        self.file_hashes = dict(facts.file_hashes)
        self._router, self._busy = router or Router(len(self._replicas)), [0] * len(self._replicas)
        self._facts, self._down = facts, set[int]()
        self._changed, self._closed = threading.Condition(), threading.Event()

    @property
    def title(self) -> str:
        return self._title

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._adapters)

    @property
    def down(self) -> frozenset[int]:
        """Replicas that died and are not back yet."""
        with self._changed:
            return frozenset(self._down)

    def _answer(self, asked: Asked) -> Generator[Delta, None, None]:
        added, chain = self._added(asked.adapter), chain_of(asked.adapter, asked.prompt)
        self._on_any(lambda replica: replica.check(asked, added), chain)  # what it prepares is of use there
        return self._deltas(asked, chain)

    def add_adapter(self, name: str, path: Path) -> None:
        check_new_adapter(name, self.adapters)
        added = Added(path, files_sha256(path))
        try:
            self._on_all(lambda replica: replica.add_adapter(name, added))
        except BaseException:
            self._on_all(lambda replica: replica.remove_adapter(name))
            raise
        self.file_hashes[name] = added.sha256
        self._adapters[name] = added  # one that comes back is told with the first request

    def remove_adapter(self, name: str) -> None:
        check_adapter(name, self.adapters)
        del self._adapters[name]
        self._on_all(lambda replica: replica.remove_adapter(name))

    def save_cache(self) -> None:
        self._on_all(lambda replica: replica.save_cache())

    def close(self) -> None:
        self._closed.set()
        for replica in self._replicas:
            replica.close()

    def _added(self, adapter: str | None) -> Added | None:
        """An adapter, if it was added later. Raises RequestError (404) where there is none, or no more."""
        known = dict(self._adapters)
        check_adapter(adapter, tuple(known))
        return None if adapter is None else known[adapter]

    def _deltas(self, asked: Asked, chain: Tokens[bytes]) -> Generator[Delta, None, None]:
        added, sent = self._added(asked.adapter), list[Delta]()  # it may have been removed before the first step
        for _ in range(_LIVES):
            place = self._enter(chain)
            try:
                with closing(self._replicas[place].stream(asked, added)) as stream:
                    for delta in unsent(stream, sent):
                        sent.append(delta)
                        yield delta
                if sent and sent[-1].finish_reason:
                    return
            except LostError:
                self._lose(place)
            finally:
                drawn = [delta.token for delta in sent if delta.token is not None]
                self._leave(place, chain_of(asked.adapter, [*asked.prompt, *drawn]))
        what = f"{_LIVES} replicas died while they worked on this request"
        raise ModelError(what, remedy="Their logs say why: `ray logs`. The request itself may be the cause.")

    def _enter(self, chain: Tokens[bytes]) -> int:
        """Choose a replica for a prompt; waits while none is there."""
        with self._changed:
            usable = self._changed.wait_for(self._usable, _PATIENCE)
            if not usable:
                raise ModelError("no replica has come back", remedy="Look into their logs: `ray logs`.")
            place = self._router.choose(chain, self._busy, usable)
            self._router.learn(chain, place)
            self._busy[place] += 1
            return place

    def _leave(self, place: int, chain: Tokens[bytes]) -> None:
        """An answer has ended at a replica, which holds the blocks of `chain` from then on."""
        with self._changed:
            self._busy[place] -= 1
            if place not in self._down:
                self._router.learn(chain, place)

    def _usable(self) -> list[int]:
        return [place for place in range(len(self._replicas)) if place not in self._down]

    def _on_any(self, task: Callable[[Replica], None], chain: Tokens[bytes]) -> None:
        """Run it at the replica that a prompt of `chain` goes to; at another one if that is lost."""
        for _ in range(_LIVES):
            place = self._enter(chain)
            try:
                return task(self._replicas[place])
            except LostError:
                self._lose(place)
            finally:
                self._leave(place, ())
        raise ModelError(f"{_LIVES} replicas died while they checked a request", remedy="See `ray logs`.")

    def _on_all(self, task: Callable[[Replica], None]) -> None:
        """Run it at every replica that is there."""
        for place in self._usable():
            try:
                task(self._replicas[place])
            except LostError:
                self._lose(place)

    def _lose(self, place: int) -> None:
        with self._changed:
            if place in self._down or self._closed.is_set():
                return
            self._down.add(place)
            self._router.forget(place)
        say(f"replica {place} died; its answers go on at another one", style="yellow")
        threading.Thread(target=self._await_return, args=(place,), name="genwerk-replica", daemon=True).start()

    def _await_return(self, place: int) -> None:
        while not self._closed.is_set():
            try:
                facts = self._replicas[place].facts()
            except LostError:
                self._closed.wait(_PAUSE)
                continue
            if differences := self._facts.differences(facts):
                say(f"replica {place} came back as another one and is not used: {differences}", style="red")
                return
            with self._changed:
                self._down.discard(place)
                self._changed.notify_all()
            say(f"replica {place} is back")
            return


def unsent(stream: Iterator[Delta], sent: Tokens[Delta]) -> Iterator[Delta]:
    """What comes after the deltas that were `sent` from another replica. Raises ModelError where those differ."""
    count = len(sent)
    for place, delta in enumerate(stream):
        if place >= count:
            yield delta
        elif delta != sent[place]:
            what = f"a replica died, and another one makes another token at place {place}"
            raise ModelError(what, remedy="Ask again.")
