"""The shape of a cloud of hidden states: how many directions it fills, and how evenly.

Every figure here depends on the number of states N as well as on the model. Compare figures at the
same N only; `cloud_shape` takes care of that, and `floor` gives the same figures for an isotropic
Gaussian cloud of the same N and width, which is what "as even as can be" looks like at that N.

Where a function takes `centred`, True removes the mean state first. A common offset is itself one
long direction: it lowers RankMe and raises the mean cosine without saying anything about spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


def rankme(Z: Tensor, centred: bool = False) -> float:
    """Effective rank: how many directions hold the cloud, counted by the entropy of their lengths.

        p_i = σ_i / Σ_j σ_j,   RankMe = exp(−Σ_i p_i log p_i)

    From 1 (all states on one line) to min(n, d). The σ are singular values, not their squares.

    Args:
        Z: hidden states, (n, d).
        centred: remove the mean state first; the original does not.

    Returns:
        A number of directions, at least 1.

    Raises:
        ValueError: Z is no finite matrix, or all zeros.

    Source: Garrido et al., arXiv 2210.02885, eq. 3; Roy & Vetterli 2007.
    """
    sigma = torch.linalg.svdvals(as_cloud(Z, centred))
    p = sigma / sigma.sum()
    p = p[p > 0]  # 0 · log 0 counts as 0
    return float(torch.exp(-(p * p.log()).sum()))


def participation_ratio(Z: Tensor, centred: bool = True) -> float:
    """(Σ λ)² / Σ λ² of the covariance: as RankMe, with less weight on small directions."""
    variance = torch.linalg.svdvals(as_cloud(Z, centred)) ** 2
    return float(variance.sum() ** 2 / (variance**2).sum())


class PowerLaw(NamedTuple):
    """Slope of a spectrum: λ_i ∝ i^(−alpha) over ranks `first` to `last`, with the fit's R²."""

    alpha: float
    r2: float
    first: int
    last: int


def alpha_req(Z: Tensor, first: int = 5, last: int | None = None) -> PowerLaw:
    """Decay of the covariance's eigenvalues, by least squares on logarithms.

        log λ_i ≈ c − alpha · log i,   first ≤ i ≤ last

    0 is isotropic, 1 is smooth, large is low rank. The answer depends on the ranks that are fitted:
    keep them fixed, and believe it where R² is high.

    Args:
        Z: hidden states, (n, d); the mean state is removed.
        first, last: ranks fitted, counted from 1; last is half of min(n − 1, d) by default.

    Raises:
        ValueError: fewer than three ranks with variance in the range.

    Source: α-ReQ, Agrawal et al., NeurIPS 2022.
    """
    variance = torch.linalg.svdvals(as_cloud(Z, True)) ** 2
    variance = variance[variance > 1e-12 * variance[0]]
    if last is None:
        last = min(len(Z) - 1, Z.shape[1]) // 2
    stop = min(last, len(variance))
    if first < 1 or stop - first < 2:
        raise ValueError(
            f"alpha_req: ranks {first} to {last}, but only {len(variance)} hold variance; fit at "
            "least three, e.g. first=1, or read more states."
        )
    x = torch.arange(first, stop + 1).double().log()
    y = variance[first - 1 : stop].log()
    x = x - x.mean()
    slope = (x * y).sum() / (x * x).sum()
    left = ((y - y.mean() - slope * x) ** 2).sum()
    total = ((y - y.mean()) ** 2).sum()
    r2 = 1.0 if total < 1e-20 else float(1 - left / total)
    return PowerLaw(float(-slope), r2, first, stop)


def isoscore(Z: Tensor) -> float:
    """Isotropy of the variance over principal directions: 1 is even, 0 is a single line.

        D = √d · v / ‖v‖,   δ = ‖D − 1‖ / √(2 (d − √d)),   ((d − δ²(d − √d))² − d) / (d (d − 1))

    v holds the d variances along the principal directions. Needs N well above d.

    Source: Rudman et al., arXiv 2108.07344, algorithm 1.
    """
    cloud = as_cloud(Z, True)
    d = cloud.shape[1]
    if d < 2:
        raise ValueError("isoscore: states of one dimension have no other to compare it with.")
    v = torch.zeros(d, dtype=cloud.dtype)
    sigma = torch.linalg.svdvals(cloud)
    v[: len(sigma)] = sigma**2
    defect = (d**0.5 * v / v.norm() - 1).norm() / (2 * (d - d**0.5)) ** 0.5
    return float(((d - defect**2 * (d - d**0.5)) ** 2 - d) / (d * (d - 1)))


