"""A small chain of steps for the workspace tests; run as a script it makes the whole chain in the folder it is given.

Each step keeps a count in its scratch after every part, so that an attempt can see how far a killed one came.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from genwerk.core.atomic import write_json
from genwerk.core.config import Config
from genwerk.core.workspace import Artifact, Step, Workspace


class ChainConfig(Config):
    name: str = "a"
    parts: int = 4
    bytes: int = 20_000


def make_part(config: ChainConfig, step: Step, *inputs: Artifact) -> dict[str, float | int | str]:
    """Files that follow from config and inputs alone, however often the step was killed on its way."""
    seen = step.scratch / "progress.json"
    resumed = json.loads(seen.read_text())["done"] if seen.exists() else 0
    if resumed:
        step.events.emit("resumed", done=resumed)
    seed = "".join(item.content_sha256 for item in inputs) + config.name
    for part in range(config.parts):
        block = hashlib.sha256(f"{seed}{part}".encode()).digest()
        folder = step.out / f"part-{part % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{part}.bin").write_bytes(block * (config.bytes // 32))
        write_json(seen, {"done": part + 1})
    return {"parts": config.parts, "resumed": resumed}


def make_chain(root: Path, *, steps: int = 2, parts: int = 2, size: int = 1000) -> list[Artifact]:
    """A chain with a fork: each step takes the two before it."""
    workspace = Workspace(root)
    made: list[Artifact] = []
    for number in range(steps):
        config = ChainConfig(name=str(number), parts=parts, bytes=size)
        made.append(workspace.step(make_part, config, *made[-2:], kind=f"kind{number % 2}"))
    return made


if __name__ == "__main__":
    print("ready", flush=True)
    make_chain(Path(sys.argv[1]), steps=int(sys.argv[2]), parts=int(sys.argv[3]), size=int(sys.argv[4]))
    print("done", flush=True)
