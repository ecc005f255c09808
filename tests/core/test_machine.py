"""The machine: what would break is a plan made for more cores or memory than there are."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from mmap import mmap

import pytest

from genwerk.core import machine
from genwerk.core.machine import peak_memory_bytes, probe, reset_peak_memory


def test_probe_stays_within_what_the_process_may_use() -> None:
    found = probe()
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert 0 < found.available_bytes <= found.memory_bytes
    assert found.cuda == bool(found.gpus) and found.cpu and found.system


def test_container_limits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/sys/fs/cgroup/cpu.max": "100000 100000\n",
        "/sys/fs/cgroup/memory.max": "1000000\n",
        "/sys/fs/cgroup/memory.current": "400000\n",
        "/proc/meminfo": "MemTotal: 8000 kB\nMemAvailable: 7000 kB\n",
    }
    monkeypatch.setattr(machine, "_read", lambda path: files.get(path, ""))
    found = probe()
    assert (found.cores, found.memory_bytes, found.available_bytes) == (1, 1_000_000, 600_000)


class FakeNvml:
    """Answers like the driver's library."""

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlShutdown(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetCount_v2(self, count: object) -> int:  # noqa: N802
        count._obj.value = 2  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: object) -> int:  # noqa: N802
        handle._obj.value = index.value + 1  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, name: object, size: ctypes.c_uint) -> int:  # noqa: N802
        name.value = f"GPU {handle.value}".encode()  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, memory: object) -> int:  # noqa: N802
        memory._obj[0] = 1 << 33  # type: ignore[attr-defined]
        return 0


@pytest.mark.parametrize(("visible", "names"), [(None, ["GPU 1", "GPU 2"]), ("1", ["GPU 2"]), ("", []), ("-1", [])])
def test_only_visible_gpus_count(monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeNvml())
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = probe()
    assert [gpu.name for gpu in found.gpus] == names and found.cuda == bool(names)
    assert all(gpu.memory_bytes == 1 << 33 for gpu in found.gpus)


def test_peak_memory_sees_a_block_that_is_gone_again() -> None:
    reset_peak_memory()
    before = peak_memory_bytes()
    with mmap(-1, 64 << 20) as block:  # new pages, whatever the heap has free
        block.write(b"x" * (64 << 20))
    assert peak_memory_bytes() >= before + (48 << 20)


def test_core_loads_no_torch_and_no_numpy() -> None:
    modules = ["machine", "workspace", "assets", "events", "hashing", "atomic", "lock", "plan", "artifact", "config"]
    code = "import sys, " + ", ".join(f"genwerk.core.{name}" for name in modules)
    code += "; print(*{'torch', 'numpy', 'httpx'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
