"""One heap for all threads: what they ask for leaves no heaps behind."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, threading
from genwerk.core.heap import share_heap, trim_heap
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
hold = threading.Barrier(13)
def ask():
    libc.malloc(1000)
    hold.wait()
threads = [threading.Thread(target=ask) for _ in range(12)]
[thread.start() for thread in threads]
hold.wait()
trim_heap()
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
@pytest.mark.parametrize("call", ["share_heap()", ""])
def test_threads_share_a_heap_where_it_was_asked_for(call: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(call=call)], capture_output=True, text=True, check=True
    )
    arenas = len(re.findall("^Arena", told.stderr, re.MULTILINE))
    assert arenas == 1 if call else arenas > 1
