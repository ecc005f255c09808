"""Start the server: check the door, take the port, load the deployment, serve until stopped."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, closing

import uvicorn
from anyio.to_thread import run_sync

from genwerk.core.errors import ConfigError
from genwerk.core.progress import say
from genwerk.core.workspace import Workspace
from genwerk.inference.text_engine import TextEngine
from genwerk.monitoring.answers import AnswerLog
from genwerk.serving.app import create_app
from genwerk.serving.assistant import Assistant
from genwerk.serving.auth import KeyStore, check_door, is_loopback
from genwerk.serving.deployment import Deployment, load_deployment
from genwerk.serving.frame import MAX_BODY, QUEUE
from genwerk.serving.trace import ANSWERS

KEYS = "keys.json"


def serve_deployment(
    workspace: Workspace,
    name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    replicas: int = 1,
    cache_precision: str = "",
    index: str = "",
) -> None:
    """Serve the promoted deployment `name` until interrupted; see `load_deployment`.

    Raises ConfigError for a host beyond loopback without a key and for a port in use, before anything is loaded;
    WorkspaceError if nothing was promoted under this name.
    """
    keys = KeyStore(workspace.root / KEYS)
    check_door(host, keys)
    listener = _listen(host, port)
    try:
        if not workspace.pinned(f"serving-{name}") and workspace.pinned(f"generating-{name}"):
            _serve_studio(workspace, name, keys, host, listener)
            return
        deployment = load_deployment(
            workspace, name, replicas=replicas, cache_precision=cache_precision, server=_address(listener), index=index
        )
        serve(deployment, host, port, listener=listener)
    finally:
        listener.close()


def serve(
    deployment: Deployment,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    listener: socket.socket | None = None,
    max_body: int = MAX_BODY,
    queue: int = QUEUE,
) -> None:
    """Serve a loaded deployment until interrupted, and close its engine. Raises ConfigError as `serve_deployment`."""
    with ExitStack() as ending:
        ending.callback(deployment.engine.close)
        root = deployment.workspace.root
        keys = KeyStore(root / KEYS)
        check_door(host, keys)
        listener = listener or _listen(host, port)
        hosts = ("localhost", host) if is_loopback(host) else None
        with closing(AnswerLog(root / ANSWERS)) as log:
            app = create_app(Assistant(deployment, log), keys=keys, hosts=hosts, max_body=max_body, queue=queue)
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)
            say(f"✓ {deployment.name} answers at http://{_address(listener)} (Ctrl-C stops it)", style="green")
            sys.stderr.flush()
            _Server(config, deployment.engine, ending).run(sockets=[listener])


def _serve_studio(workspace: Workspace, name: str, keys: KeyStore, host: str, listener: socket.socket) -> None:
    from genwerk.serving.studio_app import create_studio_app

    app = create_studio_app(workspace, name, keys=keys, hosts=("localhost", host) if is_loopback(host) else None)
    say(f"✓ {name} draws at http://{_address(listener)} (Ctrl-C stops it)", style="green")
    sys.stderr.flush()
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Keeps what prompts have in common, and closes the engine, once nobody is answered any more: a signal ends the
    process after that, and nothing behind `run` is sure to be reached."""

    def __init__(self, config: uvicorn.Config, engine: TextEngine, ending: ExitStack) -> None:
        super().__init__(config)
        self._engine, self._ending = engine, ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        try:
            await run_sync(self._engine.save_cache)
        finally:
            await run_sync(self._ending.close)


def _address(listener: socket.socket) -> str:
    """HOST:PORT as it stands in a URL."""
    address, port = listener.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        remedy = "Choose another one with --port, or stop the program that uses it."
        what = f"the server cannot listen on {host}:{port}: {error.strerror or error}"
        raise ConfigError(what, remedy=remedy) from error
    listener.listen(128)
    listener.set_inheritable(True)
    return listener
