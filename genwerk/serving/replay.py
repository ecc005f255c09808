"""An answer once more: the model as its receipt says, the same prompt, and the tokens laid side by side.

    ans-…      the receipt, prompt and tokens of an answer in the log; the model and the adapter it was made with
    FILE.json  what `genwerk generate --receipt FILE.json` wrote

Equal means equal bits, so a receipt of other weights, or of another template, version, precision or instruction set is
refused with the difference instead of being tried. Only what the answer holds is compared: where a guard or the reader
ended it, the model would have gone on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from genwerk.core.atomic import write_json
from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Receipt, Request, Sampling
from genwerk.core.workspace import Workspace
from genwerk.inference.engines import load_engine
from genwerk.inference.generation import Delta
from genwerk.inference.model_files import files_sha256
from genwerk.inference.receipt import cache_of, check_replayable, loading_of, version_differences, window_of
from genwerk.inference.text_engine import TextEngine
from genwerk.monitoring.answers import AnswerLog, receipt_from
from genwerk.serving.trace import ANSWERS

SHOWN = 10  # differences that are printed


@dataclass(frozen=True, slots=True)
class Recorded:
    """An answer that was given, and where its model and adapter lie.

    prompt    a chat, or one raw message (prompts.py).
    logprobs  one per token, or none.
    """

    receipt: Receipt
    prompt: tuple[Message, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    model: Path
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What stands at a place of the answer and what came now; None where there is nothing."""

    place: int
    token: int | None
    token_now: int | None
    logprob: float | None
    logprob_now: float | None


def print_replay(
    workspace: Workspace, name: str, *, model: str = "", adapter: str = "", console: Console | None = None
) -> bool:
    """Generate the answer `name` (an id or a file) again and print how it compares. Returns whether it is the same.

    Raises RequestError for a receipt that cannot be replayed here, WorkspaceError for a model that is gone.
    """
    console = console or Console(highlight=False)
    recorded = find_recorded(workspace, name, model, adapter)
    with closing(load_as_recorded(recorded)) as engine:
        differences = compare(recorded, engine)
    what = f"{len(recorded.tokens)} tokens" + (f" and {len(recorded.logprobs)} logprobs" if recorded.logprobs else "")
    if not differences:
        console.print(f"[green]✓[/] {escape(name)}: the same {what}, made by {escape(engine.title)}", soft_wrap=True)
        return True
    first = differences[0].place
    told = f"[red]✗[/] {escape(name)}: {len(differences)} of {what} differ, the first at {first}"
    console.print(told, soft_wrap=True)
    console.print(_table(differences, engine))
    return False


def find_recorded(workspace: Workspace, name: str, model: str = "", adapter: str = "") -> Recorded:
    """An answer by its id in the log of answers, or from a file."""
    if name.startswith("ans-"):
        return _from_log(workspace, name)
    return _from_file(workspace, Path(name), model, adapter)


def load_as_recorded(recorded: Recorded) -> TextEngine:
    """The engine that the receipt asks for. Raises RequestError where this machine or the model is another: where its
    files are others, before it is loaded."""
    receipt = recorded.receipt
    places = {"model": recorded.model} | ({"adapter": recorded.adapter} if recorded.adapter else {})
    weights = {part: files_sha256(path) for part, path in places.items()}
    check_replayable(receipt, receipt.model, receipt.template_sha256, weights)
    kind, precision = loading_of(receipt)
    window, sinks = window_of(receipt)
    adapters = {receipt.adapter: recorded.adapter} if receipt.adapter and recorded.adapter else {}
    engine = load_engine(
        recorded.model, adapters=adapters, name=receipt.model, engine=kind, precision=precision,
        window=window, sinks=sinks, cache_precision=cache_of(receipt),
    )  # fmt: skip
    with ExitStack() as refused:
        refused.callback(engine.close)
        engine.check_receipt(receipt, recorded.prompt)
        if found := version_differences(receipt, engine.title):
            remedy = "Equal tokens are promised by the versions that made the answer only: replay it with those."
            raise RequestError("; ".join(found), param="versions", code="receipt_mismatch", remedy=remedy)
        refused.pop_all()
    return engine


