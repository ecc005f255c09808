"""The one memory of the chain: a folder of immutable artifacts, each made once by a step.

    workspace = Workspace(Path("work"))
    dataset = workspace.step("genwerk.data.prepare:prepare", PrepareConfig(...), documents, kind="dataset")

A step's artifact is known by a hash of its function, code, config and inputs before it is made; when it is there, it is
found and nothing is imported or run. Otherwise it is made in `staging/`, fsynced, recorded and renamed into
`artifacts/KIND/ID`: killed at any moment, it is absent or complete. Its `scratch/ID` outlives a kill, for checkpoints.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genwerk.core.artifact import (
    RECORD,
    Artifact,
    Source,
    artifact_record,
    damage,
    damage_in_content,
    is_id,
    read_artifact,
)
from genwerk.core.atomic import disk_full, explained, fsync_directory, fsync_tree, is_disk_full, write_json
from genwerk.core.config import Config
from genwerk.core.errors import GenwerkError, WorkspaceError
from genwerk.core.events import EventLog, now
from genwerk.core.lock import Holder, hold
from genwerk.core.machine import peak_memory_bytes, reset_peak_memory
from genwerk.core.plan import (
    Metrics,
    Plan,
    check_name,
    hash_files,
    load_function,
    name_sources,
    plain_metrics,
    plan_step,
)
from genwerk.core.progress import say

__all__ = ["Artifact", "Source", "Step", "Workspace"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step function gets: where to write, where to keep what must survive a kill, and the event log.

    out      an empty folder; what lies in it when the function returns becomes the artifact.
    scratch  kept when the step is killed, given to the next attempt, removed on success.
    """

    id: str
    out: Path
    scratch: Path
    events: EventLog


