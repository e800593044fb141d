"""What is to be done, written down: shifts at layers, as immutable values that compose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from valuelab.probes.probe import Probe
from valuelab.steering.shift import SIDES, logit

KINDS = ("minimal", "add", "remove")


@dataclass(frozen=True, eq=False)
class Shift:
    """One intervention at the probe's layer.

    Attributes:
        probe: direction, bias and layer.
        kind: "minimal" moves states to `target`; "add" adds strength · weight to each state;
            "remove" takes the component along the weight away.
        target: probability, or one for each row of the call, (rows,). For "minimal" only.
        side: "at least", "at most" or "exactly"; for "minimal" only.
        strength: multiplies the step: 1 lands on the target, or removes the component wholly.
    """

    probe: Probe
    kind: str = "minimal"
    target: float | Tensor = 0.9
    side: str = "at least"
    strength: float = 1.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"Shift: kind={self.kind!r}; choose one of {', '.join(KINDS)}.")
        if self.side not in SIDES:
            raise ValueError(f"Shift: side={self.side!r}; choose one of {', '.join(SIDES)}.")
        if self.probe.layer is None:
            raise ValueError(
                "Shift: the probe has no layer; set it, probe.with_(layer=...), to the block whose "
                "output it was trained on."
            )
        if not self.probe.weight.any():
            raise ValueError("Shift: the probe's weight is all zeros; retrain it.")
        if isinstance(self.target, (list, tuple)):
            object.__setattr__(self, "target", torch.tensor(self.target, dtype=torch.float32))
        for p in self.target.tolist() if torch.is_tensor(self.target) else [self.target]:
            logit(p)

    def __mul__(self, factor: float) -> Shift:
        return replace(self, strength=self.strength * factor)


@dataclass(frozen=True, eq=False)
class Plan:
    """Several shifts, and the model they were made for.

    `a + b` does both; `a * 0.5` halves every step. `card` is what `models.card(lm)` says of the
    model (empty: unknown, then only the width is checked).
    """

    shifts: tuple[Shift, ...]
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "shifts", tuple(self.shifts))
        widths = {s.probe.d_model for s in self.shifts}
        if len(widths) > 1:
            raise ValueError(f"Plan: shifts of different widths {sorted(widths)}; one model only.")

    def __add__(self, other: Any) -> Plan:
        other = as_plan(other)
        mine, its = self.card.get("fingerprint"), other.card.get("fingerprint")
        if mine and its and mine != its:
            raise ValueError(
                f"Plan: made for different models, {self.card.get('model')} ({mine}) and "
                f"{other.card.get('model')} ({its}); build both on one."
            )
        return Plan(self.shifts + other.shifts, self.card or other.card)

    def __mul__(self, factor: float) -> Plan:
        return Plan(tuple(s * factor for s in self.shifts), self.card)

    __rmul__ = __mul__

    def __len__(self) -> int:
        return len(self.shifts)

    @property
    def layers(self) -> list[int]:
        return sorted({s.probe.layer for s in self.shifts})

    def at(self, layer: int) -> tuple[Shift, ...]:
        return tuple(s for s in self.shifts if s.probe.layer == layer)


def minimal(
    probes: Probe | Iterable[Probe], target: float | Tensor = 0.9, side: str = "at least"
) -> Plan:
    """Move each probe's reading to `target` by the shortest step; several values at once at a
    layer are solved jointly."""
    return Plan(tuple(Shift(p, "minimal", target, side) for p in listed(probes)))


def add(vectors: Probe | Iterable[Probe] | dict[int, Tensor], strength: float = 1.0) -> Plan:
    """Add strength · vector at its layer; {layer: vector} or probes."""
    if isinstance(vectors, dict):
        vectors = [Probe(v, layer=layer, method="vector") for layer, v in vectors.items()]
    return Plan(tuple(Shift(p, "add", strength=strength) for p in listed(vectors)))


def remove(probes: Probe | Iterable[Probe]) -> Plan:
    """Take the component along each weight away."""
    return Plan(tuple(Shift(p, "remove") for p in listed(probes)))


def listed(probes: Probe | Iterable[Probe]) -> list[Probe]:
    return [probes] if isinstance(probes, Probe) else list(probes)


def as_plan(what: Any, target: Any = 0.9, side: str = "at least") -> Plan:
    """A plan from a plan, a shift, probes (minimal shifts), or several of these."""
    if isinstance(what, Plan):
        return what
    if isinstance(what, Shift):
        return Plan((what,))
    if isinstance(what, Probe):
        return minimal(what, target, side)
    if isinstance(what, Sequence) and not isinstance(what, str) and len(what):
        plan = as_plan(what[0], target, side)
        for one in what[1:]:
            plan = plan + as_plan(one, target, side)
        return plan
    raise ValueError(
        f"steer: cannot read {type(what).__name__} as a plan; give a Plan, Shifts or Probes "
        "(for a bare vector: add({layer: vector}))."
    )


def choose_layers(
    accuracy: dict[int, float], n_layers: int, minimum: float = 0.9, drop_last: int = 0
) -> list[int]:
    """Layers whose validated accuracy is at least `minimum`, the last `drop_last` blocks left out.

    The published rule is 0.9 and five blocks of a 32-block model.

    Raises:
        ValueError: no layer passes; the message names the best one.
    """
    kept = [k for k in sorted(accuracy) if k < n_layers - drop_last and accuracy[k] >= minimum]
    if not kept:
        best = max(accuracy, key=accuracy.get)
        raise ValueError(
            f"choose_layers: no layer below {n_layers - drop_last} reaches {minimum}; the best is "
            f"layer {best} with {accuracy[best]:.3f}. Lower the minimum or collect better pairs."
        )
    return kept
