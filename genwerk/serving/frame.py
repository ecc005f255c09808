"""What every server has around its endpoints: the page, health, metrics, the door, and errors in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from genwerk import __version__
from genwerk.core.errors import GenwerkError
from genwerk.monitoring.metrics import ServerMetrics
from genwerk.serving.auth import KeyStore
from genwerk.serving.errors import handle_genwerk_error, handle_http_error
from genwerk.serving.middleware import BodyLimit, Door, Measured, SecurityHeaders

__all__ = ["MAX_BODY", "PAGE", "QUEUE", "build_app"]

PAGE = Path(__file__).parent / "page"
MAX_BODY = 8_000_000
QUEUE = 16


def build_app(
    name: str,
    routes: Sequence[BaseRoute],
    *,
    metrics: ServerMetrics,
    keys: KeyStore,
    hosts: Iterable[str] | None,
    max_body: int,
) -> Starlette:
    """An ASGI application of these routes. name: of the deployment; hosts, max_body: as `create_app`."""

    async def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "deployment": name, "version": __version__})

    async def shown(request: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    own = [Route("/", page), Route("/health", health), Route("/metrics", shown)]
    middleware = [
        Middleware(Measured, metrics=metrics),
        Middleware(SecurityHeaders),
        Middleware(Door, keys=keys, hosts=None if hosts is None else tuple(hosts)),
        Middleware(BodyLimit, limit=max_body),
    ]
    handlers: Any = {
        HTTPException: handle_http_error, GenwerkError: handle_genwerk_error, Exception: handle_genwerk_error,
    }  # fmt: skip
    routes = [*own, *routes, Mount("/static", StaticFiles(directory=PAGE))]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
