"""Kernels one can watch: the same source runs in Triton, or in a twin that writes down every access.

    from valuelab.kernels.lab import tl, triton

    @triton.jit
    def double(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(out_ptr + i, 2 * tl.load(x_ptr + i, mask=i < n), mask=i < n)

    double[(4,)](x, out, n, BLOCK=32)             Triton's interpreter, or the twin without Triton
    seen = trace(double, (4,), x, out, n, BLOCK=32)      always the twin: who read and wrote what

`tl` and `triton` here stand in for Triton's own modules: with `import triton` and `import
triton.language as tl` instead, the source is a real kernel, unchanged. The twin knows the part of
the language that the lesson uses. It is plain torch, so it runs on macOS and Windows, too.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor

from . import backend


class constexpr:
    """Marks a parameter that is known when the kernel is compiled."""


# ------------------------------------------------------------------------------- the trace


@dataclass(frozen=True)
class Access:
    """One load or store of one program: which elements of which argument it touched."""

    program: int
    kind: str  # "load" or "store"
    name: str  # the argument that the pointer came from
    elements: Tensor  # offsets from the argument's first element, unmasked ones only, flat
    itemsize: int


@dataclass
class Trace:
    """Everything that one launch read and wrote, in order."""

    programs: int
    accesses: list[Access] = field(default_factory=list)
    inside: dict[str, set[int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def bytes(self, kind: str | None = None, name: str | None = None) -> int:
        """Bytes asked for by loads, by stores (`kind`), of one argument (`name`), or in all."""
        return sum(
            a.itemsize * a.elements.numel() for a in self.accesses if kind in (None, a.kind) and name in (None, a.name)
        )

    def elements(self, kind: str, name: str) -> dict[int, set[int]]:
        """For each element of an argument that was touched: the programs that did it."""
        found: dict[int, set[int]] = {}
        for a in self.accesses:
            if a.kind == kind and a.name == name:
                for e in a.elements.tolist():
                    found.setdefault(e, set()).add(a.program)
        return found

    def outside(self) -> list[Access]:
        """Accesses that leave the memory the argument's tensor lives in."""
        return [a for a in self.accesses if not self._within(a, range(self.sizes[a.name]))]

    def strangers(self) -> list[Access]:
        """Accesses to elements that are no element of the argument: the gap between two rows."""
        return [a for a in self.accesses if not self._within(a, self.inside[a.name])]

    def shared_writes(self) -> dict[str, list[int]]:
        """Elements that one program stores and another loads or stores: their order is chance."""
        found = {}
        for name in {a.name for a in self.accesses if a.kind == "store"}:
            stores, loads = self.elements("store", name), self.elements("load", name)
            clash = [e for e, who in stores.items() if len(who | loads.get(e, set())) > 1]
            if clash:
                found[name] = sorted(clash)
        return found

    @staticmethod
    def _within(access: Access, allowed) -> bool:
        return all(e in allowed for e in access.elements.tolist())


# -------------------------------------------------------------------------------- the twin


class Pointer:
    """A pointer, or a block of them: an argument's memory and offsets from its first element."""

    def __init__(self, owner: Tensor, name: str, offsets: Tensor):
        self.owner, self.name, self.offsets = owner, name, offsets
        self.dtype = SimpleNamespace(element_ty=owner.dtype)

    def __add__(self, step):
        return Pointer(self.owner, self.name, self.offsets + step)

    __radd__ = __add__

    def __sub__(self, step):
        return Pointer(self.owner, self.name, self.offsets - step)


class _Machine:
    """The program that runs now."""

    index: tuple[int, int, int] = (0, 0, 0)
    grid: tuple[int, int, int] = (1, 1, 1)
    trace: Trace | None = None


def _memory(owner: Tensor) -> Tensor:
    """All of the argument's storage from its first element on, flat."""
    count = owner.untyped_storage().nbytes() // owner.element_size() - owner.storage_offset()
    return owner.as_strided((count,), (1,), owner.storage_offset())


