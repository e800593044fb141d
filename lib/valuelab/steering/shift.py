"""The mathematics of steering: pure functions on hidden states, no model and no state.

Functions named `*_shift` return the change to add; `ablate` and `project` return the new states.
Everything is computed in float32 or wider and returned in the dtype of `h`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SIDES = ("at least", "at most", "exactly")


def logit(probability: float) -> float:
    """ln(p / (1 − p)): the score at which a calibrated probe says `probability`.

    Raises:
        ValueError: not strictly between 0 and 1.
    """
    if not 0 < probability < 1:
        raise ValueError(
            f"logit: target={probability} has no finite logit. Pass a probability strictly between "
            "0 and 1, e.g. 0.9."
        )
    return math.log(probability / (1 - probability))


def additive_shift(h: Tensor, v: Tensor, strength: float = 1.0) -> Tensor:
    """The same step for every state: strength · v.

    Args:
        h: hidden states, (..., d_model).
        v: steering vector, (d_model,).
        strength: multiple of v; negative steers the other way.

    Returns:
        Shift to add to `h`; same shape and dtype.

    Source: CAA, arXiv 2312.06681.
    """
    check_width("additive_shift", h, v)
    return (strength * v.to(h.device, wide(h))).to(h.dtype).expand(h.shape)


def minimal_shift(h: Tensor, w: Tensor, b: float, target: float, side: str = "at least") -> Tensor:
    """Shortest change to `h` that brings a linear probe to probability `target`.

    The probe reads p(h) = sigmoid(w·h + b). States already there get zero.

        d = max(0, logit(target) − (w·h + b)) / |w|² · w          "at least"
        d = min(0, logit(target) − (w·h + b)) / |w|² · w          "at most", a ceiling
        d =       (logit(target) − (w·h + b)) / |w|² · w          "exactly"

    Args:
        h: hidden states, (..., d_model).
        w: probe weight, (d_model,), on raw h: fold any feature scaling in first.
        b: probe bias, in logits.
        target: wanted probability, strictly between 0 and 1.
        side: "at least" lifts low states, "at most" lowers high ones, "exactly" does both.

    Returns:
        Shift to add to `h`; same shape and dtype.

    Raises:
        ValueError: widths differ, `w` is zero, `target` is not inside (0, 1), unknown side.

    Source: ConVA, arXiv 2507.11316.
    """
    check_width("minimal_shift", h, w)
    check_side("minimal_shift", side)
    x, w = h.to(wide(h)), w.to(h.device, wide(h))
    missing = logit(target) - (x @ w + b)  # (...), in logits
    if side == "at least":
        missing = missing.clamp(min=0)
    elif side == "at most":
        missing = missing.clamp(max=0)
    return (missing[..., None] * w / (w @ w)).to(h.dtype)


def ablate(h: Tensor, v: Tensor) -> Tensor:
    """States without their component along v: h − (h·u) u with u = v/|v|.

    Args:
        h: hidden states, (..., d_model).
        v: direction, (d_model,), of any length but zero.

    Source: Arditi et al., arXiv 2406.11717.
    """
    return project(h, v, 0.0)


def project(h: Tensor, v: Tensor, level: float) -> Tensor:
    """States whose component along v is set to `level`, a length in the units of h: h + (level − h·u) u."""
    check_width("project", h, v)
    u = v.to(h.device, wide(h))
    u = u / u.norm()
    x = h.to(wide(h))
    return (x + (level - x @ u)[..., None] * u).to(h.dtype)


def sequential_shift(
    h: Tensor, W: Tensor, b: Tensor, target: Sequence[float], side: Sequence[str] | None = None
) -> Tensor:
    """One value after the other: each minimal shift is applied before the next is measured.

    This is one sweep of Gauss-Seidel on the joint problem. Where probes are correlated, later
    shifts undo part of earlier ones, so targets are missed: see `joint_shift`.

    Args, Returns, Raises: as `joint_shift`.
    """
    side = side or ["at least"] * len(W)
    x = h.to(wide(h))
    for w, bias, p, way in zip(W, b, target, side, strict=True):
        x = x + minimal_shift(x, w, float(bias), p, way)
    return (x - h).to(h.dtype)


def joint_shift(
    h: Tensor,
    W: Tensor,
    b: Tensor,
    target: Sequence[float],
    side: Sequence[str] | None = None,
    ridge: float = 1e-3,
    cap: float = math.inf,
) -> Tensor:
    """Shortest change that brings several linear probes to their targets at once.

        minimise |d|²   subject to   s_k (w_k·(h + d) + b_k − logit(target_k)) ≥ 0

    with s_k = +1 for "at least", −1 for "at most"; "exactly" is both. The answer lies in the span
    of the weights, d = Σ λ_k s_k w_k, where λ ≥ 0 solves a linear complementarity problem in the
    Gram matrix of the signed weights (`solve_lcp`).

    Args:
        h: hidden states, (..., d_model).
        W: probe weights, (k, d_model). b: biases, (k,), in logits.
        target: k probabilities strictly between 0 and 1.
        side: k of "at least", "at most", "exactly"; None means "at least" for all.
        ridge: added to the Gram matrix's diagonal, relative to it; above zero it keeps the step
            finite for demands that contradict each other. Proximal rounds take its bias from
            targets that can be met: they are missed by about (ridge / smallest eigenvalue)³.
        cap: longest step, a length in the units of h (not a share of |h|); longer ones are shortened.

    Returns:
        Shift to add to `h`; same shape and dtype.

    Raises:
        ValueError: widths or numbers differ, a weight is zero, a target is not inside (0, 1).
    """
    check_width("joint_shift", h, W)
    side = list(side) if side is not None else ["at least"] * len(W)
    if not len(W) == len(b) == len(target) == len(side):
        raise ValueError(
            f"joint_shift: {len(W)} weights, {len(b)} biases, {len(target)} targets, {len(side)} "
            "sides; give one of each for every value."
        )
    x, W = h.to(wide(h)), W.to(h.device, wide(h))
    value, sign = one_sided(side, x)
    lack = x.new_tensor([logit(p) for p in target]) - (x @ W.T + torch.as_tensor(b).to(x))
    signed, need = sign[:, None] * W[value], sign * lack[..., value]  # (m, d), (..., m)
    gram = (signed @ signed.T).to(torch.float64)
    lam = ridged_solution(gram, need.to(torch.float64), ridge)
    step = lam.to(signed) @ signed
    if cap < math.inf:
        step = step * (cap / step.norm(dim=-1, keepdim=True).clamp(min=1e-30)).clamp(max=1.0)
    return step.to(h.dtype)


def one_sided(side: Sequence[str], like: Tensor) -> tuple[Tensor, Tensor]:
    """Which value each constraint is about, (m,), and its sign, (m,), on the device of `like`.

    "exactly" becomes two constraints, one from each side, so m may exceed the number of values.
    """
    for name in side:
        check_side("joint_shift", name)
    pairs = [(k, s) for k, way in enumerate(side) for s in signs(way)]
    value = torch.tensor([k for k, _ in pairs], device=like.device)
    return value, like.new_tensor([s for _, s in pairs])


def signs(side: str) -> tuple[float, ...]:
    return {"at least": (1.0,), "at most": (-1.0,), "exactly": (1.0, -1.0)}[side]


def ridged_solution(gram: Tensor, need: Tensor, ridge: float, rounds: int = 3) -> Tensor:
    """λ (..., m) of the ridged problem; each round beyond the first removes most of its bias.

    A proximal point iteration: with R = ridge · diag(gram), solve the problem for gram + R and
    need + R λ, starting from λ = 0. Contradictory needs grow by one bounded step a round.
    """
    extra = ridge * gram.diagonal()
    regular = gram + torch.diag(extra)
    lam = torch.zeros_like(need)
    for _ in range(rounds if ridge > 0 else 1):
        lam = solve_lcp(regular, need + extra * lam)
    return lam


def gauss_seidel_sweep(gram: Tensor, need: Tensor, lam: Tensor) -> Tensor:
    """One round through the constraints: each multiplier is set to what its own target still lacks.

        for k = 1 … m:   λ_k ← max(0, λ_k + (need_k − Σ_j gram_kj λ_j) / gram_kk)

    From λ = 0 one sweep is `sequential_shift`: one value after the other. A multiplier may shrink
    again, down to zero, when others do its work; swept until nothing changes, λ is the joint
    solution of `solve_lcp`.

    Args:
        gram: inner products of the signed weights, (m, m), positive on the diagonal.
        need: logits that are missing at the unmoved state, (..., m).
        lam: multipliers ≥ 0 to start from, (..., m); left as they are.

    Returns:
        New multipliers, (..., m). The shift is lam @ signed weights.

    Source: Hildreth, "A quadratic programming procedure" (1957).
    """
    lam = lam.clone()
    for k in range(len(gram)):
        lacking = need[..., k] - lam @ gram[k]
        lam[..., k] = (lam[..., k] + lacking / gram[k, k]).clamp(min=0)
    return lam


def solve_lcp(gram: Tensor, need: Tensor) -> Tensor:
    """λ ≥ 0 with y = gram λ − need ≥ 0 and λ·y = 0, by least-index principal pivoting.

    Keep a set of active constraints. Solve for λ on it; the first constraint with a wrong sign (an
    active λ below zero, or an idle y below zero) changes sides. For a positive definite matrix no
    set comes twice, so the loop ends, at the exact solution.

    Args:
        gram: (m, m), symmetric positive definite.
        need: (..., m); rows are separate problems.

    Raises:
        ValueError: singular, or not solved after 64 m pivots. Some nearly singular matrices take 2^m.

    Source: Murty, "Note on a Bard-type scheme" (1974).
    """
    m = len(gram)
    r = need.reshape(-1, m)
    eye = torch.eye(m, dtype=gram.dtype, device=gram.device)
    tolerance = 1e-9 * r.abs().amax(1, keepdim=True)
    active = torch.zeros_like(r, dtype=torch.bool)
    lam = torch.zeros_like(r)
    for _ in range(64 * m):
        both = active[:, :, None] & active[:, None, :]
        lam, info = torch.linalg.solve_ex(torch.where(both, gram, eye), torch.where(active, r, 0.0))
        if info.any():
            raise ValueError("solve_lcp: the matrix is singular (weights repeat); use ridge > 0.")
        wrong = torch.where(active, lam, lam @ gram - r) < -tolerance
        if not wrong.any():
            break
        first = wrong & (wrong.cumsum(1) == 1)
        active = active ^ first
    else:
        raise ValueError(
            f"solve_lcp: not solved after {64 * m} pivots (weights nearly repeat); raise ridge or ask for fewer values."
        )
    return lam.clamp(min=0).reshape(need.shape)


def wide(h: Tensor) -> torch.dtype:
    """The precision to compute in: float32, or float64 for float64 states."""
    return torch.promote_types(h.dtype, torch.float32)


def check_width(where: str, h: Tensor, w: Tensor) -> None:
    if w.shape[-1:] != h.shape[-1:]:
        raise ValueError(
            f"{where}: w has shape {tuple(w.shape)} but h ends in {h.shape[-1]}. Read h at the "
            "layer and model the probe was trained on."
        )
    if not w.any(-1).all():
        raise ValueError(f"{where}: w is all zeros, so no shift moves the probe. Retrain it.")


def check_side(where: str, side: str) -> None:
    if side not in SIDES:
        raise ValueError(f"{where}: side={side!r}; choose one of {', '.join(SIDES)}.")
