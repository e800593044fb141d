"""More than one direction: subspaces, what two directions share, and the neurons that write one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from valuelab.activations import capture
from valuelab.models import LM
from valuelab.probes.probe import Probe

# ---------------------------------------------------------------------------- subspaces


def subspace(differences: Tensor, k: int) -> Tensor:
    """Orthonormal basis (k, d) of the k directions in which differences extend most, *not* centred.

    Args:
        differences: (n, d), e.g. positive − negative of contrast pairs, or one vector a wording.
        k: at most the smaller of n and d.

    Raises:
        ValueError: k out of range, or the differences span fewer than k directions.
    """
    x = torch.as_tensor(differences).detach().double().cpu()
    if x.ndim != 2 or not 1 <= k <= min(x.shape):
        raise ValueError(
            f"subspace: k={k} directions from differences {tuple(x.shape)}; give (n, d) with both "
            "at least k."
        )
    _, sigma, basis = torch.linalg.svd(x, full_matrices=False)
    if sigma[k - 1] <= 1e-10 * sigma[0]:
        raise ValueError(f"subspace: the differences span fewer than k={k} directions; lower k.")
    return basis[:k]


def principal_angles(A: Tensor, B: Tensor) -> Tensor:
    """Angles between two subspaces, smallest first, in radians, (min(k, m),).

        cos θ_i = i-th singular value of A Bᵀ,   rows of A and B orthonormal

    0 is a shared direction, π/2 one that the other has nothing of. Angles near zero are taken from
    the sine, where the cosine has no digits left.

    Args:
        A, B: (k, d) and (m, d) of linearly independent rows; they are orthonormalised here.

    Source: Björck & Golub 1973.
    """
    a, b = (orthonormal(x) for x in (A, B))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"principal_angles: widths {a.shape[1]} and {b.shape[1]} differ.")
    if len(a) > len(b):
        a, b = b, a
    cosine = torch.linalg.svdvals(a @ b.T).clamp(max=1.0)
    sine = torch.linalg.svdvals(a - a @ b.T @ b).clamp(max=1.0).flip(0)  # smallest first
    return torch.where(cosine**2 > 0.5, torch.asin(sine), torch.acos(cosine))


def grassmann_distance(A: Tensor, B: Tensor) -> float:
    """Length of the shortest path between two subspaces: √(Σ θ²), in radians."""
    return float(principal_angles(A, B).norm())


def grassmann_mean(bases: Sequence[Tensor], k: int | None = None) -> tuple[Tensor, Tensor]:
    """The subspace nearest to several, and how far each of its directions is shared.

    It minimises the sum of squared chordal distances: the leading eigenvectors of the mean projector
    P = mean(BᵀB). An eigenvalue of 1 is a direction that all subspaces hold, 1/m one that one of m
    holds.

    Args:
        bases: m bases, (k_i, d) each.
        k: dimension of the mean; by default that of the smallest.

    Returns:
        (basis (k, d), eigenvalues (k,)), largest first.

    Source: Edelman, Arias & Smith 1998, section 4; Marrinan et al., CVPR 2014.
    """
    rows = [orthonormal(b) for b in bases]
    if not rows:
        raise ValueError("grassmann_mean: no subspaces given.")
    k = min(len(r) for r in rows) if k is None else k
    # the eigenvectors of the sum of projectors are the right singular vectors of the stacked bases
    _, sigma, basis = torch.linalg.svd(torch.cat(rows), full_matrices=False)
    if not 1 <= k <= len(basis):
        raise ValueError(f"grassmann_mean: k={k} but {len(basis)} directions are there in all.")
    return basis[:k], sigma[:k] ** 2 / len(rows)


def orthonormal(A: Tensor) -> Tensor:
    """Orthonormal rows spanning the rows of A, float64."""
    a = torch.as_tensor(A).detach().double().cpu()
    a = a[None] if a.ndim == 1 else a
    q, r = torch.linalg.qr(a.T)
    size = r.diagonal().abs()
    if len(a) > a.shape[1] or (size <= 1e-10 * a.norm()).any():
        raise ValueError(
            f"subspaces: {len(a)} rows of width {a.shape[1]} are not independent; drop some rows."
        )
    return q.T


def preference_directions(positive: Tensor, negative: Tensor, k: int) -> list[Probe]:
    """Directions of preference, decomposed: the mean head, then what the pairs hold besides.

    The first probe is the mean difference. The others are the leading directions of what is left
    of each pair's difference, uncentred, so the mean is not lost; each is signed so that most pairs
    rise along it. `meta["share"]` is the part of the summed squares of differences along it.

    Args:
        positive, negative: hidden states (n, d), row by row in the same context.
        k: number of probes, the mean head included.

    Source: DRM, Luo et al., arXiv 2502.13131; its published code centres and so loses the mean.
    """
    if positive.shape != negative.shape or positive.ndim != 2:
        raise ValueError(
            f"preference_directions: {tuple(positive.shape)} and {tuple(negative.shape)} are no "
            "pairs; give row i of both the same context."
        )
    z = (positive - negative).detach().double().cpu()
    middle = ((positive.mean(0) + negative.mean(0)) / 2).detach().double().cpu()
    mean = z.mean(0)
    if not 1 <= k <= min(z.shape) or mean.norm() == 0:
        raise ValueError(f"preference_directions: k={k} from {len(z)} pairs of width {z.shape[1]}.")
    head = mean / mean.norm()
    rows, total = [head], z.square().sum()
    if k > 1:
        rows += list(subspace(z - (z @ head)[:, None] * head, k - 1))
    out = []
    for j, axis in enumerate(rows):
        rise = z @ axis
        sign = 1.0 if (rise > 0).sum() * 2 >= len(rise) else -1.0
        w = sign * axis * rise.mean().abs() if j == 0 else sign * axis * rise.std()
        share = float(rise.square().sum() / total)
        notes = {"share": share, "head": j}
        weight = w.to(positive.dtype)
        out.append(Probe(weight, float(-w @ middle), method="preference direction", meta=notes))
    return out


# --------------------------------------------------------- do two directions agree?


def reliability(X: Tensor, draws: int = 50, seed: int = 0) -> float:
    """How far the mean of noisy vectors would repeat itself in a second sample of the same size.

    The set is cut at random into halves, `draws` times; r is the mean cosine between the means of
    the halves. A mean of all vectors has half the noise of a mean of half of them:

        ρ = 2 r / (1 + r)

    Args:
        X: vectors that estimate one direction, (n, d), e.g. differences of contrast pairs.
        draws, seed: random halvings.

    Returns:
        ρ, about the squared cosine between the mean and the direction without noise; 0 where r < 0.

    Source: split-half reliability, Spearman 1910 and Brown 1910.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        order = rng.permutation(len(X))
        a, b = X[order[: len(X) // 2]].mean(0), X[order[len(X) // 2 :]].mean(0)
        found.append(float(a @ b / (a.norm() * b.norm())))
    r = max(0.0, float(np.mean(found)))
    return 2 * r / (1 + r)


class Agreement(NamedTuple):
    """How far two directions agree once their noise is allowed for.

    cosine: of the two means. ceiling: what noise would leave of a true cosine of 1.
    corrected: cosine / ceiling, NaN where the ceiling is below 0.1. shared: (d,) unit axis that both
    have in common. own: (2, d) what is left of each unit direction without the shared axis.
    """

    cosine: float
    ceiling: float
    corrected: float
    shared: Tensor
    own: Tensor


def agreement(A: Tensor, B: Tensor, *, draws: int = 50, seed: int = 0) -> Agreement:
    """Intrinsic against prompted vectors (or any two sets): cosine, noise ceiling, shared and own parts.

    Two noisy means of the very same direction have an expected cosine of only √(ρ_A ρ_B), the
    ceiling, with ρ from `reliability`; cosine / ceiling estimates the cosine without noise.

    The axes are the singular vectors of the two unit directions stacked: the shared one carries
    (1 + cosine) / 2 of their squares, and what is left points opposite ways.

    Args:
        A: (n, d), e.g. differences of replies that express the value by themselves.
        B: (m, d), the same under a prompt that asks for it.

    Raises:
        ValueError: fewer than four vectors in a set, or widths that differ.

    Source: dual mechanisms of value expression, arXiv 2509.24319; attenuation, Spearman 1904.
    """
    A, B = (torch.as_tensor(x).detach().double().cpu() for x in (A, B))
    if A.ndim != 2 or B.ndim != 2 or A.shape[1] != B.shape[1] or min(len(A), len(B)) < 4:
        raise ValueError(
            f"agreement: sets {tuple(A.shape)} and {tuple(B.shape)}; give (n, d) and (m, d), at "
            "least four vectors each, so that halves can be compared."
        )
    units = torch.stack([x.mean(0) / x.mean(0).norm() for x in (A, B)])
    found = float(units[0] @ units[1])
    ceiling = (reliability(A, draws, seed) * reliability(B, draws, seed)) ** 0.5
    shared = units.sum(0) if found >= 0 else units[0] - units[1]
    shared = shared / shared.norm()
    own = units - (units @ shared)[:, None] * shared
    corrected = found / ceiling if ceiling >= 0.1 else float("nan")
    return Agreement(found, ceiling, corrected, shared, own)


# ------------------------------------------------------------------------- value neurons


def writing_matrix(block: nn.Module, d_model: int) -> tuple[nn.Module, Tensor]:
    """The module whose inputs are a block's neurons, and what each neuron writes, (neurons, d_model).

    The linear map outside attention that turns another width than d_model into d_model.

    Raises:
        ValueError: none, or several as in a mixture of experts.
    """
    found = []
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        linear = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
        if "att" in name or not linear:
            continue
        # torch's Linear keeps (out, in); GPT-2's Conv1D keeps (in, out)
        out = weight.T if isinstance(module, nn.Linear) else weight
        if out.shape[1] == d_model and out.shape[0] != d_model:
            found.append((module, out))
    if len(found) != 1:
        raise ValueError(
            f"value neurons: {len(found)} maps of this block write into the residual stream from "
            "another width; exactly one is needed (mixtures of experts have several)."
        )
    return found[0]


def neuron_activations(lm: LM, texts: Sequence[str], layer: int, **options: Any) -> Tensor:
    """Activations of a block's neurons at the last token of each text, (n, neurons).

    Args:
        options: `prompts` and `batch_size`, as for `capture`.
    """
    module, _ = writing_matrix(lm.blocks[layer], lm.d_model)
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda m, args: seen.append(args[0].detach()))
    rows = []
    try:
        prompts = options.pop("prompts", None)
        for i, text in enumerate(texts):
            seen.clear()
            capture(lm, [text], layer, prompts=None if prompts is None else [prompts[i]], **options)
            rows.append(seen[-1].reshape(-1, seen[-1].shape[-1])[-1].float().cpu())
    finally:
        handle.remove()
    return torch.stack(rows)


def neuron_contributions(
    lm: LM,
    positive: Sequence[str],
    negative: Sequence[str],
    direction: Tensor,
    layer: int,
    *,
    prompts: Sequence[str] | None = None,
) -> Tensor:
    """What each neuron of a block adds along a direction, for positive minus negative texts.

        c_n = (mean a_n⁺ − mean a_n⁻) · ⟨w_out,n , v̂⟩

    The sum over neurons is exactly the difference that the block's feed-forward part writes along v̂
    (where nothing normalises its output afterwards).

    Args:
        direction: (d_model,), any length.
        prompts: one a text, used for both sides.

    Returns:
        (neurons,) in units of the residual stream.

    Source: value neurons, arXiv 2509.24319.
    """
    _, written = writing_matrix(lm.blocks[layer], lm.d_model)
    v = direction.detach().float().cpu()
    rise = [
        neuron_activations(lm, texts, layer, prompts=prompts).mean(0)
        for texts in (positive, negative)
    ]
    return (rise[0] - rise[1]) * (written.detach().float().cpu() @ (v / v.norm()))


@contextlib.contextmanager
def without_neurons(
    lm: LM, layer: int, neurons: Any, value: Tensor | float = 0.0
) -> Iterator[None]:
    """Inside this block the given neurons of a layer are held at `value` (their mean, or zero)."""
    module, written = writing_matrix(lm.blocks[layer], lm.d_model)
    chosen = torch.as_tensor(neurons, device=written.device).long()
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(written):
        raise ValueError(f"without_neurons: neurons must lie in 0 to {len(written) - 1}.")
    held = torch.as_tensor(value, dtype=written.dtype, device=written.device)

    def hold(module, args):
        a = args[0].clone()
        a[..., chosen] = held.to(a)
        return (a, *args[1:])

    handle = module.register_forward_pre_hook(hold)
    try:
        yield
    finally:
        handle.remove()
