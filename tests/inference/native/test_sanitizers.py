"""The kernels neither reach outside their memory, nor lean on undefined behaviour, nor race."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genwerk.inference.native import library

HERE = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def runtime(name: str) -> str:
    """The compiler's own copy of a library, to be loaded before all others."""
    path = run(*library._compiler(), f"-print-file-name={name}").stdout.strip()
    if not os.path.isabs(path):
        pytest.skip(f"the compiler has no {name}")
    return path


def sanitised(folder: Path, kind: str) -> Path:
    """A folder with the kernels, built with a sanitiser: the portable ones and those for this processor."""
    flags = tuple("-O1" if flag == "-O3" else flag for flag in library._FLAGS)

    def build(variant: str) -> None:
        chosen = (*flags, *library.VARIANTS[variant].flags, "-g1", f"-fsanitize={kind}")
        library.build(folder / f"{variant}.so", compiler=library._compiler(), flags=chosen)

    with ThreadPoolExecutor() as threads:
        list(threads.map(build, {"portable", library.usable_variants()[0]}))
    return folder


def steady() -> tuple[str, ...]:
    """The thread sanitiser needs addresses that are not shuffled too far, where the system lets us ask for that."""
    wish = ("setarch", "-R")
    try:
        return wish if run(*wish, "true").returncode == 0 else ()
    except FileNotFoundError:
        return ()


@pytest.fixture(scope="module")
def address_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime("libasan.so")
    return sanitised(tmp_path_factory.mktemp("address"), "address,undefined")


@pytest.fixture(scope="module")
def thread_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime("libtsan.so")
    return sanitised(tmp_path_factory.mktemp("thread"), "thread")


def fuzz_address(path: Path, rounds: int, mode: str = "") -> subprocess.CompletedProcess[str]:
    return run(
        sys.executable, HERE / "fuzz.py", path, str(rounds), mode,
        LD_PRELOAD=f"{runtime('libasan.so')} {runtime('libstdc++.so')}",
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1",
    )  # fmt: skip


def fuzz_thread(path: Path, rounds: int, mode: str = "") -> subprocess.CompletedProcess[str]:
    return run(
        *steady(), sys.executable, HERE / "fuzz.py", path, str(rounds), mode,
        LD_PRELOAD=runtime("libtsan.so"),
        TSAN_OPTIONS="halt_on_error=1",
    )  # fmt: skip


def assert_clean(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr[-6000:]
    assert "runtime error" not in done.stderr
    assert "Sanitizer" not in done.stderr


def test_random_batches_stay_inside_memory_and_defined_behaviour(address_library: Path) -> None:
    done = fuzz_address(address_library, 60)
    assert_clean(done)
    assert done.stdout.startswith("done")


def test_activations_of_almost_nothing_are_defined_behaviour(address_library: Path) -> None:
    assert_clean(fuzz_address(address_library, 12, "vanishing"))


def test_a_block_outside_the_cache_would_be_seen(address_library: Path) -> None:
    done = fuzz_address(address_library, 0, "outside")
    assert done.returncode
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr


def test_random_batches_on_several_threads_do_not_race(thread_library: Path) -> None:
    done = fuzz_thread(thread_library, 12)
    assert_clean(done)
    assert done.stdout.startswith("done")


def test_two_steps_at_once_would_be_seen_to_race(thread_library: Path) -> None:
    assert "ThreadSanitizer: data race" in fuzz_thread(thread_library, 0, "two-at-once").stderr


def pool_driver(folder: Path, *flags: str) -> Path:
    program = folder / "pool_driver"
    include = f"-I{library._KERNELS}"
    done = run(*library._compiler(), "-std=c++20", "-pthread", *flags, include, HERE / "pool_driver.cpp", "-o", program)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_the_pool_does_not_race(tmp_path: Path, threads: str) -> None:
    runtime("libtsan.so")
    program = pool_driver(tmp_path, "-O1", "-g", "-fsanitize=thread")
    assert_clean(run(*steady(), program, threads, "20000"))


def test_a_race_planted_in_the_pools_pieces_would_be_seen(tmp_path: Path) -> None:
    runtime("libtsan.so")
    program = pool_driver(tmp_path, "-O1", "-g", "-fsanitize=thread", "-DPLANTED")
    assert "ThreadSanitizer: data race" in run(*steady(), program, "4", "2000").stderr


@pytest.mark.parametrize(("threads", "rounds"), [("2", "1100000"), ("5", "100000")])
def test_the_pool_does_each_piece_once_also_when_its_count_of_rounds_starts_anew(
    tmp_path: Path, threads: str, rounds: str
) -> None:
    done = run(pool_driver(tmp_path, "-O2"), threads, rounds)
    assert done.returncode == 0, done.stderr
