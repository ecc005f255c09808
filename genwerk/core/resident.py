"""What a process holds in memory: one heap for many threads, kept while it trains, and what is free is given back.

heap        glibc gives threads heaps of their own ("arenas", up to eight per core), and large pieces that come and go
            between small ones that stay leave holes in each. With a thread per request an engine grew from 643 to
            675 MB in 75 s of mixed load and on (707 to 846 MB in ten minutes) while it held 114 MB all the time; with
            one arena it stays at 626, as fast as before. Python's lock lets one thread at a time ask for memory anyway.
kept        a step of training or of sampling asks for tensors of many megabytes and frees them. glibc gives such
            pieces back to the system at once, which clears every page when it is asked for again: 48,000 pages a step
            of a U-Net on digits. A heap that is kept makes such a step 7 to 11 % shorter; the largest size is the same.
libraries   starting PyTorch reads through 130 MB of its libraries, of which serving uses a third. What is forgotten is
            read again from the system's copy of the file when it is used.

Other systems and C libraries are left as they are. Source: mallopt(3), malloc_trim(3), madvise(2), proc_pid_smaps(5).
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["forget_libraries", "kept_heap", "share_heap", "trim_heap"]

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # of malloc.h
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}  # where glibc lets them rise to
_NEVER = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: 2**31 - 1}
_keeping: list[None] = []  # one for each block that keeps the heap at the moment
_counting = threading.Lock()
_DONTNEED = 4  # MADV_DONTNEED of mman.h
_LISTING = Path("/proc/self/smaps")  # Linux
_MAPPED = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)")


def share_heap() -> None:
    """Let threads to come use one heap. Call early: heaps that are there already stay."""
    _set({_ARENA_MAX: 1})


@contextmanager
def kept_heap() -> Iterator[None]:
    """Let the heap keep what is freed while the block runs, and give it back at its end.

    There may be blocks inside it, and others in other threads: the last one gives back.
    """
    with _counting:
        _keeping.append(None)
        _set(_NEVER)
    try:
        yield
    finally:
        with _counting:
            _keeping.pop()
            if not _keeping:
                _set(_USUAL)
                trim_heap()


def trim_heap() -> None:
    """Give the system back what is free."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set(options: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)


def forget_libraries() -> None:
    """Take pages of libraries out of the process that are as in their files; they come back when they are used.

    Libraries of which a page was changed, or swapped out since, stay as they are.
    """
    try:
        listing = _LISTING.read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system, or it may not be read here
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start, stop in list(_unchanged(listing)):
        madvise(start, stop - start, _DONTNEED)


def _unchanged(listing: str) -> Iterator[tuple[int, int]]:
    """Where libraries lie that cannot be written to, of which no page differs from its file and none is swapped out."""
    place = None  # a page that is swapped out was changed, and does not count as anonymous any more
    for line in listing.splitlines():
        if (found := _MAPPED.fullmatch(line)) is not None:
            start, stop, rights, name = found.groups()
            library = ".so" in name.rpartition("/")[2].lower() and "w" not in rights
            place = (int(start, 16), int(stop, 16)) if library else None
        elif line.startswith("Anonymous:") and line.split()[1] != "0":
            place = None
        elif place is not None and line.startswith("Swap:") and line.split()[1] == "0":
            yield place