class Workspace:
    """Artifacts, pins and events under `root`. Reading needs no lock; making, pinning and collecting take it.

    wait  seconds to wait when another process holds the workspace; 0 refuses at once, `math.inf` waits for ever.
    """

    def __init__(self, root: Path, *, wait: float = 0.0) -> None:
        self.root = Path(root)
        self.events = EventLog(self.root)
        self._wait = wait
        self._threads = threading.RLock()
        self._depth, self._pid = 0, 0

    # Making

    def step(
        self,
        function: Callable[..., Metrics | None] | str,
        config: Config,
        *inputs: Artifact | Source,
        kind: str | None = None,
    ) -> Artifact:
        """The artifact of `function(config, step, *inputs) -> metrics | None`, found or made.

        function  a function of a module, or "package.module:name", which is imported only when it must run.
        kind      folder and word for it; the function's name by default.

        Raises WorkspaceError (held by another process, disk full, function that cannot be named) and whatever the
        function raises; nothing half-made stays.
        """
        plan = plan_step(function, config, inputs, kind)
        if (found := self._find_made(plan)) is not None:
            return found
        with self.lock():
            return self._find_made(plan, quiet=True) or self._make(plan, function)

    def _find_made(self, plan: Plan, *, quiet: bool = False) -> Artifact | None:
        started = time.perf_counter()
        path = self._place(plan.kind, plan.id)
        if not path.is_dir():
            return None
        try:
            artifact = read_artifact(path)
            problems = list(damage(artifact).values())
        except WorkspaceError as error:
            problems = [error.what]
        if problems:
            if not quiet:
                say(f"{plan.kind} {plan.id[:8]}… is damaged ({'; '.join(problems)}): making it again", style="yellow")
            return None
        shutil.rmtree(self.root / "scratch" / plan.id, ignore_errors=True)  # killed just before it was done with it
        say(f"✓ {plan.kind} {plan.id[:8]}… found", style="dim")
        self._record("step.found", plan, time.perf_counter() - started)
        return artifact

    def _make(self, plan: Plan, function: Callable[..., Metrics | None] | str) -> Artifact:
        out, scratch = self.root / "staging" / plan.id, self.root / "scratch" / plan.id
        shutil.rmtree(out, ignore_errors=True)
        with explained(out):
            out.mkdir(parents=True)
            scratch.mkdir(parents=True, exist_ok=True)
        reset_peak_memory()
        started = time.perf_counter()
        try:
            step = Step(plan.id, out, scratch, self.events.bind(step=plan.id))
            metrics = load_function(function)(plan.config, step, *plan.inputs)
            artifact = self._seal(plan, out, plain_metrics(metrics or {}, plan))
        except BaseException as error:
            shutil.rmtree(out, ignore_errors=True)
            full = _is_full(error, self.root)
            self._record("step.failed", plan, time.perf_counter() - started, error=f"{type(error).__name__}: {error}")
            if full and not isinstance(error, GenwerkError):
                raise disk_full(out) from error
            raise
        shutil.rmtree(scratch, ignore_errors=True)
        seconds = time.perf_counter() - started
        say(f"✓ {plan.kind} {plan.id[:8]}… made in {seconds:.1f} s", style="green")
        self._record("step.made", plan, seconds, content=artifact.content_sha256, metrics=dict(artifact.metrics))
        return artifact

    def _seal(self, plan: Plan, out: Path, metrics: Metrics) -> Artifact:
        """Hash, fsync, record and rename; the rename is the moment at which the artifact begins to exist."""
        place = self._place(plan.kind, plan.id)
        with explained(out):
            files = hash_files(out, plan)
            artifact = Artifact(
                id=plan.id,
                kind=plan.kind,
                path=place,
                parents=tuple(item.id for item in plan.inputs if isinstance(item, Artifact)),
                config=json.loads(plan.config.canonical()),
                metrics=metrics,
                created=now(),
                files=files,
                function=str(plan.name),
                code=plan.code,
                sources=name_sources(plan.inputs),
                sizes={name: (out / name).stat().st_size for name in files},
            )
            fsync_tree(out)
            write_json(out / RECORD, artifact_record(artifact))
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():  # a damaged one: it makes room only now that its successor is complete
                place.rename(self.root / "staging" / f"old-{plan.id}")
            out.rename(place)
            fsync_directory(place.parent)
        shutil.rmtree(self.root / "staging" / f"old-{plan.id}", ignore_errors=True)
        return artifact

    def _record(self, event: str, plan: Plan, seconds: float, **fields: Any) -> None:
        about = {"id": plan.id, "artifact_kind": plan.kind, "function": str(plan.name)}
        measured = {"seconds": round(seconds, 3), "peak_rss_bytes": peak_memory_bytes()}
        try:
            self.events.emit(event, **about, **measured, **fields)
        except WorkspaceError as error:  # the artifact matters more than the note about it
            say(f"the event {event} could not be recorded: {error}", style="yellow")

    # One process at a time

    @contextmanager
    def lock(self, *, wait: float | None = None) -> Iterator[None]:
        """Hold the workspace during the block; may be nested. Other threads wait, other processes are refused.

        Raises WorkspaceError that names the process that holds it, after `wait` seconds.
        """
        with self._threads:
            if self._depth and self._pid == os.getpid():
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            seconds = self._wait if wait is None else wait
            with hold(self.root / "lock", wait=seconds, busy=self._busy):
                self._depth, self._pid = 1, os.getpid()
                try:
                    self._recover()
                    yield
                finally:
                    self._depth = 0

    def _busy(self, holder: Holder) -> WorkspaceError:
        stop = f"Wait until it ends, stop it (`kill {holder.pid}`)" if holder.pid else "Wait until it ends"
        remedy = f"{stop}, or use another workspace."
        return WorkspaceError(f"the workspace is in use by {holder}", where=str(self.root), remedy=remedy)

    def _recover(self) -> None:
        """Clear what a killed process left: it holds the lock no more, so nobody works there."""
        leftovers = _entries(self.root / "staging")
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)
        if leftovers:
            say(f"cleared {len(leftovers)} unfinished artifact(s) that a stopped run left behind", style="dim")
        for path in _entries(self.root / "scratch"):
            if any((kind / path.name / RECORD).is_file() for kind in _entries(self.root / "artifacts")):
                shutil.rmtree(path, ignore_errors=True)

    # Finding

    def _place(self, kind: str, identity: str) -> Path:
        return self.root / "artifacts" / kind / identity

    def artifacts(self) -> list[Artifact]:
        """All artifacts, the oldest first. A damaged record is said aloud and left out."""
        found = []
        for kind in _entries(self.root / "artifacts"):
            for path in _entries(kind):
                try:
                    found.append(read_artifact(path))
                except WorkspaceError as error:
                    say(str(error), style="yellow")
        return sorted(found, key=lambda artifact: (artifact.created, artifact.id))

    def find(self, prefix_or_id: str) -> Artifact:
        """The artifact whose id begins so ("3f2a" or "dataset/3f2a"). Raises WorkspaceError for none or several."""
        kind, _, prefix = prefix_or_id.rpartition("/")
        kinds = [path for path in _entries(self.root / "artifacts") if not kind or path.name == kind]
        paths = [path for folder in kinds for path in _entries(folder) if prefix and path.name.startswith(prefix)]
        if not paths:
            remedy = "`genwerk ls` lists what there is."
            raise WorkspaceError(f"no artifact `{prefix_or_id}`", where=str(self.root), remedy=remedy)
        if len({path.name for path in paths}) > 1:
            names = ", ".join(f"{path.parent.name}/{path.name}" for path in paths[:8])
            raise WorkspaceError(f"`{prefix_or_id}` may be any of {names}", remedy="Write more letters of its id.")
        return read_artifact(paths[0])

    def parents(self, artifact: Artifact) -> list[Artifact]:
        """The artifacts it was made from. Raises WorkspaceError when one is gone."""
        return [self.find(identity) for identity in artifact.parents]

    def lineage(self, artifact: Artifact) -> list[Artifact]:
        """All it comes from and itself, parents before children."""
        order: dict[str, Artifact] = {}

        def visit(current: Artifact) -> None:
            for parent in self.parents(current):
                if parent.id not in order:
                    visit(parent)
            order[current.id] = current

        visit(artifact)
        return list(order.values())

    def verify(self, artifact: Artifact) -> list[str]:
        """Read every byte of it and say what is wrong; empty when all is as it was made."""
        return list(damage_in_content(artifact).values())

    # Pins and garbage

    def pin(self, name: str, artifact_id: str | Mapping[str, Any]) -> None:
        """Let `name` point to one artifact, or to several by role, in one move: the old pointers or the new ones.

        In a mapping, values that are whole artifact ids are pointers, which keep their artifacts from being collected;
        other values are notes. Raises WorkspaceError for an id that is not there.
        """
        value = {"artifact": self.find(artifact_id).id} if isinstance(artifact_id, str) else dict(artifact_id)
        path = self._pin_path(name)
        with self.lock(), explained(path):
            for identity in filter(is_id, value.values()):
                self.find(identity)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"name": name, "time": now(), "value": value})
        self.events.emit("pinned", name=name, value=value)

    def pinned(self, name: str) -> dict[str, Any]:
        """What was pinned under `name`: role → artifact id, one alone under "artifact"; empty when nothing is."""
        path = self._pin_path(name)
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text("utf-8"))["value"])
        except (ValueError, KeyError, TypeError) as error:
            remedy = "Remove the file and run the recipe again."
            raise WorkspaceError(f"the pin `{name}` is spoilt", where=str(path), remedy=remedy) from error

    def pins(self) -> dict[str, dict[str, Any]]:
        """All pins by name."""
        paths = _entries(self.root / "pins")
        return {path.stem: self.pinned(path.stem) for path in paths if path.suffix == ".json"}

    def _pin_path(self, name: str) -> Path:
        return self.root / "pins" / f"{check_name(name, 'pin')}.json"

    def collect_garbage(
        self, keep: Iterable[str] = (), *, dry_run: bool = False, scratch: bool = False
    ) -> list[Artifact]:
        """Remove every artifact that neither `keep` nor a pin needs, children before parents; returns them.

        scratch  also remove checkpoints of steps that were never finished (they are what a restart resumes from).
        """
        with self.lock():
            known = self.artifacts()
            waiting = [self.find(identity).id for identity in keep]
            waiting += [value for pin in self.pins().values() for value in pin.values() if is_id(value)]
            parents = {artifact.id: artifact.parents for artifact in known}
            reachable: set[str] = set()
            while waiting:
                identity = waiting.pop()
                if identity not in reachable:
                    reachable.add(identity)
                    waiting.extend(parents.get(identity, ()))
            removed = [artifact for artifact in reversed(known) if artifact.id not in reachable]
            if dry_run:
                return removed
            for artifact in removed:
                trash = self.root / "staging" / f"removed-{artifact.kind}-{artifact.id}"
                with explained(trash):
                    trash.parent.mkdir(parents=True, exist_ok=True)
                    artifact.path.rename(trash)
                shutil.rmtree(trash, ignore_errors=True)
            for path in _entries(self.root / "scratch") if scratch else []:
                shutil.rmtree(path, ignore_errors=True)
            self.events.emit("collected", ids=[artifact.id for artifact in removed])
        return removed


def _is_full(error: BaseException, root: Path) -> bool:
    """Some libraries hide the reason of a failed write; then the disk itself is asked."""
    if is_disk_full(error):
        return True
    with suppress(OSError):
        return isinstance(error, Exception) and shutil.disk_usage(root).free < 1 << 20
    return False


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.endswith(".tmp"))
    except (FileNotFoundError, NotADirectoryError):
        return []
