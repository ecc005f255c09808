"""`genwerk --help` is quick and loads nothing heavy, and what draws tokens loads no PyTorch."""

from __future__ import annotations

import resource
import subprocess
import sys

HEAVY = ("torch", "numpy", "sklearn", "matplotlib", "starlette", "tokenizers", "pyarrow")
LIGHT = """
sampler penalties rules banned_words vocabulary prompt_scores constraint reasoning sequence runner scheduler beam_search
speculation prompt_lookup answer_reader stopping generation several self_consistency backend engine engines
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


def test_help_takes_little_more_work_than_the_library_that_prints_it() -> None:
    """Processor time beside that of importing typer's commands, the quickest of three: a busy machine slows both."""
    assert _work("-m", "genwerk", "--help") < 2 * _work("-m", "typer", "--help")


def _work(*arguments: str) -> float:
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def test_nothing_between_logits_and_text_loads_pytorch() -> None:
    """PyTorch takes two seconds and 150 MB to load, which a native engine does without."""
    probe = (
        "import importlib, sys\n"
        f"for name in {LIGHT.split()!r}:\n"
        "    importlib.import_module(f'genwerk.inference.{name}')\n"
        "    assert 'torch' not in sys.modules, name"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)
