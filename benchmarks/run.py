"""Run every benchmark, one after the other, and print what each measured. `make bench`

    python benchmarks/run.py              all of them
    python benchmarks/run.py decode embed only these
    python benchmarks/inference/run.py    a choice of peers and questions, see its --help

One at a time, because timings on a loaded machine mean nothing; the load is printed first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALL = (
    "inference",
    "decode",
    "speculation",
    "divergence",
    "exactness",
    "load",
    "routing",
    "embed",
    "index",
    "ingest",
    "pdf_reading",
    "scale",
    "boolq",
    "german",
    "quickstart",
    "grounded",
    "citations",
    "digits",
    "denoisers",
    "molecules_reference",
    "emoji",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all when left out")
    names = parser.parse_args().names or list(ALL)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, load {load:.1f}" + (": wait for a quiet machine" if load > 1 else ""))
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        script = HERE / name / "run.py" if (HERE / name).is_dir() else HERE / f"{name}.py"
        if subprocess.run([sys.executable, str(script)]).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"did not finish: {', '.join(failed)}")


if __name__ == "__main__":
    main()