def compare(recorded: Recorded, engine: TextEngine) -> list[Difference]:
    """Generate as many tokens as the answer has; the places where they or their log-probabilities are others."""
    receipt = recorded.receipt
    request = Request(recorded.prompt, receipt.sampling, receipt.adapter, constraint=receipt.constraint)
    with closing(engine.stream(request)) as stream:
        said = (delta for delta in stream if delta.token is not None)  # a search takes steps before it says anything
        now = list(islice(said, len(recorded.tokens)))
    logprobs = [delta.logprob.logprob if delta.logprob else None for delta in now] if recorded.logprobs else ()
    rows = zip_longest(recorded.tokens, (delta.token for delta in now), recorded.logprobs, logprobs)
    found = (Difference(place, *row) for place, row in enumerate(rows))
    return [one for one in found if (one.token, one.logprob) != (one.token_now, one.logprob_now)]


def write_receipt(
    path: Path, engine: TextEngine, model: Path, prompt: str, sampling: Sampling, deltas: Sequence[Delta]
) -> None:
    """Keep what `replay` needs of a text that `engine` continued."""
    write_json(
        path,
        {
            "receipt": asdict(engine.receipt(Request((Message("prompt", prompt),), sampling))),
            "model": str(model.resolve()),
            "prompt": prompt,
            "tokens": [delta.token for delta in deltas if delta.token is not None],
            "logprobs": [delta.logprob.logprob for delta in deltas if delta.logprob is not None],
        },
    )


def _from_log(workspace: Workspace, name: str) -> Recorded:
    log = AnswerLog(workspace.root / ANSWERS)
    try:
        record = log.get(name)
    finally:
        log.close()
    reply = record.reply
    if not reply.tokens:
        raise _cannot(f"the model wrote nothing for {reply.id}", "It was answered without the model.")
    if not record.prompt:
        raise _cannot(f"the prompt of {reply.id} was not kept", "Only answers of this version on can be replayed.")
    made = dict(record.artifacts)
    made |= {"model": made["quantised"]} if "quantised" in made else {}
    places = {part: workspace.find(made[part]).path for part in _parts(made, reply.receipt)}
    return Recorded(
        reply.receipt, record.prompt, reply.tokens, record.logprobs, places["model"], places.get("adapter")
    )  # fmt: skip


def _parts(artifacts: Mapping[str, str], receipt: Receipt) -> Iterator[str]:
    for part in ("model", *(["adapter"] if receipt.adapter else [])):
        if part not in artifacts:
            raise _cannot(f"the answer does not say which artifact its {part} is", "Answers of a workspace's own do.")
        yield part


def _from_file(workspace: Workspace, path: Path, model: str, adapter: str) -> Recorded:
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        receipt, prompt = receipt_from(held["receipt"]), held["prompt"]
        raw = [{"role": "prompt", "content": prompt}] if isinstance(prompt, str) else prompt
        asked = tuple(Message(**message) for message in raw)
        tokens, logprobs = tuple(held["tokens"]), tuple(held.get("logprobs") or ())
        place = _place(workspace, model or str(held["model"]))
        beside = adapter or held.get("adapter") or ""
    except OSError as error:
        remedy = "Give an answer id (ans-…) or a file of `genwerk generate --receipt`."
        raise _cannot(f"{path} cannot be read: {error.strerror or error}", remedy) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _cannot(f"{path} holds no receipt: {error}", "`genwerk generate --receipt FILE` writes one.") from error
    if receipt.adapter and not beside:
        raise _cannot(f"the receipt names the adapter {receipt.adapter!r}", "Say where it lies with --adapter.")
    return Recorded(receipt, asked, tokens, logprobs, place, _place(workspace, beside) if receipt.adapter else None)


def _place(workspace: Workspace, name: str) -> Path:
    return Path(name) if Path(name).is_dir() else workspace.find(name).path


def _cannot(what: str, remedy: str) -> RequestError:
    return RequestError(what, code="not_replayable", remedy=remedy)


def _table(differences: Sequence[Difference], engine: TextEngine) -> Table:
    table = Table("place", "token then", "token now", "logprob then", "logprob now", box=None)
    for one in differences[:SHOWN]:
        tokens = (_shown(engine, token) for token in (one.token, one.token_now))
        logprobs = ("" if value is None else repr(value) for value in (one.logprob, one.logprob_now))
        table.add_row(str(one.place), *tokens, *logprobs)
    if len(differences) > SHOWN:
        table.add_row("…", f"{len(differences) - SHOWN} more")
    return table


def _shown(engine: TextEngine, token: int | None) -> str:
    if token is None:
        return "nothing"
    if not 0 <= token < engine.tokenizer.vocab_size:
        return str(token)
    return escape(f"{token} {engine.tokenizer.token_bytes(token).decode('utf-8', 'replace')!r}")
