"""What this machine has: cores, memory, GPUs; found without loading torch, container limits respected."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTIONS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU and its memory in bytes."""

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """cores: usable by this process; memory_bytes: all it may use; available_bytes: free now."""

    cores: int
    memory_bytes: int
    available_bytes: int
    cuda: bool
    gpus: tuple[Gpu, ...]
    cpu: str
    instructions: tuple[str, ...]
    system: str


def probe() -> Machine:
    """Look at the machine; takes some milliseconds."""
    total, available = _memory()
    gpus = _gpus()
    cpu, instructions = _cpu()
    system = f"{platform.system()} {platform.machine()}"
    return Machine(_cores(), total, available, bool(gpus), gpus, cpu, instructions, system)


def threads_to_use() -> int:
    """As many as PyTorch has been told to use where it is loaded; else OMP_NUM_THREADS, or one for every core."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else _cores()


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


def _cores() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


def _memory() -> tuple[int, int]:
    lines = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    if "MemTotal" not in lines:  # not Linux: all we can ask portably
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total
    total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limits = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    used = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
    for limit_path, used_path in zip(limits, used, strict=True):
        limit, current = _read(limit_path).strip(), _read(used_path).strip()
        if limit.isdigit() and int(limit) < total:
            total = int(limit)
            available = min(available, total - int(current or 0))
    return total, max(available, 0)


def _cpu() -> tuple[str, tuple[str, ...]]:
    lines = dict(line.split(":", 1) for line in _read("/proc/cpuinfo").splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, tuple(flag for flag in _INSTRUCTIONS if flag in flags)


def _gpus() -> tuple[Gpu, ...]:
    """Ask NVML, the driver's own library, which makes no CUDA context. CUDA_VISIBLE_DEVICES is respected."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return ()
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return ()
    if nvml.nvmlInit_v2() != 0:
        return ()
    try:
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        chosen = [int(part) for part in (visible or "").split(",") if part.strip().isdigit()]
        return tuple(_gpu(nvml, index) for index in chosen or range(count.value) if index < count.value)
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: ctypes.CDLL, index: int) -> Gpu:
    handle = ctypes.c_void_p()
    name = ctypes.create_string_buffer(96)
    memory = (ctypes.c_ulonglong * 3)()  # total, free, used
    nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    nvml.nvmlDeviceGetName(handle, name, ctypes.c_uint(96))
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return Gpu(name.value.decode(), int(memory[0]))


def reset_peak_memory() -> bool:
    """Start measuring the peak anew; False where the system cannot (the peak is then that of the whole process)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_bytes() -> int:
    """Largest resident memory of this process since it began or since `reset_peak_memory`, in bytes."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
