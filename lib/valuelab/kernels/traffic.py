"""Bytes a steering step moves, counted before anything is written. S is one pass over the states.

A step that only adds and multiplies is bound by memory: its time is at least its bytes divided by
the bandwidth. Counting the bytes tells what a fused kernel can gain, and what it cannot.
"""

from collections.abc import Iterable

# (reads, writes) of matrices with n·d elements, in units of S = n·d·2 bytes (bfloat16);
# a float32 matrix counts 2. One entry for each kernel that eager torch launches.
EAGER_AS_WRITTEN = (
    (1, 2),  # x = h.float()
    (2, 0),  # x @ w
    (0, 2),  # gap[:, None] * w
    (4, 2),  # x + step
    (2, 1),  # .to(h.dtype)
)
BEST_EAGER = (
    (1, 0),  # torch.mv(h, w)
    (1, 1),  # torch.addr(h, step, w)
)
SEPARATE_NORM = (
    (2, 1),  # residual + x
    (1, 2),  # x = h.float()
    (2, 0),  # x @ w
    (0, 2),  # gap[:, None] * w
    (4, 2),  # x + step
    (2, 1),  # .to(h.dtype)
    (1, 2),  # x = h.float()
    (2, 2),  # x²
    (2, 0),  # mean
    (2, 2),  # x · rsqrt
    (2, 1),  # .to(h.dtype)
    (1, 1),  # gain · x
)


def passes(steps: Iterable[tuple[float, float]]) -> float:
    """Passes over the states that a list of (reads, writes) adds up to, in units of S."""
    return sum(reads + writes for reads, writes in steps)


def steer_bytes(n: int, d: int, itemsize: int = 2, *, inplace: bool = False, open_share: float = 1.0) -> float:
    """Bytes that the fused kernel moves to and from memory.

    Every state is read once. Out of place every state is written; in place only those whose gate
    is open. Beside them: the gate (1 byte a row), score and size (4 each), and the probe, which is
    read from memory once and then stays in the cache (4 bytes an element).

    Args:
        n, d: rows and width.
        itemsize: bytes of an element of the states.
        inplace: write into the states.
        open_share: share of rows that move, 0 to 1.
    """
    written = open_share if inplace else 1.0
    return n * d * itemsize * (1 + written) + n * (1 + 4 + 4) + 4 * d


def log_prob_bytes(n: int, v: int, itemsize: int = 2, *, backward: bool = False) -> float:
    """Bytes of the token log-probability: the logits once; backward reads and writes them once."""
    matrix = n * v * itemsize
    return (2 * matrix if backward else matrix) + n * (8 + 3 * 4)


def roofline(intensity: float, bandwidth: float = 4.3e12, peak: float = 67e12) -> float:
    """Operations a second that memory and arithmetic allow at `intensity` operations a byte.

    The defaults are an H200's: a copy bandwidth of 4.3 TB/s and 67 TFLOP/s in float32.
    """
    return min(peak, intensity * bandwidth)
