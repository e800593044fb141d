"""Buffers that betray a kernel: canaries around the data, poison in the gaps and outputs."""

import math

import torch

POISON = float("nan")


class Guarded:
    """An (n, d) view with NaN before, after and between its rows.

    A kernel that reads outside its rows brings NaN into its results; one that writes outside them
    changes a canary. `gap` widens the row stride, `shift` breaks the 16-byte alignment.
    """

    def __init__(self, data, gap=0, shift=0, margin=64):
        n, d = data.shape
        stride = d + gap
        self.store = torch.full((2 * margin + shift + n * stride,), POISON, dtype=data.dtype)
        self.store = self.store.to(data.device)
        self.view = self.store.as_strided((n, d), (stride, 1), margin + shift)
        self.view.copy_(data)
        self.outside = torch.ones_like(self.store, dtype=torch.bool)
        self.outside.as_strided((n, d), (stride, 1), margin + shift).fill_(False)

    def untouched_outside(self):
        return bool(self.store[self.outside].isnan().all())


class poisoned_outputs:
    """While this is active, every new buffer is full of NaN and has canaries before and behind it.

    NaN is what `torch.empty` may hold, so a kernel that leaves an output unwritten is seen; leaving
    the block fails if a canary changed.
    """

    def __enter__(self):
        self.empty, self.empty_like, self.stores = torch.empty, torch.empty_like, []
        torch.empty = self.make
        torch.empty_like = lambda t, **k: self.make(t.shape, dtype=t.dtype, device=t.device)

    def make(self, *shape, dtype=torch.float32, device="cpu", margin=64):
        shape = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        count = math.prod(shape)
        store = poison(self.empty(count + 2 * margin, dtype=dtype, device=device))
        self.stores.append((store, count, margin))
        return store[margin : margin + count].view(shape)

    def __exit__(self, kind, *exc):
        torch.empty, torch.empty_like = self.empty, self.empty_like
        for store, count, margin in self.stores if kind is None else ():
            around = torch.cat([store[:margin], store[margin + count :]])
            intact = around.isnan() if store.is_floating_point() else around == -1
            assert intact.all(), f"a buffer of {count} elements was written beyond its ends"


def poison(t):
    return t.fill_(POISON) if t.is_floating_point() else t.fill_(-1)


def draw(*shape, seed=0, dtype=torch.float32, device="cpu"):
    """Normal numbers that are the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).to(device)


ULP = {torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


def close(got, exact, dtype, slack=0.0, ulps=None):
    """|got - exact| within `ulps` of the stored dtype, plus `slack`.

    By default one unit for float32, where arithmetic errs, and half a unit for the 16-bit dtypes:
    that is rounding to nearest, which truncation would fail.
    """
    ulps = (1.0 if dtype == torch.float32 else 0.5) if ulps is None else ulps
    error = (got.double().cpu() - exact.double().cpu()).abs()
    allowed = ulps * ULP[dtype] * exact.double().cpu().abs() + slack
    worst = (error - allowed).max().item() if error.numel() else -1.0
    assert worst <= 0, f"off by {error.max():.3g}, {worst:.3g} more than allowed"
