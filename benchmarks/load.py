"""Ten minutes of mixed load on an engine: errors, latencies, memory, stuck answers and lost blocks.

    python benchmarks/load.py                                  # SmolLM2-135M-Instruct, int8
    python benchmarks/load.py --model DIRECTORY --seconds 60 --rate 2 --precision int4

Ends with status 1 unless everything held (genwerk/evaluation/load.py says what must).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from genwerk.core.assets import KNOWN, fetch
from genwerk.evaluation.load import LoadConfig, run_load
from genwerk.inference.engine import Engine
from genwerk.models.gguf import convert_gguf

MOST_GROWTH = 60.0  # MB; what is resident moves by some tens as threads come and go


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=1.5)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--positions", type=int, default=6144, help="tokens the cache holds")
    parser.add_argument("--context", type=int, default=2048)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.model is None:
            known = KNOWN["smollm2-135m-instruct"]
            convert_gguf(fetch(known.spec, known.sha256), Path(folder) / "model")
        engine = Engine.load(
            chosen.model or Path(folder) / "model",
            engine=chosen.engine,
            precision=chosen.precision,
            cache_positions=chosen.positions,
            max_context=chosen.context,
        )
        print(f"{engine.runner.title}, {chosen.positions} positions, {chosen.rate:g} requests a second")
        report = run_load(engine, LoadConfig(seconds=chosen.seconds, rate=chosen.rate))
    print("\n".join(report.lines()))
    if not report.sound or report.grown > MOST_GROWTH:
        sys.exit("not everything held")


if __name__ == "__main__":
    main()
