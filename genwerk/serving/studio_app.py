"""A server of generators alone, where a workspace has promoted pictures and no text model: the API, and the Studio."""

from __future__ import annotations

from collections.abc import Iterable

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from genwerk.core.workspace import Workspace
from genwerk.monitoring.metrics import ServerMetrics
from genwerk.serving.auth import KeyStore
from genwerk.serving.frame import MAX_BODY, QUEUE, build_app
from genwerk.serving.runs import Runs
from genwerk.serving.streaming import Admission
from genwerk.serving.studio import Studio
from genwerk.serving.studio_routes import StudioRoutes

__all__ = ["create_studio_app"]


def create_studio_app(
    workspace: Workspace,
    name: str,
    *,
    keys: KeyStore,
    hosts: Iterable[str] | None = ("localhost",),
    max_body: int = MAX_BODY,
    queue: int = QUEUE,
) -> Starlette:
    """The ASGI application; hosts, max_body, queue: as `create_app`. Raises ModelError where one cannot be loaded."""
    studio, metrics = Studio(workspace), ServerMetrics()
    for one in studio.names():
        studio.get(one)

    def serving() -> set[str]:
        return {str(workspace.pinned(f"generating-{one}")["generator"]) for one in studio.names()}

    pictures = StudioRoutes(studio, Runs(workspace, serving), keys, Admission(queue, metrics), metrics)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": await run_sync(studio.entries)})

    async def info(request: Request) -> Response:
        known = bool(await run_sync(keys.names))
        return JSONResponse({"name": name, "keys": known, "text": False, "generators": await run_sync(studio.names)})

    routes = [Route("/v1/models", models), Route("/v1/genwerk/info", info), *pictures.routes]
    return build_app(name, routes, metrics=metrics, keys=keys, hosts=hosts, max_body=max_body)
