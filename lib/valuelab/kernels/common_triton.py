"""Device functions that several kernels share."""

import triton
import triton.language as tl

INTERPRETED = not isinstance(tl.sum, triton.runtime.JITFunction)


@triton.jit
def narrow(x, dtype: tl.constexpr, EXACT: tl.constexpr):
    """`x` (float32) in `dtype`, rounded to nearest even.

    Compiled, that is a plain cast. The interpreter truncates to bfloat16 instead, so with EXACT
    the rounding is done on the bits: add half a unit, and one more if the kept part is odd.
    """
    if EXACT and dtype == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return bits.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return x.to(dtype)
