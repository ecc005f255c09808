"""Endpoints that need no text model: pictures, runs and their reports. Any of Genwerk's servers has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from genwerk.monitoring.metrics import ServerMetrics
from genwerk.serving.auth import KeyStore
from genwerk.serving.fields import parse_body
from genwerk.serving.openai_reply import encode_json
from genwerk.serving.runs import REPORT_POLICY, Runs
from genwerk.serving.streaming import Admission, EventStream, event, relay, respond_whole
from genwerk.serving.studio import ImageCall, ImageEvent, Studio, chunks, whole

__all__ = ["StudioRoutes"]


class StudioRoutes:
    """routes: to be mounted beside a server's own."""

    def __init__(
        self, studio: Studio, runs: Runs, keys: KeyStore, admission: Admission, metrics: ServerMetrics
    ) -> None:
        self.studio, self.runs, self.keys = studio, runs, keys
        self._admission, self._metrics = admission, metrics
        self.routes = [
            Route("/v1/images/generations", self.images, methods=["POST"]),
            Route("/v1/genwerk/studio", self.info),
            Route("/v1/genwerk/runs", self.list_runs),
            Route("/v1/genwerk/runs/{id}", self.run),
            Route("/v1/genwerk/runs/{id}/report", self.report),
        ]

    async def images(self, request: Request) -> Response:
        data = await request.body()
        call = await run_sync(lambda: self.studio.read(parse_body(data)))
        events = relay(lambda stop: self.studio.make(call, stop), self._admission, self._metrics)
        if not call.stream:
            return await respond_whole(request.receive, _whole_reply(call, events), events)
        first = await anext(events)  # a full server raises here, in time for its status
        return EventStream(_lines(call, first, events))

    async def info(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": await run_sync(self._info)})

    async def list_runs(self, request: Request) -> Response:
        return JSONResponse(await run_sync(self.runs.runs))

    async def run(self, request: Request) -> Response:
        return JSONResponse(await run_sync(self.runs.run, request.path_params["id"]))

    async def report(self, request: Request) -> Response:
        identity = request.path_params["id"]
        if await run_sync(self.keys.names):
            self.runs.check_ticket(identity, request.query_params.get("ticket", ""))
        path = await run_sync(self.runs.report, identity)
        return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    def _info(self) -> list[dict[str, Any]]:
        link = "/v1/genwerk/runs/{0}/report?ticket={1}"
        return [
            {**one, "report": link.format(one["report"], self.runs.ticket(one["report"]))} for one in self.studio.info()
        ]


async def _whole_reply(call: ImageCall, events: AsyncGenerator[ImageEvent, None]) -> bytes:
    last = [item async for item in events][-1]
    return await run_sync(lambda: encode_json(whole(call, last)))


async def _lines(
    call: ImageCall, first: ImageEvent, events: AsyncGenerator[ImageEvent, None]
) -> AsyncGenerator[bytes, None]:
    for chunk in chunks(call, first):
        yield event(chunk)
    async for item in events:
        for chunk in chunks(call, item):
            yield event(chunk)
