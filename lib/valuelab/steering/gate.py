"""Whether a row is steered at all, decided inside the forward pass that is being steered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from valuelab.probes.probe import Probe
from valuelab.steering.scope import Tokens
from valuelab.steering.shift import logit

READINGS = ("last", "max", "mean")


@dataclass(frozen=True, eq=False)
class Gate:
    """Opens a row where a probe's probability on the prompt lies in a band.

    The probe reads the residual stream of its own layer in the same pass, so no second model and no
    second prefill is needed. Its layer must not lie above the first steered layer.

    Attributes:
        probe: e.g. "this prompt touches a value" against facts and small talk.
        threshold: probability at or above which the gate opens. The user may set it.
        ceiling: probability above which it stays shut; 1 means no ceiling.
        at: "last" prompt token, or "max" or "mean" of the logits over the prompt's tokens.
        invert: open where it would be shut, and the other way round.
    """

    probe: Probe
    threshold: float = 0.5
    ceiling: float = 1.0
    at: str = "last"
    invert: bool = False

    def __post_init__(self):
        if self.at not in READINGS:
            raise ValueError(f"Gate: at={self.at!r}; choose one of {', '.join(READINGS)}.")
        if self.probe.layer is None:
            raise ValueError("Gate: the probe has no layer; set it with probe.with_(layer=...).")
        if not 0 <= self.threshold <= self.ceiling <= 1:
            raise ValueError(
                f"Gate: threshold={self.threshold} and ceiling={self.ceiling}; both are "
                "probabilities, the threshold not above the ceiling."
            )

    def reading(self, h: Tensor, tokens: Tokens) -> Tensor:
        """The probe's logit for each row, (batch,), from states (batch, length, d_model)."""
        if self.at == "last":
            return self.probe(at_last(h, tokens))
        logits, prompt = self.probe(h), tokens.prompt
        if self.at == "max":
            return logits.masked_fill(~prompt, -torch.inf).amax(1)
        return logits.masked_fill(~prompt, 0).sum(1) / prompt.sum(1).clamp(min=1)

    def open(self, reading: Tensor) -> Tensor:
        """Booleans (batch,) from readings in logits; NaN keeps the gate shut."""
        return opens(reading, self.threshold, self.ceiling, self.invert)


def opens(
    reading: Tensor, threshold: float = 0.5, ceiling: float = 1.0, invert: bool = False
) -> Tensor:
    """Which rows a gate lets through.

    A row passes where its probability lies in the band from `threshold` to `ceiling`, both ends
    included; with `invert`, where it lies outside. A reading that is not a number never passes:
    a model that has gone wrong is not steered as well.

    Args:
        reading: the gate probe's logit for each row, (...).
        threshold, ceiling: probabilities from 0 to 1; 0 and 1 mean no bound on that side.

    Returns:
        Booleans, (...).
    """
    inside = (reading >= bound(threshold)) & (reading <= bound(ceiling))
    return (inside ^ invert) & ~reading.isnan()


def bound(probability: float) -> float:
    """Logit of a threshold, infinite at 0 and 1."""
    if probability in (0.0, 1.0):
        return torch.inf if probability else -torch.inf
    return logit(probability)


def gated(h: Tensor, shift: Tensor, gate: Tensor) -> Tensor:
    """States with the shift where the gate is open, and bit for bit as they were where it is not.

    A choice, not a product: 0 · shift would turn −0.0 into 0.0 and an infinite shift into NaN.

    Args:
        h: hidden states, (rows, tokens, d_model).
        shift: change to add, same shape.
        gate: booleans, one for each row, (rows,).

    Returns:
        New states; same shape and dtype as `h`.
    """
    return torch.where(gate[:, None, None], (h + shift).to(h.dtype), h)


def at_last(h: Tensor, tokens: Tokens) -> Tensor:
    """States of the last prompt token of each row, (batch, d_model)."""
    column = (tokens.last.int() * torch.arange(h.shape[1], device=h.device)).amax(1)
    return h[torch.arange(len(h), device=h.device), column]


def check_gates(gate: Any, first_layer: int, d_model: int) -> tuple[list[Gate], Tensor | None]:
    """Probes' gates (all must open) and a fixed gate per row, from what the user gave."""
    if gate is None:
        return [], None
    if isinstance(gate, Gate):
        gate = [gate]
    if isinstance(gate, Sequence) and all(isinstance(g, Gate) for g in gate) and len(gate):
        for g in gate:
            if g.probe.layer > first_layer:
                raise ValueError(
                    f"Gate: it reads layer {g.probe.layer}, but layer {first_layer} is steered "
                    f"before that in the same pass; use a gate at layer {first_layer} or below."
                )
            if g.probe.d_model != d_model:
                raise ValueError(
                    f"Gate: its probe has width {g.probe.d_model}, the model {d_model}; train it "
                    "on this model."
                )
        return list(gate), None
    fixed = torch.as_tensor(gate)
    if fixed.ndim != 1:
        raise ValueError(
            f"gate: shape {tuple(fixed.shape)}; give one boolean for each row, or a Gate."
        )
    return [], fixed.bool()