def _touch(kind: str, pointer, mask) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets, which of them are asked for, and which of those exist; noted in the trace."""
    if not isinstance(pointer, Pointer):
        raise TypeError(f"tl.{kind} takes a pointer first; this is a {type(pointer).__name__}")
    offsets = torch.as_tensor(pointer.offsets)
    asked = torch.ones_like(offsets, dtype=torch.bool)
    if mask is not None:
        offsets, asked = torch.broadcast_tensors(offsets, torch.as_tensor(mask))
    size = _memory(pointer.owner).numel()
    exists = asked & (offsets >= 0) & (offsets < size)
    x, y, z = _Machine.index
    program = x + _Machine.grid[0] * (y + _Machine.grid[1] * z)
    _Machine.trace.accesses.append(
        Access(program, kind, pointer.name, offsets[asked].reshape(-1), pointer.owner.element_size())
    )
    return offsets, asked, exists


def _load(pointer, mask=None, other=None):
    offsets, asked, exists = _touch("load", pointer, mask)
    memory = _memory(pointer.owner)
    # what Triton leaves undefined is NaN here: masked without `other`, or outside all memory
    floating = memory.is_floating_point()
    nothing = float("nan") if floating else -(2**31) % 2**31
    value = torch.full(offsets.shape, nothing, dtype=memory.dtype)
    value[exists] = memory[offsets[exists].long()]
    if other is not None:
        value = torch.where(asked, value, torch.as_tensor(other).to(value.dtype))
    return value


def _store(pointer, value, mask=None):
    if not isinstance(pointer, Pointer):
        raise TypeError(f"tl.store takes a pointer first; this is a {type(pointer).__name__}")
    value = torch.as_tensor(value)
    if value.dim() > torch.as_tensor(pointer.offsets).dim():
        raise ValueError(f"tl.store: a block of shape {tuple(value.shape)} into one element")
    offsets, asked, exists = _touch("store", pointer, mask)
    memory = _memory(pointer.owner)
    value = value.to(memory.dtype).expand(offsets.shape)
    memory[offsets[exists].long()] = value[exists]


def _arange(start, end):
    if (end - start) & (end - start - 1):
        raise ValueError(f"tl.arange({start}, {end}): a block's size must be a power of two")
    return torch.arange(start, end)


def _reduce(name: str):
    def run(x, axis=None):
        if axis is None:
            return getattr(x, {"sum": "sum", "max": "amax", "min": "amin"}[name])()
        return getattr(x, {"sum": "sum", "max": "amax", "min": "amin"}[name])(dim=axis)

    return run


def _float(f):
    return lambda x: f(torch.as_tensor(x))


def _pair(f):
    return lambda a, b: f(torch.as_tensor(a), torch.as_tensor(b))


def _where(condition, a, b):
    return torch.where(torch.as_tensor(condition), a, b)


tl = SimpleNamespace(
    constexpr=constexpr,
    float32=torch.float32, float16=torch.float16, bfloat16=torch.bfloat16,
    int32=torch.int32, int64=torch.int64, int1=torch.bool,
    program_id=lambda axis: torch.tensor(_Machine.index[axis]),
    num_programs=lambda axis: torch.tensor(_Machine.grid[axis]),
    arange=_arange, load=_load, store=_store,
    zeros=lambda shape, dtype: torch.zeros(tuple(shape), dtype=dtype),
    full=lambda shape, value, dtype: torch.full(tuple(shape), value, dtype=dtype),
    sum=_reduce("sum"), max=_reduce("max"), min=_reduce("min"), where=_where,
    maximum=_pair(torch.maximum), minimum=_pair(torch.minimum),
    exp=_float(torch.exp), log=_float(torch.log), sqrt=_float(torch.sqrt), abs=_float(torch.abs),
    static_range=range, range=range, cdiv=lambda a, b: -(-a // b),
)  # fmt: skip


# ----------------------------------------------------------------------------- the kernels


class Kernel:
    """A kernel's source, to be launched in Triton or watched in the twin."""

    def __init__(self, fn: Callable):
        self.fn = self.__wrapped__ = fn
        functools.update_wrapper(self, fn)
        self.__code__ = fn.__code__

    def __call__(self, *args, **kwargs):
        """Called from another kernel: a device function."""
        return _bind(self.fn, tl, lambda k: k)(*args, **kwargs)

    def __getitem__(self, grid):
        """`kernel[grid](...)` launches: interpreted Triton where there is Triton, else the twin.

        Under nbgrader always the twin, which leaves out what lies outside a tensor: there nothing replaces a wrong
        kernel, and one that writes over the process's memory would take the marks of the whole notebook with it.
        """

        def launch(*args, **kwargs):
            if backend.available() and not os.environ.get("NBGRADER_EXECUTION"):
                self.real()[_three(grid)](*args, **kwargs)
            else:
                trace(self, grid, *args, **kwargs)

        return launch

    @functools.cache  # noqa: B019 - kernels live as long as the lesson
    def real(self):
        """The same source as a kernel of Triton's."""
        if "triton" not in sys.modules:
            start()
        import triton
        import triton.language

        fn = _bind(self.fn, triton.language, lambda k: k.real(), triton)
        return triton.jit(fn)


