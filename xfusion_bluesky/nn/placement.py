"""Where and how precisely a network computes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["DEVICES", "PRECISIONS", "Placement", "free_bytes", "has_bf16"]

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_UNKNOWN_MEMORY_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Placement:
    """A device, and the arithmetic on it.

    Parameters
    ----------
    device : torch.device
        CPU or CUDA.
    precision : str
        ``"fp32"``; ``"tf32"``: float32 with factors rounded to 10 bits; ``"bf16"``: activations
        of 8 bits.
    """

    device: torch.device
    precision: str

    @classmethod
    def choose(cls, device: str, precision: str) -> Placement:
        """Return what to use.

        Parameters
        ----------
        device : str
            One of `DEVICES`, or ``"cuda:N"``; ``"auto"`` takes CUDA where there is one.
        precision : str
            One of `PRECISIONS`; ``"auto"`` is fp32 on a CPU and tf32, which the published networks
            were run with, on CUDA.

        Raises
        ------
        ValueError
            If there is no such device, or it is not good at this precision.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        kind, _, number = device.partition(":")
        if kind not in DEVICES or (number and not (kind == "cuda" and number.isdigit())):
            raise ValueError(f"device {device!r} is none of {', '.join(DEVICES)}, cuda:N")
        if kind == "auto":
            kind = "cuda" if torch.cuda.is_available() else "cpu"
        if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
            raise ValueError(
                f"device {device!r}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
                f"use device cpu, or install PyTorch for CUDA and its driver"
            )
        if kind == "cpu":
            return cls._on_cpu(precision)
        chosen = "tf32" if precision == "auto" else precision
        if chosen == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError("precision 'bf16': this CUDA device is too old for it; use tf32")
        return cls(torch.device("cuda", int(number or 0)), chosen)

    @classmethod
    def _on_cpu(cls, precision: str) -> Placement:
        if precision == "tf32":
            raise ValueError("precision 'tf32' is one of CUDA devices; use fp32 on a CPU")
        if precision == "bf16" and not has_bf16():
            raise ValueError(
                "precision 'bf16': this CPU has no instructions for it and would be several times "
                "slower than with fp32; use fp32"
            )
        return cls(torch.device("cpu"), "bf16" if precision == "bf16" else "fp32")

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute so inside a ``with`` statement; what was set before is set again after it."""
        matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
        before = matmul.fp32_precision, conv.fp32_precision
        searches = torch.backends.cudnn.benchmark
        if self.device.type == "cuda":
            chosen = "ieee" if self.precision == "fp32" else "tf32"
            matmul.fp32_precision, conv.fp32_precision = chosen, chosen
            # All frames have one size: the search for the best algorithm is done once.
            torch.backends.cudnn.benchmark = True
        try:
            with torch.autocast(
                self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
            ):
                yield
        finally:
            matmul.fp32_precision, conv.fp32_precision = before
            torch.backends.cudnn.benchmark = searches


def has_bf16(cpuinfo: str | None = None) -> bool:
    """Whether a CPU computes with bfloat16 in hardware.

    Parameters
    ----------
    cpuinfo : str, optional
        What Linux says of the CPU; default: this one.
    """
    if cpuinfo is None:
        cpuinfo = _CPUINFO.read_text(encoding="utf-8") if _CPUINFO.is_file() else ""
        if platform.system() != "Linux":
            return False
    flags = {
        flag
        for line in cpuinfo.splitlines()
        if line.lower().startswith(("flags", "features"))
        for flag in line.partition(":")[2].split()
    }
    return bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})


def free_bytes(device: torch.device) -> int:
    """Memory a network may still take on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    limits = [_available_bytes()]
    most, now = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if most is not None and now is not None:
        limits.append(max(0, most - now + _file_cache_bytes()))
    return min(limits)


def _available_bytes() -> int:
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError):
        return _UNKNOWN_MEMORY_BYTES


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _file_cache_bytes() -> int:
    """Return what the group holds of files, and gives back when it is asked to."""
    try:
        lines = (_CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    kinds = ("active_file ", "inactive_file ")
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
