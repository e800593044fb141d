"""Buffers that betray a kernel: canaries around the data, poison in the gaps and outputs."""

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
    """While this is active, every new buffer is full of NaN (integers: -1), as `empty` allows."""

    def __enter__(self):
        self.empty, self.empty_like = torch.empty, torch.empty_like
        torch.empty = lambda *a, **k: poison(self.empty(*a, **k))
        torch.empty_like = lambda *a, **k: poison(self.empty_like(*a, **k))

    def __exit__(self, *exc):
        torch.empty, torch.empty_like = self.empty, self.empty_like


def poison(t):
    return t.fill_(POISON) if t.is_floating_point() else t.fill_(-1)


def draw(*shape, seed=0, dtype=torch.float32, device="cpu"):
    """Normal numbers that are the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).to(device)


ULP = {torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


def close(got, exact, dtype, slack=0.0, ulps=1.0):
    """|got - exact| within `ulps` of the stored dtype, plus `slack`."""
    error = (got.double().cpu() - exact.double().cpu()).abs()
    allowed = ulps * ULP[dtype] * exact.double().cpu().abs() + slack
    worst = (error - allowed).max().item() if error.numel() else -1.0
    assert worst <= 0, f"off by {error.max():.3g}, {worst:.3g} more than allowed"
