"""Replicas in Ray Serve: as many processes as asked for, on this machine or on those of a cluster.

    engine = start_replicas("handbook", makers, tokenizer)     # one maker of an engine per replica

Every replica is a deployment of its own with one process, so the request goes to the very one that replicas.py chose;
Serve watches it and starts another where it dies or hangs. It is named after its server, so that several servers share
a cluster, and one that was killed replaces what it left there when it starts again. With `ray start` run before, or
RAY_ADDRESS set, the replicas are spread over that cluster; else Ray is started here, and ends with the server. The
workspace must lie at the same path on every machine.

Chosen:   errors of ours travel as values, because Ray wraps what is raised.
Left out: Serve's own HTTP proxy and router (docs/decisions/0007-routing.md), autoscaling.
Try it:   pip install 'genwerk[cluster]'; genwerk serve --replicas 2
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import closing, suppress
from typing import Any

import torch
from anyio.to_thread import run_sync

from genwerk.core.errors import ConfigError, GenwerkError, ModelError
from genwerk.core.machine import probe
from genwerk.core.progress import say
from genwerk.inference.generation import Delta
from genwerk.inference.text_engine import Asked, TextEngine
from genwerk.serving.replicas import Added, Facts, LostError, Replicas
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["EngineProcess", "connect", "start_replicas"]

_MOST = 1024  # requests of a replica in progress; its engine lets them wait in line
_KNOCK = 10.0  # seconds to wait for a cluster's answer
_STORE = 2**27  # bytes that Ray sets aside for large objects, of which there are none
_HEALTH = {"health_check_period_s": 2, "health_check_timeout_s": 30}


class EngineProcess:
    """What runs in a replica's process: an engine, its work in threads, its errors as values.

    threads   that it computes with; Ray would give every process one.
    """

    def __init__(self, make: Callable[[], TextEngine], threads: int) -> None:
        torch.set_num_threads(threads)
        self._engine = make()
        self._facts = Facts.of(self._engine)
        self._added: dict[str, Added] = {}
        self._lock = threading.RLock()  # around what changes the adapters

    async def facts(self) -> Facts:
        return self._facts

    async def process(self) -> int:
        """The number of its process, for whoever looks at the machine."""
        return os.getpid()

    async def run(self, task: str, *arguments: Any) -> GenwerkError | None:
        """Do `task`, a method named below; returns what it raised."""
        try:
            await run_sync(getattr(self, f"_{task}"), *arguments)
        except GenwerkError as error:
            return error
        return None

    async def stream(self, asked: Asked, added: Added | None) -> AsyncGenerator[tuple[Delta | GenwerkError, ...], None]:
        """Deltas as they come, those that are there together; an error is the last."""
        queue: asyncio.Queue[Delta | GenwerkError | None] = asyncio.Queue()
        loop, stop = asyncio.get_running_loop(), threading.Event()

        def put(item: Delta | GenwerkError | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody reads
                loop.call_soon_threadsafe(queue.put_nowait, item)

        threading.Thread(
            target=self._produce, args=(asked, added, put, stop), name="genwerk-answer", daemon=True
        ).start()
        try:
            ended = False
            while not ended:
                ready = [await queue.get()]
                while not queue.empty():
                    ready.append(queue.get_nowait())
                ended = ready[-1] is None
                yield tuple(item for item in ready if item is not None)
        finally:
            stop.set()

    def _produce(
        self,
        asked: Asked,
        added: Added | None,
        put: Callable[[Delta | GenwerkError | None], None],
        stop: threading.Event,
    ) -> None:
        try:
            with closing(self._open(asked, added)) as deltas:
                for delta in deltas:
                    put(delta)
                    if stop.is_set():
                        break
        except GenwerkError as error:
            put(error)
        except Exception as error:
            put(ModelError(f"the engine failed: {error!r}", remedy="Its replica's log says where."))
        put(None)

    def _open(self, asked: Asked, added: Added | None) -> Generator[Delta, None, None]:
        if asked.adapter is not None and added is not None:
            with self._lock:
                if self._added.get(asked.adapter) != added:
                    self._add_adapter(asked.adapter, added)
        return self._engine.ask(asked)

    def _check(self, asked: Asked, added: Added | None) -> None:
        self._open(asked, added).close()

    def _add_adapter(self, name: str, added: Added) -> None:
        added.check()
        with self._lock:
            self._remove_adapter(name)  # it was out of reach when another of this name was removed
            self._engine.add_adapter(name, added.path)
            self._added[name] = added

    def _remove_adapter(self, name: str) -> None:
        with self._lock:
            self._added.pop(name, None)
            if name in self._engine.adapters:
                self._engine.remove_adapter(name)

    def _save_cache(self) -> None:
        self._engine.save_cache()


class RayReplica:
    """A replica behind a handle of Ray Serve's. See `Replica`."""

    def __init__(self, ray: Any, handle: Any, remove: Callable[[], None]) -> None:
        self._ray, self._handle, self._remove = ray, handle, remove
        self._lost = (ray.exceptions.RayActorError, ray.serve.exceptions.RayServeException)

    def facts(self) -> Facts:
        facts: Facts = self._ask(self._handle.facts)
        return facts

    def check(self, asked: Asked, added: Added | None) -> None:
        self._run("check", asked, added)

    def add_adapter(self, name: str, added: Added) -> None:
        self._run("add_adapter", name, added)

    def remove_adapter(self, name: str) -> None:
        self._run("remove_adapter", name)

    def save_cache(self) -> None:
        self._run("save_cache")

    def close(self) -> None:
        self._remove()

    def stream(self, asked: Asked, added: Added | None) -> Generator[Delta, None, None]:
        response = self._handle.options(stream=True).stream.remote(asked, added)
        ended = False
        try:
            for items in response:
                for item in items:
                    if isinstance(item, GenwerkError):
                        raise item
                    yield item
            ended = True
        except self._lost as error:
            ended = True
            raise LostError(f"a replica died: {_first_line(error)}") from error
        finally:
            if not ended:
                response.cancel()

    def _run(self, task: str, *arguments: Any) -> None:
        error = self._ask(self._handle.run, task, *arguments)
        if error is not None:
            raise error

    def _ask(self, method: Any, *arguments: Any) -> Any:
        try:
            return method.remote(*arguments).result()
        except self._lost as error:
            raise LostError(f"a replica died: {_first_line(error)}") from error


