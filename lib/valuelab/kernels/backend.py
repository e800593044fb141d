"""Which implementation of a kernel runs: compiled Triton, interpreted Triton, or plain torch.

`VALUELAB_KERNELS` chooses for the whole process, `using(...)` for a block of code:

    auto       compiled on a CUDA or ROCm tensor, torch on any other. `TRITON_INTERPRET=1`, Triton's
               own switch, turns both into the interpreter.
    torch      the reference, everywhere
    interpret  Triton's interpreter, which runs a kernel program by program on the CPU

Triton has wheels for Linux only. Nothing here imports it unless it is going to be used.
"""

import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

CHOICES = ("auto", "torch", "interpret")
_forced: list[str] = []


@functools.cache
def available() -> bool:
    """Whether Triton can be imported on this machine (it is not imported to find out)."""
    return sys.platform == "linux" and importlib.util.find_spec("triton") is not None


@contextmanager
def using(choice: str) -> Iterator[None]:
    """Run the kernels of this block with one implementation: "auto", "torch" or "interpret"."""
    _forced.append(_known(choice))
    try:
        yield
    finally:
        _forced.pop()


def choose(x: Tensor) -> str:
    """The implementation for tensors that live where `x` lives: torch, interpret or triton.

    Raises:
        ValueError: `VALUELAB_KERNELS` names no implementation.
        RuntimeError: the interpreter is asked for where Triton is missing, or was imported without
            it.
    """
    if x.dtype == torch.float64:
        return "torch"  # the kernels compute in float32
    wanted = _forced[-1] if _forced else _known(os.environ.get("VALUELAB_KERNELS") or "auto")
    if wanted == "torch":
        return "torch"
    if wanted == "interpret":
        start_interpreter()
        return "interpret"
    if _asked_by_triton() and available():
        start_interpreter()
        return "interpret"
    return "triton" if x.is_cuda and available() else "torch"


def plain(x: Tensor) -> bool:
    """Whether to call the reference directly, without going through a torch operator.

    True for ordinary tensors in eager mode where torch is chosen. Besides 10 us a call this saves
    the first call's import of torch._dynamo, which takes seconds and imports Triton.
    """
    ordinary = type(x) is Tensor or type(x) is torch.nn.Parameter
    return ordinary and not torch.compiler.is_compiling() and choose(x) == "torch"


def start_interpreter() -> None:
    """Import Triton so that its kernels run in the interpreter.

    Triton decides this when it is imported: set late, `tl.sum` and `tl.max` stay compiled and die.

    Raises:
        RuntimeError: there is no Triton here, it does not fit this numpy, or it is already in this
            process, compiled.
    """
    if not available():
        raise RuntimeError(
            f"kernels: the interpreter needs Triton, which has wheels for Linux only "
            f"(this is {sys.platform}). Use VALUELAB_KERNELS=torch: same results, no Triton."
        )
    if "triton" not in sys.modules:
        os.environ["TRITON_INTERPRET"] = "1"
    import numpy
    import triton
    import triton.language as tl

    if _release(triton) < (3, 7) and _release(numpy) >= (2, 5):
        raise RuntimeError(
            f"kernels: the interpreter of Triton {triton.__version__} cannot count in a loop with numpy "
            f"{numpy.__version__}. Install triton 3.7 or newer, or numpy<2.5; or use VALUELAB_KERNELS=torch."
        )
    if type(tl.sum).__name__ != "InterpretedFunction":
        raise RuntimeError(
            "kernels: Triton was imported before its interpreter was asked for, so it cannot be "
            "interpreted in this process any more. Restart, and set TRITON_INTERPRET=1 before the "
            "first import (transformers' model classes import triton, too)."
        )


def _release(package: ModuleType) -> tuple[int, ...]:
    return tuple(int(part) for part in package.__version__.split(".")[:2])


def _asked_by_triton() -> bool:
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def _known(choice: str) -> str:
    if choice not in CHOICES:
        raise ValueError(
            f"kernels: VALUELAB_KERNELS={choice!r} names no implementation. Choose one of {', '.join(CHOICES)}."
        )
    return choice
