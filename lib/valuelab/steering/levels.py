"""Probes whose probability is a level: how far a state stands between two sets of examples."""

from __future__ import annotations

import torch
from torch import Tensor

from valuelab.probes.probe import Probe
from valuelab.steering.shift import logit


def level_probe(
    low: Tensor,
    high: Tensor,
    *,
    layer: int,
    value: str = "",
    direction: Tensor | None = None,
    reach: float = 0.95,
) -> Probe:
    """A probe that says `reach` at the mean of the high states and 1 − reach at that of the low.

        z(h) = logit(reach) · (u·h − middle) / half,   middle, half = (u·high ± u·low) / 2

    So a target probability is a level that the model itself takes, under a prompt that asks for it,
    and a minimal shift to it goes as far as that prompt goes and no farther. It is a ruler, not a
    classifier: its probabilities are not frequencies.

    Args:
        low, high: states without and with the property, (n, d_model) and (m, d_model).
        direction: u, (d_model,); None takes the difference of the means.
        reach: probability at the mean of the high states, above 0.5 and below 1.

    Raises:
        ValueError: the two means do not differ along the direction, or `reach` is out of range.
    """
    if not 0.5 < reach < 1:
        raise ValueError(f"level_probe: reach={reach}; use a probability between 0.5 and 1.")
    bottom, top = low.double().mean(0), high.double().mean(0)
    u = top - bottom if direction is None else direction.double()
    middle, half = float(u @ (top + bottom)) / 2, float(u @ (top - bottom)) / 2
    if not half > 1e-9 * float(u.norm() * (top.norm() + bottom.norm())):
        raise ValueError(
            f"level_probe: the high states do not lie above the low ones along the direction "
            f"(half the distance is {half:.2g}); exchange them, or read another layer."
        )
    scale = logit(reach) / half
    weight = (scale * u).to(torch.promote_types(high.dtype, torch.float32))
    return Probe(weight, -scale * middle, layer, value, "level", {"reach": reach})
