"""`genwerk --help` is quick and loads nothing heavy, and what draws tokens loads no PyTorch."""

from __future__ import annotations

import resource
import subprocess
import sys

HEAVY = ("torch", "numpy", "sklearn", "matplotlib", "starlette", "tokenizers", "pyarrow")
LIGHT = """
sampler penalties rules banned_words vocabulary prompt_scores constraint reasoning sequence runner scheduler beam_search
speculation prompt_lookup answer_reader stopping generation several self_consistency
"""


def test_help_loads_nothing_heavy() -> None:
    probe = (
        "import sys, runpy\nsys.argv = ['genwerk', '--help']\n"
        "try: runpy.run_module('genwerk', run_name='__main__')\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stderr.strip().splitlines()[-1] == "[]"
    assert "quickstart" in result.stdout and "serve" in result.stdout


def test_help_takes_under_half_a_second_of_work() -> None:
    """Processor time, not the clock, so that a busy machine does not change the verdict; the quickest of three."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "genwerk", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5, spent


def test_nothing_between_logits_and_text_loads_pytorch() -> None:
    """PyTorch takes two seconds and 150 MB to load, which a native engine does without."""
    probe = (
        "import importlib, sys\n"
        f"for name in {LIGHT.split()!r}:\n"
        "    importlib.import_module(f'genwerk.inference.{name}')\n"
        "    assert 'torch' not in sys.modules, name"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)
