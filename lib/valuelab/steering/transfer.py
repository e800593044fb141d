"""Carry steering vectors from one model to another, or to a newer version of the same one.

Both models read the same texts. A linear map from the states of the one to those of the other is
fitted (`align`, ridge regression; `unlock`, as published), and directions travel through it.
Whether the map means anything is told by two controls, a random map and a map fitted on shuffled
pairs of states; how good it could be, by a vector made on the target model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from valuelab.activations import capture
from valuelab.models import LM, card
from valuelab.probes.probe import Probe
from valuelab.steering.plan import Plan, as_plan


@dataclass(frozen=True, eq=False)
class Alignment:
    """Affine map of hidden states, target ≈ A (source − source_mean) + target_mean.

    Attributes:
        A: (d_target, d_source).
        source_mean, target_mean: (d_source,), (d_target,).
        r2: share of the target states' variance that the map explains, on texts it was not fitted
            on; None where that was not measured.
    """

    A: Tensor
    source_mean: Tensor
    target_mean: Tensor
    r2: float | None = None

    def state(self, h: Tensor) -> Tensor:
        """Where the map puts states, (..., d_source) -> (..., d_target)."""
        return (h.to(self.A) - self.source_mean) @ self.A.T + self.target_mean

    def direction(self, v: Tensor) -> Tensor:
        """A steering vector, a difference of states, in the other model: A v.

        Means cancel in a difference, so only the matrix acts.
        """
        return v.to(self.A) @ self.A.T

    def explained(self, source: Tensor, target: Tensor) -> float:
        """R² on given states, (n, d_source) and (n, d_target); below 0 is worse than the mean."""
        target = target.to(self.A)
        left = (target - self.state(source)).square().sum()
        return float(1 - left / (target - self.target_mean).square().sum().clamp(min=1e-30))


def align(
    source: Tensor, target: Tensor, *, ridge: float = 1e-2, held_out: float = 0.2, seed: int = 0
) -> Alignment:
    """Ridge regression from the states of one model to those of another, on the same texts.

        A = argmin |Y − X Aᵀ|² + ridge · mean eigenvalue of XᵀX · |A|²     (X, Y centred)

    Args:
        source: states of the model the vectors come from, (n, d_source).
        target: states of the other model for the same texts, row by row, (n, d_target).
        ridge: relative to the states' own scale, so that it means the same at every layer. Above
            zero it keeps directions that the texts do not show from being made up.
        held_out: share of rows on which `r2` is measured; the map is fitted on the rest. 0: none.
        seed: of the division.

    Returns:
        Alignment in float64.

    Raises:
        ValueError: numbers of rows differ, states are not finite, too few rows, negative ridge.
    """
    X, Y = check_states(source, target, ridge, held_out)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    cut = round(held_out * len(X))
    test, train = order[:cut], order[cut:]
    mx, my = X[train].mean(0), Y[train].mean(0)
    x, y = X[train] - mx, Y[train] - my
    gram = x.T @ x
    penalty = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    # the pseudo-inverse, not solve: with ridge 0 and few texts the matrix has no inverse
    A = (torch.linalg.pinv(gram + penalty, hermitian=True) @ (x.T @ y)).T
    found = Alignment(A, mx, my)
    return replace(found, r2=found.explained(X[test], Y[test])) if cut else found


def unlock(source: Tensor, target: Tensor, rank: int) -> Alignment:
    """The map of UNLOCK: least squares between the leading subspaces of the two models.

        W = V_s · pinv(H_s V_s) · (H_t V_t) · V_tᵀ,    v_target = v_source W

    V_s and V_t are the first `rank` right singular vectors of the states H_s and H_t. The cut does
    what the ridge does in `align`: directions in which the texts hardly vary are left out. States
    are not centred, as published, so the map is linear (both means are zero here).

    Args:
        source, target: states of the same texts, (n, d_source) and (n, d_target).
        rank: dimensions kept on either side; at most n and both widths.

    Raises:
        ValueError: as `align`, or a rank that the states do not have.

    Source: UNLOCK, arXiv 2604.06377.
    """
    H_s, H_t = check_states(source, target, 0.0, 0.0)
    if not 1 <= rank <= min(len(H_s), H_s.shape[1], H_t.shape[1]):
        raise ValueError(
            f"unlock: rank={rank}, but there are {len(H_s)} texts and widths {H_s.shape[1]} and "
            f"{H_t.shape[1]}; use a rank from 1 to the least of these."
        )
    V_s, V_t = (torch.linalg.svd(H, full_matrices=False).Vh[:rank].T for H in (H_s, H_t))
    W = V_s @ torch.linalg.pinv(H_s @ V_s) @ (H_t @ V_t) @ V_t.T  # (d_source, d_target)
    return Alignment(W.T, H_s.new_zeros(H_s.shape[1]), H_t.new_zeros(H_t.shape[1]))


def matching_layers(source_layers: int, target_layers: int) -> dict[int, int]:
    """Each source layer's counterpart at the same relative depth: {source: target}."""
    scale = (target_layers - 1) / max(1, source_layers - 1)
    return {layer: round(layer * scale) for layer in range(source_layers)}


