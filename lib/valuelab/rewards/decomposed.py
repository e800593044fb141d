"""Decomposed rewards: many preference directions from one set of features, mixed at test time.

Every comparison gives a vector z = φ(x, chosen) - φ(x, rejected). The directions in which these
vectors extend are candidate rewards w · φ; a handful of pairs of a new judge tells how to mix them.

The directions must come from the *uncentred* z. The published code runs scikit-learn's PCA, which
subtracts the mean of z first, and the mean of z is just what all judges agree on: the direction
from rejected to chosen. `directions(z, centred=True)` shows the fault.

Source: Luo et al., DRM, arXiv 2502.13131.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DecomposedReward", "directions", "fit_mixture"]


def directions(z: Tensor, k: int, centred: bool = False) -> Tensor:
    """`k` orthonormal directions of preference vectors by singular value decomposition, (k, d).

    Each is signed so that the chosen replies score higher on average.

    Args:
        z: feature differences chosen - rejected, (n, d).
        k: number of directions.
        centred: subtract the mean first, as the published code does. Loses what z has in common.

    Raises:
        ValueError: k larger than n or d.
    """
    if z.ndim != 2 or not 1 <= k <= min(z.shape):
        raise ValueError(
            f"directions: k={k} directions from z of shape {tuple(z.shape)}; k is at most the "
            "smaller of pairs and features."
        )
    used = z - z.mean(dim=0) if centred else z
    v = torch.linalg.svd(used.double(), full_matrices=False).Vh[:k]
    agreement = (z.double() @ v.T).mean(dim=0)
    return v * torch.where(agreement < 0, -1.0, 1.0)[:, None]


def fit_mixture(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Weights of the heads from a few comparisons of a new judge, (heads,), summing to one.

        w = softmax over heads of -Σ_n softplus(-Δ_n / rms) / temperature

    rms is the root mean square of a head's gaps; nothing is subtracted, for their mean is the evidence.

    Args:
        scores: gap of every head on every comparison, chosen - rejected, (n, heads).
        temperature: towards 0 the single best head wins.

    Source: DRM's test-time adaptation, written with each head on one scale.
    """
    scale = scores.square().mean(dim=0, keepdim=True).sqrt().clamp(min=1e-12)
    evidence = F.logsigmoid(scores / scale).sum(dim=0)
    return torch.softmax(evidence / temperature, dim=0)


@dataclass(frozen=True)
class DecomposedReward:
    """Heads (h, d) over fixed features, and how to mix them.

    Both signs of every direction are heads, for judges who want the opposite; the mean difference
    comes first.
    """

    heads: Tensor

    @classmethod
    def fit(cls, z: Tensor, k: int = 8) -> DecomposedReward:
        """Mean-difference head and ± k uncentred directions, from z (n, d)."""
        mean = z.double().mean(dim=0, keepdim=True)
        v = directions(z, k)
        return cls(torch.cat([mean / mean.norm().clamp(min=1e-12), v, -v]))

    def scores(self, features: Tensor) -> Tensor:
        """(n, d) features or feature differences to (n, h)."""
        return features.double() @ self.heads.T

    def adapt(self, z: Tensor, temperature: float = 1.0) -> Tensor:
        """One reward direction (d,) for the judge of a few pairs z (n, d)."""
        gaps = self.scores(z)
        scale = gaps.square().mean(dim=0).sqrt().clamp(min=1e-12)
        return (fit_mixture(gaps, temperature) / scale) @ self.heads
