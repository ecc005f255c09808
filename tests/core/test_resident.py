"""One heap for all threads, and libraries that go on after their pages were forgotten (Linux with glibc)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from genwerk.core import resident
from genwerk.core.resident import _unchanged

_PROGRAM = """
import ctypes, threading
from genwerk.core.resident import share_heap, trim_heap
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


_COMING_AND_GOING = """
import resource
import numpy as np
from contextlib import nullcontext
from genwerk.core.resident import kept_heap
with {block}:
    with kept_heap():
        pass  # the end of a block inside changes nothing
    for turn in range(20):
        if turn == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(48 << 20, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_kept_heap_is_not_cleared_again_and_again() -> None:
    faults = [
        int(subprocess.run([sys.executable, "-c", _COMING_AND_GOING.format(block=block)], capture_output=True,
                           text=True, check=True).stdout)
        for block in ("kept_heap()", "nullcontext()")
    ]  # fmt: skip
    assert 20 * faults[0] < faults[1]


@pytest.mark.parametrize("call", ["share_heap()", ""])
def test_threads_share_a_heap_where_it_was_asked_for(call: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(call=call)], capture_output=True, text=True, check=True
    )
    arenas = len(re.findall("^Arena", told.stderr, re.MULTILINE))
    assert arenas == 1 if call else arenas > 1


_FORGET = """
import hashlib, json, math, sqlite3, zlib, ctypes, decimal, pathlib
import numpy
from genwerk.core import resident
def held():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps") if line.startswith("Rss:"))
a = numpy.random.default_rng(0).normal(size=(64, 64))
before, size = float(numpy.linalg.det(a)), held()
listing = pathlib.Path("/proc/self/smaps").read_text()
resident.forget_libraries()
assert held() < size, (held(), size)
assert float(numpy.linalg.det(a)) == before and json.loads(json.dumps([math.pi])) == [math.pi]
for start, stop in resident._unchanged(listing):
    print(hex(start), hex(stop))
"""


def test_libraries_go_on_after_their_pages_were_forgotten() -> None:
    told = subprocess.run([sys.executable, "-c", _FORGET], capture_output=True, text=True, check=True)
    assert len(told.stdout.splitlines()) > 5


def test_elsewhere_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other C libraries lack these calls, other systems the listing."""
    monkeypatch.setattr(resident.ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(resident, "_LISTING", tmp_path / "smaps")
    resident.share_heap()
    resident.trim_heap()
    resident.forget_libraries()
    monkeypatch.setattr(resident, "_LISTING", tmp_path)  # is there, and cannot be read
    resident.forget_libraries()


def test_only_libraries_that_are_as_in_their_files_are_forgotten() -> None:
    def part(start: str, rights: str, name: str, anonymous: int, swap: int = 0) -> str:
        place = f"{start}000-{start}fff {rights} 00000000 08:01 42     {name}"
        return f"{place}\nRss: 8 kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\nSwapPss: 0 kB\n"

    listing = (
        part("1", "r-xp", "/usr/lib/libone.so.6", 0)
        + part("2", "r--p", "/usr/lib/libone.so.6", 4)  # relocated
        + part("3", "rw-p", "/usr/lib/libone.so.6", 0)
        + part("4", "r--p", "/models/weights.safetensors", 0)
        + part("5", "rw-p", "", 8)
        + part("6", "r--p", "/usr/lib/two.cpython-311.so", 0)
        + part("7", "r--p", "/usr/lib/libone.so.6", 0, swap=4)  # relocated, and swapped out since
    )
    assert list(_unchanged(listing)) == [(0x1000, 0x1FFF), (0x6000, 0x6FFF)]
