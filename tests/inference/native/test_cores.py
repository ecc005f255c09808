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


def build(name: str, folder: Path) -> Path:
    source = Path(__file__).parent / f"{name}.cpp"
    command = [*library._compiler(), "-std=c++20", "-pthread", f"-I{library._KERNELS}", source, "-o", folder / name]
    subprocess.run(command, check=True)
    return folder / name


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("cores_driver", tmp_path_factory.mktemp("cores"))


@pytest.fixture(scope="module")
def kept_apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("kept_apart", tmp_path_factory.mktemp("cores"))


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


@pytest.mark.parametrize(
    ("threads", "cores", "given"),
    [
        (2, 2, ["1", "", "0", "1"]),
        (3, 3, ["12 12", "", "02 02", "12 12"]),
        (2, 3, ["12", "", "02", "12"]),
        (3, 2, ["", "", "", ""]),  # too few cores for it
        (2, 4, ["", "", "", ""]),  # enough without it
    ],
)
def test_workers_are_kept_off_the_callers_core(kept_apart: Path, threads: int, cores: int, given: list[str]) -> None:
    """The caller is on core 0, there again, on core 1, and back."""
    command = [kept_apart, str(threads), str(cores)]
    told = subprocess.run(command, input="0 0 1 0", capture_output=True, text=True, check=True).stdout
    assert [line.strip() for line in told.splitlines()] == given


def test_a_pool_of_more_threads_than_cores_leaves_them_where_they_may_be(start: Callable[..., Pool]) -> None:
    cores = os.sched_getaffinity(0)
    assert all(os.sched_getaffinity(one) == cores for one in start(len(cores) + 1).workers)


def test_a_pool_keeps_its_worker_off_the_core_where_its_caller_is_pinned(start: Callable[..., Pool]) -> None:
    """As many threads as cores: on a machine of one core the pool has no worker."""
    cores = os.sched_getaffinity(0)
    pool = start(len(cores))
    for core in (min(cores), max(cores), min(cores)):
        os.sched_setaffinity(pool.caller, {core})
        pool.settle()
        assert all(os.sched_getaffinity(one) == cores - {core} for one in pool.workers)
