"""One start of a process: its first token, and where the time before it went. Arguments: model directory, precision."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

began = time.perf_counter()
from genwerk.core.types import Message, Request, Sampling  # noqa: E402
from genwerk.inference.engine import Engine  # noqa: E402

imported = time.perf_counter()
engine = Engine.load(Path(sys.argv[1]), precision=sys.argv[2])
loaded = time.perf_counter()
next(iter(engine.stream(Request((Message("user", "What does assert do?"),), Sampling(max_tokens=2)))))
drawn = time.perf_counter()
print(json.dumps({"imports": imported - began, "load": loaded - imported, "token": drawn - loaded}), flush=True)