def start_replicas(
    name: str,
    makers: Sequence[Callable[[], TextEngine]],
    tokenizer: Tokenizer,
    *,
    gpus: int = 0,
    address: str = "",
    server: str = "",
) -> Replicas:
    """Start a replica for every maker of an engine and wait until all are there.

    name      of the deployment, which Ray's logs and tools show.
    gpus      that each replica needs.
    address   of a Ray cluster; empty: the one that is there, else a new one; `local`: a new one.
    server    where it answers on this machine, HOST:PORT; empty: nowhere, so they are this process's own.

    Raises ConfigError where Ray is not installed or no cluster answers at the address, ModelError where an engine
    cannot be made or replicas differ.
    """
    ray, started = connect(address)
    from ray import serve

    made = serve.deployment(EngineProcess).options(
        num_replicas=1,
        max_ongoing_requests=_MOST,
        ray_actor_options={"num_cpus": 0, "num_gpus": gpus},
        graceful_shutdown_timeout_s=3,
        max_constructor_retry_count=3,
        **_HEALTH,
    )
    machines = sum(node["Alive"] for node in ray.nodes())
    threads = min(probe().cores, max(1, probe().cores * machines // max(1, len(makers))))
    say(f"starting {len(makers)} replicas of {name} with Ray {ray.__version__}, {threads} threads each")
    names = [_application(name, server, number) for number in range(len(makers))]
    targets = [
        serve.RunTarget(made.bind(make, threads), name=application, route_prefix=None)
        for make, application in zip(makers, names, strict=True)
    ]

    def end(application: str) -> None:
        if started and application == names[-1]:
            serve.shutdown()
            ray.shutdown()
        elif not started:
            serve.delete(application)

    try:
        handles = serve.run_many(targets)  # they load side by side
        removes = [lambda one=application: end(one) for application in names]
        return Replicas([RayReplica(ray, *pair) for pair in zip(handles, removes, strict=True)], tokenizer)
    except BaseException as error:  # also where somebody stops the server before it serves
        for application in names:
            end(application)
        if not isinstance(error, RuntimeError):  # Serve's word for a replica that cannot be made
            raise
        what = f"the replicas cannot be started: {_first_line(error)}"
        raise ModelError(what, remedy="Serve the model without them to see why.") from error


def _application(name: str, server: str, number: int) -> str:
    """What Ray calls a replica: the same when its server starts again, and no other server's in the cluster."""
    whose = f"{socket.gethostname()}-{server or f'process-{os.getpid()}'}"
    return f"genwerk-{name}-{re.sub(r'[^0-9A-Za-z.-]', '_', whose)}-{number}"


def connect(address: str) -> tuple[Any, bool]:
    """Ray, connected, and whether it was started here. Raises ConfigError as `start_replicas`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.serve
    except ImportError as error:
        remedy = "Install it with `pip install 'genwerk[cluster]'`, or serve one replica."
        raise ConfigError(f"replicas need Ray, which cannot be imported: {error}", remedy=remedy) from error
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if ray.is_initialized():
        return ray, False
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    if not (found := _find_cluster(address or os.environ.get("RAY_ADDRESS", ""))):
        ray.init("local", include_dashboard=False, object_store_memory=_STORE, **quiet)
        ray.serve.start(proxy_location="Disabled")
        return ray, True
    try:
        ray.init(found, **quiet)
    except ConnectionError as error:
        raise _unanswered(found) from error
    say(f"replicas run in the Ray cluster at {ray.get_runtime_context().gcs_address}")
    return ray, False


def _find_cluster(named: str) -> str:
    """What Ray is to connect to, at which somebody listens; empty: it is to be started here.

    named   by the user: an address, `auto` for one that must be there, `local` for none; empty: one that may be there
    """
    if named == "local":
        return ""
    there = _known_here() if named in ("", "auto") else named
    if there and _listens(there):
        return named or "auto"
    if named:
        raise _unanswered(named)
    if there:
        say(f"the Ray cluster that was at {there} does not answer any more, so Ray is started here", style="yellow")
    return ""


def _known_here() -> str:
    """Where the cluster is that this machine belongs to, as Ray has noted it; empty: it belongs to none."""
    from ray._private import services  # nothing public says it without connecting

    try:
        return str(services.canonicalize_bootstrap_address("auto"))
    except ConnectionError:
        return ""


def _listens(address: str) -> bool:
    """Whether somebody does; Ray itself would go on knocking for a quarter of an hour."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _unanswered(address: str) -> ConfigError:
    remedy = (
        "Start it there with `ray start --head`, correct the address (HOST:PORT) in RAY_ADDRESS, or unset that to "
        "start Ray here."
    )
    return ConfigError(f"no Ray cluster answers at {address}", remedy=remedy)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
