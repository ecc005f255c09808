"""A server of generators alone, where a workspace has promoted pictures and no text model: the API, and the Studio."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from genwerk import __version__
from genwerk.core.errors import GenwerkError
from genwerk.core.workspace import Workspace
from genwerk.monitoring.metrics import ServerMetrics
from genwerk.serving.app import MAX_BODY, PAGE, QUEUE
from genwerk.serving.auth import KeyStore
from genwerk.serving.errors import handle_genwerk_error, handle_http_error
from genwerk.serving.middleware import BodyLimit, Door, Measured, SecurityHeaders
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

    async def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "deployment": name, "version": __version__})

    async def shown(request: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": await run_sync(studio.entries)})

    async def info(request: Request) -> Response:
        known = bool(await run_sync(keys.names))
        return JSONResponse({"name": name, "keys": known, "text": False, "generators": await run_sync(studio.names)})

    routes = [
        Route("/", page),
        Route("/health", health),
        Route("/metrics", shown),
        Route("/v1/models", models),
        Route("/v1/genwerk/info", info),
        *pictures.routes,
        Mount("/static", StaticFiles(directory=PAGE)),
    ]
    middleware = [
        Middleware(Measured, metrics=metrics),
        Middleware(SecurityHeaders),
        Middleware(Door, keys=keys, hosts=None if hosts is None else tuple(hosts)),
        Middleware(BodyLimit, limit=max_body),
    ]
    handlers: Any = {
        HTTPException: handle_http_error, GenwerkError: handle_genwerk_error, Exception: handle_genwerk_error,
    }  # fmt: skip
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
