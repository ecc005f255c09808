"""Time to the first token of a grounded answer: through the server, search included, at prompts of about 1,000 tokens.

    python benchmarks/grounded.py                     # on the quickstart's deployment, made first if it is not there
    python benchmarks/grounded.py --workspace FOLDER

Asks over HTTP, one question at a time, each once. `drawn` is when the model has drawn its first token, `shown` when the
first sentence, checked against its passage, reaches the client.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from genwerk.core.progress import track
from genwerk.core.types import Request
from genwerk.core.workspace import Workspace
from genwerk.data.questions import known_item_questions
from genwerk.inference.engine import Delta
from genwerk.monitoring.answers import AnswerLog
from genwerk.retrieval.abstention import load_abstention
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.answering import Answerer
from genwerk.retrieval.fusion import load_fusion
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import Searcher
from genwerk.serving.app import create_app
from genwerk.serving.assistant import Assistant
from genwerk.serving.auth import KeyStore
from genwerk.serving.deployment import Deployment, load_deployment


@dataclass
class Asked:
    """One question: prompt tokens, seconds to the first token drawn and to the first text at the client."""

    asked: float
    prompt_tokens: int = 0
    drawn: float | None = None
    shown: float | None = None


class Watch:
    """Stands before the engine's stream and notes the first token of the question that is being asked."""

    def __init__(self, deployment: Deployment) -> None:
        self.now = Asked(0.0)
        self._engine, self._stream = deployment.engine, deployment.engine.stream
        deployment.engine.stream = self.stream  # type: ignore[method-assign]

    def stream(self, request: Request) -> Iterator[Delta]:
        self.now.prompt_tokens = self._engine.count_tokens(request.messages)
        return self._noted(self._stream(request))

    def _noted(self, deltas: Any) -> Iterator[Delta]:
        try:
            for delta in deltas:
                self.now.drawn = self.now.drawn or time.perf_counter() - self.now.asked
                yield delta
        finally:
            deltas.close()


def with_long_prompts(deployment: Deployment, tokens: int) -> Deployment:
    """The same deployment, whose prompts take passages up to `tokens`; nothing is left unanswered."""
    index = Index.open(deployment.artifacts["index"].path)
    fit = deployment.artifacts["fit"].path
    searcher = Searcher(index, deployment.embedder, load_fusion(fit).choice)  # type: ignore[arg-type]
    silence = replace(load_abstention(fit), threshold=-1e9)

    def make(generate: Any, check: Any, admit: Any, groups: Sequence[str]) -> Answerer:
        count = deployment.engine.count_tokens
        options = {"count_tokens": count, "check": check, "admit": admit, "groups": groups}
        config = AnswerConfig(passages=16, prompt_tokens=tokens)
        return Answerer(index, searcher, generate, silence, config=config, **options)

    return replace(deployment, make_answerer=make)


def ask(client: httpx.Client, model: str, question: str, watch: Watch) -> Asked:
    body = {"model": model, "stream": True, "max_tokens": 40, "messages": [{"role": "user", "content": question}]}
    watch.now = Asked(time.perf_counter())
    with client.stream("POST", "/v1/chat/completions", json=body, timeout=120) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
            if choices[0].get("delta", {}).get("content"):
                watch.now.shown = watch.now.shown or time.perf_counter() - watch.now.asked
    return watch.now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path(".genwerk"))
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--prompt-tokens", type=int, default=1040, help="most tokens of a prompt")
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "genwerk", "quickstart", "--no-serve", "--workspace", str(chosen.workspace)]
    subprocess.run(command, check=True)
    workspace = Workspace(chosen.workspace)
    deployment = with_long_prompts(load_deployment(workspace, "quickstart"), chosen.prompt_tokens)
    watch = Watch(deployment)
    assert deployment.index is not None
    documents = [deployment.index.document(identity) for identity in deployment.index.document_ids][:400]
    questions = [item.text for item in known_item_questions(documents, seed=3, limit=chosen.questions + 1)]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = create_app(Assistant(deployment, AnswerLog(Path(":memory:"))), keys=KeyStore(Path("/nonexistent")))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        done = []
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client,
            track("questions", total=len(questions), unit="questions") as bar,
        ):
            for question in questions:
                done.append(ask(client, deployment.default_model, question, watch))
                bar.advance(note=f"{done[-1].prompt_tokens} tokens, {done[-1].drawn or float('nan'):.2f} s")
        server.should_exit = True
    report(done[1:], deployment)  # the first one warms up


def report(done: Sequence[Asked], deployment: Deployment) -> None:
    sizes = [one.prompt_tokens for one in done if one.drawn]
    print(f"{len(sizes)} answers, {deployment.engine.runner.title}, prompts of {min(sizes)} to {max(sizes)} tokens")
    for name in ("drawn", "shown"):
        times = sorted(time for one in done if (time := getattr(one, name)))
        spread = f"{times[0]:.2f} to {times[-1]:.2f}"
        print(f"first token {name:6s} {statistics.median(times):.2f} s median, {spread} s   bound 2.5 s")


if __name__ == "__main__":
    main()
