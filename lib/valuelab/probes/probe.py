"""The one type that every estimator returns and every controller and kernel takes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear reading of a hidden state: logit(h) = weight · h + bias.

    Attributes:
        weight: (d_model,), on raw hidden states (feature scaling and temperature folded in).
        bias: in logits.
        layer: block whose output it reads, counted from 0; None until it is known.
        value: what it reads for, e.g. "security".
        method: estimator it came from.
        meta: figures worth keeping (accuracy, temperature, C, ...); plain JSON values.
    """

    weight: Tensor
    bias: float = 0.0
    layer: int | None = None
    value: str = ""
    method: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        weight = torch.as_tensor(self.weight).detach()
        if weight.ndim != 1 or not weight.is_floating_point():
            raise ValueError(
                f"Probe: weight has shape {tuple(weight.shape)} and type {weight.dtype}; it must "
                "be a vector (d_model,) of floats."
            )
        bias = float(self.bias)
        if not (torch.isfinite(weight).all() and abs(bias) < float("inf")):
            raise ValueError("Probe: weight or bias is not finite; retrain it on finite states.")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)
        object.__setattr__(self, "layer", None if self.layer is None else operator.index(self.layer))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def __call__(self, h: Tensor) -> Tensor:
        """Logits of hidden states, (..., d_model) -> (...), in float32 or wider."""
        if h.shape[-1:] != self.weight.shape:
            raise ValueError(
                f"Probe: h ends in {h.shape[-1]} but the weight has {len(self.weight)} entries. "
                "Read h at the layer and model the probe was trained on."
            )
        wide = torch.promote_types(h.dtype, torch.float32)
        return h.to(wide) @ self.weight.to(h.device, wide) + self.bias

    def probability(self, h: Tensor) -> Tensor:
        """sigmoid of the logits, (..., d_model) -> (...)."""
        return torch.sigmoid(self(h))

    @property
    def d_model(self) -> int:
        return len(self.weight)

    @property
    def direction(self) -> Tensor:
        """The weight at length one."""
        norm = self.weight.norm()
        if norm == 0:
            raise ValueError("Probe: the weight is all zeros and has no direction. Retrain it.")
        return self.weight / norm

    def with_(self, **changes: Any) -> Probe:
        """A copy with some attributes replaced; `meta` entries are added to those there."""
        meta = {**self.meta, **changes.pop("meta", {})}
        return replace(self, meta=meta, **changes)

    def tempered(self, temperature: float) -> Probe:
        """The same boundary with logits divided by `temperature`."""
        if not 0 < temperature < float("inf"):
            raise ValueError(f"Probe: temperature={temperature}; it must be positive and finite.")
        total = temperature * float(self.meta.get("temperature", 1.0))
        return self.with_(
            weight=self.weight / temperature,
            bias=self.bias / temperature,
            meta={"temperature": total},
        )