def _bind(fn: Callable, language, device_function: Callable, module=None) -> Callable:
    """`fn` with `tl` and `triton` replaced, and the kernels it calls as `device_function` has them."""
    names = dict(fn.__globals__)
    for name, thing in fn.__globals__.items():
        if thing is tl:
            names[name] = language
        elif thing is triton and module is not None:
            names[name] = module
        elif isinstance(thing, Kernel) and name in fn.__code__.co_names and thing.fn is not fn:
            names[name] = device_function(thing)
    bound = types.FunctionType(fn.__code__, names, fn.__name__, fn.__defaults__, fn.__closure__)
    marks = getattr(fn, "__annotations__", {})
    bound.__annotations__ = {
        k: language.constexpr if v is constexpr or v == "tl.constexpr" else v for k, v in marks.items()
    }
    bound.__module__, bound.__doc__, bound.__qualname__ = fn.__module__, fn.__doc__, fn.__qualname__
    bound.__kwdefaults__ = fn.__kwdefaults__
    return bound


def _three(grid) -> tuple[int, int, int]:
    grid = tuple(int(n) for n in (grid if isinstance(grid, tuple) else (grid,)))
    return (*grid, 1, 1)[:3]


def trace(kernel, grid, *args, **kwargs) -> Trace:
    """Run a kernel in the twin, program by program, and return what it read and wrote.

    Args:
        kernel: from `@triton.jit`, or a plain function.
        grid: (programs,) or up to three numbers.
        args, kwargs: as for a launch; tensors are written to.
    """
    fn = kernel.fn if isinstance(kernel, Kernel) else kernel
    run = _bind(fn, tl, lambda k: k)
    parameters = list(inspect.signature(fn).parameters)
    names = [parameters[i] if i < len(parameters) else f"argument {i}" for i in range(len(args))]
    kwargs.pop("num_warps", None)
    grid = _three(grid)
    seen = Trace(grid[0] * grid[1] * grid[2])

    def pass_on(name, value):
        if not isinstance(value, Tensor):
            return value
        seen.sizes[name] = _memory(value).numel()
        index = torch.zeros((), dtype=torch.long)
        for n, stride in zip(value.shape, value.stride(), strict=True):
            index = index[..., None] + torch.arange(n) * stride
        seen.inside[name] = set(index.reshape(-1).tolist())
        return Pointer(value, name, torch.tensor(0))

    given = [pass_on(n, v) for n, v in zip(names, args, strict=True)]
    named = {n: pass_on(n, v) for n, v in kwargs.items()}
    before = (_Machine.index, _Machine.grid, _Machine.trace)
    try:
        _Machine.grid, _Machine.trace = grid, seen
        for z in range(grid[2]):
            for y in range(grid[1]):
                for x in range(grid[0]):
                    _Machine.index = (x, y, z)
                    run(*given, **named)
    finally:
        _Machine.index, _Machine.grid, _Machine.trace = before
    return seen


triton = SimpleNamespace(
    jit=Kernel,
    cdiv=lambda a, b: -(-a // b),
    next_power_of_2=lambda n: 1 << max(n - 1, 0).bit_length(),
)


def start() -> str:
    """Choose how this notebook runs kernels, before anything imports Triton. Returns a sentence.

    Sets TRITON_INTERPRET, which Triton reads when it is imported, and keeps the rest of the library
    on its torch reference, which is faster than the interpreter.
    """
    os.environ.setdefault("VALUELAB_KERNELS", "torch")
    if not backend.available():
        return f"No Triton on {sys.platform}: kernels run in the course's twin of its language."
    backend.start_interpreter()
    return "Kernels run in Triton's interpreter, program by program, on the CPU."


def find_fault(seen: Trace, got: Tensor, exact: Tensor, tolerance: float = 1e-5) -> str:
    """Name what is wrong with a kernel, from the trace of one launch and its result.

    Looks for the fault that explains most, first: memory that is not ours, elements that are not
    ours, an order left to chance, and only then plain inaccuracy.

    Args:
        seen: what the launch read and wrote.
        got: what it computed.
        exact: the same in float64.
        tolerance: largest error allowed, relative to the largest exact value.

    Returns:
        "out of bounds", "missing mask", "race", "wrong cast" or "none".
    """
    if seen.outside():
        return "out of bounds"
    if seen.strangers():
        return "missing mask"
    if seen.shared_writes():
        return "race"
    error = (got.double() - exact).abs().max()
    if not error <= tolerance * exact.abs().max():
        return "wrong cast"
    return "none"