def check_states(source: Tensor, target: Tensor, ridge: float, held_out: float) -> tuple:
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target):
        raise ValueError(
            f"align: source has shape {tuple(source.shape)}, target {tuple(target.shape)}; give "
            "states of the same texts, one row each, (n, d) and (n, d')."
        )
    if not (torch.isfinite(source).all() and torch.isfinite(target).all()):
        raise ValueError("align: some states are not finite; look at the texts they come from.")
    if ridge < 0 or not 0 <= held_out < 1:
        raise ValueError(f"align: ridge={ridge}, held_out={held_out}; use >= 0 and 0 to below 1.")
    if len(source) - round(held_out * len(source)) < 3:
        raise ValueError(f"align: {len(source)} texts are too few to fit a map; read hundreds.")
    return source.double(), target.double()


def random_alignment(like: Alignment, seed: int = 0) -> Alignment:
    """Control: a random matrix of the same size and Frobenius norm, with the same means."""
    drawn = torch.randn(like.A.shape, generator=torch.Generator().manual_seed(seed)).to(like.A)
    return replace(like, A=drawn * (like.A.norm() / drawn.norm()), r2=None)


def shuffled_alignment(source: Tensor, target: Tensor, *, seed: int = 0, **options) -> Alignment:
    """Control: `align` with the rows of `target` dealt at random, so that no pair belongs together.

    It keeps both clouds of states and takes the correspondence away.
    """
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed + 1))
    return align(source, target[order], seed=seed, **options)


def transfer(
    what: Plan | Probe | Sequence[Probe],
    maps: dict[int, tuple[int, Alignment]],
    target: LM | None = None,
    *,
    keep_length: bool = False,
) -> Plan:
    """The same plan for the other model: each weight goes through the map of its layer.

    Only shifts that add a vector can be carried over as they are: a probe's weight is a covector
    (it measures states and is not one), so minimal shifts are refused; refit their probe on the
    target model, where a handful of labelled texts is enough.

    Args:
        what: plan of "add" or "remove" shifts on the source model.
        maps: {source layer: (target layer, alignment between the two)}.
        target: the other model; its card goes into the plan, so that `steer` refuses any third one.
        keep_length: scale each vector to the length it had; else the map decides it.

    Raises:
        ValueError: a layer without a map, a minimal shift, a wrong width, or a direction that the
            map sends to zero.
    """
    moved = [carried(shift, maps, keep_length) for shift in as_plan(what).shifts]
    return Plan(tuple(moved), card(target) if target else {})


def carried(shift, maps: dict[int, tuple[int, Alignment]], keep_length: bool):
    probe = shift.probe
    if shift.kind == "minimal":
        raise ValueError(
            "transfer: a minimal shift rests on a probe's reading, and a reading does not travel "
            "through a map of states; refit the probe on the target model, or transfer its "
            "mean difference as add({layer: vector})."
        )
    if probe.layer not in maps:
        raise ValueError(
            f"transfer: no map for layer {probe.layer}; there are maps for {sorted(maps)}."
        )
    layer, alignment = maps[probe.layer]
    if alignment.A.shape[1] != probe.d_model:
        raise ValueError(
            f"transfer: the vector has width {probe.d_model}, the map takes "
            f"{alignment.A.shape[1]}; fit it on the model the vector was made for."
        )
    weight = alignment.direction(probe.weight)
    if weight.norm() <= 1e-8 * alignment.A.norm() * probe.weight.norm():
        raise ValueError(
            f"transfer: the map sends the vector of layer {probe.layer} to zero; the texts it was "
            "fitted on do not vary along it. Add texts that do."
        )
    if keep_length:
        weight = weight * (probe.weight.norm() / weight.norm())
    meta = {"transferred_from_layer": probe.layer, "alignment_r2": alignment.r2}
    return replace(shift, probe=probe.with_(weight=weight.float(), layer=layer, meta=meta))


def align_models(
    source: LM,
    target: LM,
    texts: Sequence[str],
    layers: dict[int, int],
    *,
    position: str | int = "last",
    ridge: float = 1e-2,
    held_out: float = 0.2,
    seed: int = 0,
) -> dict[int, tuple[int, Alignment]]:
    """Maps between layers of two models, fitted on the same texts at the same position.

    Args:
        texts: what both models read; hundreds, of the kind that is to be steered.
        layers: {source layer: target layer}. For an updated version of a model, the same numbers.
        position: as for `capture`; "last" or "mean" need no common tokenizer.

    Returns:
        {source layer: (target layer, Alignment)}, as `transfer` takes them.
    """
    here = capture(source, texts, sorted(set(layers)), position)
    there = capture(target, texts, sorted(set(layers.values())), position)
    options = {"ridge": ridge, "held_out": held_out, "seed": seed}
    return {a: (b, align(here[a], there[b], **options)) for a, b in layers.items()}
