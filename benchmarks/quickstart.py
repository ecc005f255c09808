"""How long the quickstart takes and how much memory it needs; then again with nothing changed.

    python benchmarks/quickstart.py

Bounds: 8 minutes and 6 GB on two cores after installation; 10 s the second time.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time


def timed(workspace: str) -> tuple[float, float]:
    """Seconds by the clock and the largest resident memory in GB of one run."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "genwerk", "quickstart", "--no-serve", "--workspace", workspace]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        first, memory = timed(workspace)
        again, _ = timed(workspace)
    print(f"quickstart, from nothing   {first:7.1f} s   bound 480 s")
    print(f"largest resident memory    {memory:7.2f} GB  bound 6 GB")
    print(f"again, nothing changed     {again:7.1f} s   bound 10 s")


if __name__ == "__main__":
    main()
