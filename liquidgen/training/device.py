"""The device, its precision, and being asked to stop."""

import ctypes
import platform
import signal
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator

from liquidgen.errors import LiquidgenError

# mallopt's parameters, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Accelerate, set up for a device and a precision.

    Args:
        device: auto (the best there is), cpu, cuda or mps.
        precision: auto (bf16 on a GPU that has it, fp16 on an older one, fp32 elsewhere), fp32, bf16 or fp16.

    Raises:
        LiquidgenError: the machine has no such device, or the device no such precision.
    """
    there_is = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there_is[device]:
        raise LiquidgenError(f"--device {device}: there is none here", "leave --device away")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if precision == "fp16" and not on_gpu:
        raise LiquidgenError(
            "--precision fp16 needs a CUDA GPU", "leave --precision away, or give bf16 or fp32"
        )
    if precision == "auto":
        precision = _best_precision(on_gpu)
    return Accelerator(cpu=device == "cpu", mixed_precision=PRECISIONS[precision])


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one, instead of giving it back to the system page by page.

    On a CPU a training step takes 13% less time for it (S at 256 px, two cores). Without glibc it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 2**30)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _best_precision(on_gpu: bool) -> str:
    if not on_gpu:
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


class StopSignal:
    """While open, SIGINT and SIGTERM ask for an orderly end; a second one ends at once."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.received = False

    def __enter__(self) -> "StopSignal":
        self.previous = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Whether any process was asked to stop; every process gets the same answer."""
        if self.accelerator.num_processes == 1:
            return self.received
        flag = torch.tensor(float(self.received), device=self.accelerator.device)
        return float(self.accelerator.reduce(flag, "sum")) > 0  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
