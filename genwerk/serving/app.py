"""The server: OpenAI's endpoints, Genwerk's own under /v1/genwerk, the page at /.

    app = create_app(assistant, keys=KeyStore(path))

Everything that blocks (the model, SQLite, files, scrypt) runs in threads; the event loop only passes things on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from genwerk.serving.adapters import load_adapter, unload_adapter
from genwerk.serving.assistant import Assistant
from genwerk.serving.auth import KeyStore
from genwerk.serving.browse import Browser
from genwerk.serving.chat_reply import ChatReply
from genwerk.serving.choices import ChoiceEvent, answer_several
from genwerk.serving.completion_reply import CompletionReply
from genwerk.serving.completion_request import CompletionCall, answer_prompts, parse_completion
from genwerk.serving.deployment import Deployment
from genwerk.serving.encoders import Encoders
from genwerk.serving.encoding_request import parse_embeddings, parse_rerank
from genwerk.serving.fields import parse_body
from genwerk.serving.frame import MAX_BODY, QUEUE, build_app
from genwerk.serving.openai_reply import encode_json
from genwerk.serving.openai_request import ChatCall, parse_chat
from genwerk.serving.runs import Runs
from genwerk.serving.searching import parse_search, search
from genwerk.serving.shapes import Shape, stream_lines, whole_reply
from genwerk.serving.streaming import Admission, EventStream, relay, respond_whole
from genwerk.serving.studio import Studio
from genwerk.serving.studio_routes import StudioRoutes
from genwerk.serving.trace import as_json, build_trace

_Call = TypeVar("_Call")
_Asked = TypeVar("_Asked", ChatCall, CompletionCall)


def create_app(
    assistant: Assistant,
    *,
    keys: KeyStore,
    hosts: Iterable[str] | None = ("localhost",),
    max_body: int = MAX_BODY,
    queue: int = QUEUE,
) -> Starlette:
    """The ASGI application.

    hosts     names it may be addressed by beside loopback addresses; None allows any.
    max_body  bytes of a request body.
    queue     answers in progress or waiting before others are refused with 429.
    """
    server = _Server(assistant, keys, queue)
    routes = [
        Route("/v1/models", server.models),
        Route("/v1/models/{name:path}", server.model),
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/v1/completions", server.completions, methods=["POST"]),
        Route("/v1/embeddings", server.embeddings, methods=["POST"]),
        Route("/v1/rerank", server.rerank, methods=["POST"]),
        Route("/v1/search", server.search, methods=["POST"]),
        Route("/v1/load_lora_adapter", server.load_adapter, methods=["POST"]),
        Route("/v1/unload_lora_adapter", server.unload_adapter, methods=["POST"]),
        Route("/v1/genwerk/info", server.info),
        Route("/v1/genwerk/documents/{id}", server.document),
        Route("/v1/genwerk/answers/{id}/trace", server.trace),
        *server.studio.routes,
    ]
    name, metrics = assistant.deployment.name, assistant.metrics
    app = build_app(name, routes, metrics=metrics, keys=keys, hosts=hosts, max_body=max_body)
    app.state.admission = server.admission
    return app


class _Server:
    """The endpoints."""

    def __init__(self, assistant: Assistant, keys: KeyStore, queue: int) -> None:
        self.assistant, self.keys = assistant, keys
        self.deployment = deployment = assistant.deployment
        self.admission, self.encoders = Admission(queue, assistant.metrics), Encoders(deployment)
        studio = Studio(deployment.workspace)
        self.browser = Browser(deployment, studio.names)
        runs = Runs(deployment.workspace, lambda: {one.id for one in deployment.served().values()})
        self.studio = StudioRoutes(studio, runs, keys, self.admission, assistant.metrics)
        self.readers = CapacityLimiter(queue)  # threads of their own: the door's few are for short work

    async def models(self, request: Request) -> Response:
        listed = self.browser.models()
        listed["data"] += await run_sync(self.studio.studio.entries)
        return JSONResponse(listed)

    async def model(self, request: Request) -> Response:
        return JSONResponse(self.browser.model(request.path_params["name"]))

    async def info(self, request: Request) -> Response:
        keys = bool(await run_sync(self.keys.names))
        return JSONResponse(await run_sync(lambda: self.browser.info(keys=keys)))

    async def document(self, request: Request) -> Response:
        return JSONResponse(await run_sync(self.browser.document, request.path_params["id"], _groups(request)))

    async def trace(self, request: Request) -> Response:
        def build() -> dict[str, Any]:
            record = self.assistant.log.get(request.path_params["id"])
            return as_json(build_trace(self.deployment.workspace, record))

        return JSONResponse(await run_sync(build))

    async def embeddings(self, request: Request) -> Response:
        return await self._read(request, parse_embeddings, self.encoders.embeddings)

    async def rerank(self, request: Request) -> Response:
        return await self._read(request, parse_rerank, self.encoders.rerank)

    async def search(self, request: Request) -> Response:
        groups = _groups(request)
        return await self._read(request, parse_search, lambda call, _: search(self.deployment, call, groups))

    async def _read(
        self, request: Request, parse: Callable[[Mapping[str, Any]], _Call], answer: Callable[[_Call, str], Any]
    ) -> Response:
        """Texts are read and their reply is spelled in a thread, which counts as an answer in progress."""
        data, user = await request.body(), _user(request)
        self.admission.enter()
        try:
            spelled = await run_sync(lambda: encode_json(answer(parse(parse_body(data)), user)), limiter=self.readers)
        finally:
            self.admission.leave()
        return Response(spelled, media_type="application/json")

    async def load_adapter(self, request: Request) -> Response:
        call = parse_body(await request.body())
        return PlainTextResponse(await run_sync(load_adapter, self.deployment, call))

    async def unload_adapter(self, request: Request) -> Response:
        call = parse_body(await request.body())
        return PlainTextResponse(await run_sync(unload_adapter, self.deployment, call))

    async def chat(self, request: Request) -> Response:
        def answer(call: ChatCall, stop: threading.Event) -> Generator[ChoiceEvent, None, None]:
            return answer_several(self.assistant, call.ask, call.several, stop)

        return await self._answer(request, parse_chat, ChatReply, answer)

    async def completions(self, request: Request) -> Response:
        answer = partial(answer_prompts, self.assistant)
        return await self._answer(request, parse_completion, CompletionReply, answer)

    async def _answer(
        self, request: Request, parse: Callable[[Mapping[str, Any], Deployment, tuple[str, ...]], _Asked],
        shape_of: Callable[[_Asked, Deployment], Shape],
        answer: Callable[[_Asked, threading.Event], Generator[ChoiceEvent, None, None]],
    ) -> Response:  # fmt: skip
        data, groups = await request.body(), _groups(request)
        call = await run_sync(lambda: parse(parse_body(data), self.deployment, groups))
        shape = shape_of(call, self.deployment)
        events = relay(lambda stop: answer(call, stop), self.admission, self.assistant.metrics)
        if not call.stream:
            return await respond_whole(request.receive, whole_reply(shape, events), events)
        first = await anext(events)  # an unsound request raises here, in time for its status
        return EventStream(stream_lines(shape, first, events, call.include_usage))


def _user(request: Request) -> str:
    """Who asks: the name of the key that was shown; empty where no keys are asked for."""
    return str(request.scope.get("genwerk.user") or "")


def _groups(request: Request) -> tuple[str, ...]:
    """Whose documents may be read: those of the key that was shown."""
    user = _user(request)
    return (user,) if user else ()