def nuclear_norm(Z: Tensor, centred: bool = False) -> float:
    """Σσ / √(N ‖Z‖²): the nuclear norm, free of the scale of the states.

    From 1/√N (one line) to √(min(N, d) / N) (all directions alike), so it compares only at fixed N.

    Source: matrix nuclear-norm evaluation, arXiv 2410.10672, normalised by the Frobenius norm.
    """
    cloud = as_cloud(Z, centred)
    return float(torch.linalg.svdvals(cloud).sum() / (len(cloud) ** 0.5 * cloud.norm()))


def mean_cosine(Z: Tensor, centred: bool = False) -> float:
    """Anisotropy: mean cosine between two different states, exactly, without forming all pairs.

        (‖Σ_i u_i‖² − n) / (n (n − 1)),   u_i = z_i / ‖z_i‖

    Source: Ethayarajh, arXiv 1909.00512.
    """
    cloud = as_cloud(Z, centred)
    if len(cloud) < 2:
        raise ValueError("mean_cosine: one state has no other to compare with; give two or more.")
    norms = cloud.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise ValueError(
            f"mean_cosine: {int((norms == 0).sum())} states are zero and have no direction; leave "
            "them out."
        )
    total, n = (cloud / norms).sum(0), len(cloud)
    return float((total @ total - n) / (n * (n - 1)))


METRICS = {
    "RankMe": rankme,
    "RankMe, centred": lambda Z: rankme(Z, centred=True),
    "participation ratio": participation_ratio,
    "alpha-ReQ": lambda Z: alpha_req(Z).alpha,
    "IsoScore": isoscore,
    "nuclear norm": lambda Z: nuclear_norm(Z, centred=True),
    "mean cosine": mean_cosine,
    "mean cosine, centred": lambda Z: mean_cosine(Z, centred=True),
}


def cloud_shape(
    Z: Tensor, n: int, *, draws: int = 5, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Every figure at exactly `n` states: {name: (mean, standard deviation over draws of n states)}.

    Args:
        Z: hidden states, (N, d).
        n: states a draw, without replacement; the same for everything that is compared.
        draws: subsets drawn; one is enough where N = n.

    Raises:
        ValueError: fewer than n states.
    """
    if not 2 <= n <= len(Z):
        raise ValueError(
            f"cloud_shape: n={n} of {len(Z)} states; n must be at least 2, and states at least n. "
            "Figures at different n cannot be compared."
        )
    rng = np.random.default_rng(seed)
    drawn = [
        {name: metric(Z[rng.choice(len(Z), n, replace=False)]) for name, metric in METRICS.items()}
        for _ in range(1 if n == len(Z) else draws)
    ]
    rows = {name: np.array([d[name] for d in drawn]) for name in METRICS}
    return {name: (float(x.mean()), float(x.std())) for name, x in rows.items()}


def shape_by_layer(
    states: Mapping[int, Tensor], n: int | None = None, *, draws: int = 5, seed: int = 0
) -> dict[int, dict[str, tuple[float, float]]]:
    """`cloud_shape` of each layer at the same n (by default the number of states of the smallest)."""
    n = min(len(Z) for Z in states.values()) if n is None else n
    return {k: cloud_shape(states[k], n, draws=draws, seed=seed) for k in sorted(states)}


def floor(n: int, d: int, *, draws: int = 3, seed: int = 0) -> dict[str, tuple[float, float]]:
    """The figures of an isotropic Gaussian cloud of n states and d dimensions: the bias at this n."""
    draw = torch.Generator().manual_seed(seed)
    rows = [cloud_shape(torch.randn(n, d, generator=draw), n) for _ in range(draws)]
    found = {name: np.array([r[name][0] for r in rows]) for name in METRICS}
    return {name: (float(x.mean()), float(x.std())) for name, x in found.items()}


def as_cloud(Z: Any, centred: bool) -> Tensor:
    """Z (n, d) in float64 on the processor, centred if wished; or a clear ValueError."""
    cloud = torch.as_tensor(Z).detach().double().cpu()
    if cloud.ndim != 2 or not len(cloud):
        raise ValueError(f"geometry: states have shape {tuple(cloud.shape)}; give (n, d_model).")
    if not torch.isfinite(cloud).all():
        bad = int((~torch.isfinite(cloud)).any(1).sum())
        raise ValueError(f"geometry: {bad} of {len(cloud)} states hold NaN or infinity.")
    moved = cloud - cloud.mean(0)
    size = cloud.norm()
    if size == 0 or (centred and moved.norm() <= 1e-10 * size):
        raise ValueError("geometry: all states are alike, so the cloud has no shape.")
    return moved if centred else cloud
