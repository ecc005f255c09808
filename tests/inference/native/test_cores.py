"""Where a pool's threads run, and that it changes no more of how they are scheduled than it says (Linux)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from genwerk.inference.native import library

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is asked of the system")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program, source = tmp_path_factory.mktemp("cores") / "cores_driver", Path(__file__).parent / "cores_driver.cpp"
    command = [*library._compiler(), "-std=c++20", "-pthread", f"-I{library._KERNELS}", source, "-o", program]
    subprocess.run(command, check=True)
    return program


class Pool:
    """A process with a pool; `caller` is the thread that settles it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.caller = process, process.pid

    def settle(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "settled\n"

    @property
    def workers(self) -> list[int]:
        return [int(name) for name in os.listdir(f"/proc/{self.caller}/task") if int(name) != self.caller]


@pytest.fixture
def start(driver: Path) -> Iterator[Callable[..., Pool]]:
    """start(threads, policy) is a pool that was settled once."""
    with ExitStack() as stack:

        def make(threads: int, policy: int | None = None) -> Pool:
            def choose() -> None:
                if policy is not None:
                    os.sched_setscheduler(0, policy, os.sched_param(0))

            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen([driver, str(threads)], text=True, preexec_fn=choose, **pipes)  # type: ignore[call-overload]
            pool = Pool(stack.enter_context(process))
            stack.callback(process.stdin.close)
            pool.settle()
            return pool

        yield make


@pytest.mark.parametrize("policy", ["SCHED_BATCH", "SCHED_IDLE", "SCHED_OTHER"])
@pytest.mark.parametrize("reset", [0, getattr(os, "SCHED_RESET_ON_FORK", 0)])
def test_the_policy_stays_as_it_was_chosen(start: Callable[..., Pool], policy: str, reset: int) -> None:
    asked = getattr(os, policy) | reset
    pool = start(2, asked)
    assert os.sched_getscheduler(pool.caller) == asked


def test_slices_of_the_caller_are_short(start: Callable[..., Pool]) -> None:
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    shown = Path("/proc/self/sched")
    if release < (6, 12) or not shown.exists() or "se.slice" not in shown.read_text():
        pytest.skip("this Linux has no slices to ask for, or does not show them")
    told = Path(f"/proc/{start(1).caller}/sched").read_text()
    assert re.search(r"se\.slice\s*:\s*100000$", told, re.MULTILINE)


CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


@pytest.mark.skipif(len(CORES) < 2, reason="one core")
def test_workers_leave_the_core_to_the_caller_where_it_is_pinned_too(start: Callable[..., Pool]) -> None:
    pool = start(len(CORES))
    for core in (CORES[0], CORES[-1], CORES[0]):
        os.sched_setaffinity(pool.caller, {core})
        pool.settle()
        assert {frozenset(os.sched_getaffinity(one)) for one in pool.workers} == {frozenset(CORES) - {core}}


def test_workers_are_left_alone_where_there_are_too_few_cores(start: Callable[..., Pool]) -> None:
    pool = start(len(CORES) + 1)
    assert all(os.sched_getaffinity(one) == set(CORES) for one in pool.workers)


@pytest.mark.skipif(len(CORES) < 4, reason="cores to spare are needed")
def test_workers_are_left_alone_where_there_are_cores_to_spare(start: Callable[..., Pool]) -> None:
    (worker,) = start(2).workers
    assert os.sched_getaffinity(worker) == set(CORES)
