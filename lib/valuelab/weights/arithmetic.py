"""Task arithmetic: adding, negating, mixing and comparing what training did to the weights.

Pure functions on state dicts: a state dict maps names to tensors, a task vector maps the same names
to differences. Sums run in float32 (or wider, where the weights are), whatever the weights are
stored in, and are rounded once at the end. Integer entries (masks, counters) are no weights: they
are left out of vectors and carried through unchanged.

Source: Ilharco and others, Editing models with task arithmetic, arXiv 2212.04089.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = [
    "VectorError",
    "analogy",
    "apply",
    "combine",
    "cosine",
    "difference",
    "interpolate",
    "mixing_weights",
    "negate",
    "norm",
    "overlap",
    "preference_and_drift",
    "random_like",
    "scale",
    "task_vector",
]

StateDict = Mapping[str, Tensor]
Vector = dict[str, Tensor]


class VectorError(ValueError):
    """Weights and vectors that do not belong together. The message says which entry and why."""


def wide(x: Tensor) -> Tensor:
    """The tensor in float32, or in its own type where that is wider; without a gradient."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))


def refuse_other_weights(who: str, entries: StateDict, base: StateDict, whole: bool = True) -> None:
    """Refuse names or shapes that the base does not have; with `whole`, also names that lack.

    Raises:
        VectorError: the first entry that does not fit, and how to mend it.
    """
    unknown = sorted(set(entries) - set(base))
    missing = sorted(n for n in set(base) - set(entries) if whole and base[n].is_floating_point())
    if unknown or missing:
        name, where = (unknown[0], "first") if unknown else (missing[0], "second")
        raise VectorError(
            f"{who}: only the {where} of the two state dicts has {name!r} ({len(unknown)} such names, "
            f"{len(missing)} the other way). Take both from the same model, or read both with weights_of, which names "
            "a tied weight once."
        )
    for name, x in entries.items():
        if x.shape != base[name].shape:
            raise VectorError(
                f"{who}: {name!r} has shape {tuple(x.shape)}, in the base {tuple(base[name].shape)}. "
                "Take both from the same model."
            )


def refuse_unpaired(who: str, vectors: Sequence[Vector], scales: Sequence[float]) -> None:
    if isinstance(vectors, Mapping) or len(vectors) != len(scales):
        given = "a single vector" if isinstance(vectors, Mapping) else f"{len(vectors)} vectors"
        raise VectorError(f"{who}: {given} and {scales!r}. Pass lists: one scale for each vector.")


# ------------------------------------------------------------------ making and using vectors


def task_vector(tuned: StateDict, base: StateDict) -> Vector:
    """What training did to the weights: τ = θ_tuned - θ_base.

    Args:
        tuned: state dict after training.
        base: state dict it started from, same names and shapes.

    Returns:
        One difference for each floating entry, in float32 or wider: the difference of two half-precision
        weights loses digits if it is rounded to half precision again. Integer entries are left out.

    Raises:
        VectorError: names or shapes differ.

    Source: arXiv 2212.04089, section 2.
    """
    refuse_other_weights("task_vector", tuned, base)
    return {name: wide(tuned[name]) - wide(base[name]) for name in base if base[name].is_floating_point()}


def apply(base: StateDict, vectors: Sequence[Vector], scales: Sequence[float]) -> dict[str, Tensor]:
    """Add scaled task vectors to weights: θ = θ_base + Σ_i λ_i τ_i.

    A negative λ takes a task away. A vector with λ = 0 is not touched at all, so that all λ = 0 give
    back the base bit for bit.

    Args:
        base: state dict.
        vectors: task vectors; names that a vector lacks stay as they are.
        scales: one λ for each vector.

    Returns:
        A new state dict in the base's own types, summed in float32 or wider and rounded once.

    Raises:
        VectorError: as many scales as vectors are needed; a name or shape that the base does not have.

    Source: arXiv 2212.04089, section 2.
    """
    refuse_unpaired("apply", vectors, scales)
    for vector in vectors:
        refuse_other_weights("apply", vector, base, whole=False)
    out = {}
    for name, weight in base.items():
        moves = [k * wide(v[name]) for v, k in zip(vectors, scales, strict=True) if k != 0 and name in v]
        out[name] = sum(moves, wide(weight)).to(weight.dtype) if moves else weight.detach().clone()
    return out


def scale(vector: Vector, factor: float) -> Vector:
    """λ τ."""
    return {name: factor * wide(x) for name, x in vector.items()}


def negate(vector: Vector) -> Vector:
    """-τ: adding it forgets what τ learnt."""
    return scale(vector, -1.0)


def combine(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Σ_i w_i τ_i as one vector. All must have the same names and shapes.

    Raises:
        VectorError: they differ, or there are not as many weights as vectors.
    """
    refuse_unpaired("combine", vectors, weights)
    for vector in vectors[1:]:
        refuse_other_weights("combine", vector, vectors[0])
    pairs = list(zip(vectors, weights, strict=True))
    return {name: sum(w * wide(v[name]) for v, w in pairs) for name in vectors[0]}


def difference(a: Vector, b: Vector) -> Vector:
    """a - b."""
    return combine([a, b], [1.0, -1.0])


def analogy(a: Vector, b: Vector, c: Vector) -> Vector:
    """The vector that is to c as b is to a: c + (b - a).

    With a = "voice 1, long", b = "voice 1, brief" and c = "voice 2, long" the result should be
    "voice 2, brief", a task for which there was no data.

    Args:
        a, b, c: task vectors of one base model.

    Returns:
        A vector of the same names, in float32 or wider.

    Raises:
        VectorError: names or shapes differ.

    Source: arXiv 2212.04089, section 5 (task analogies).
    """
    for other in (b, c):
        refuse_other_weights("analogy", other, a)
    return {name: wide(c[name]) + (wide(b[name]) - wide(a[name])) for name in a}


def interpolate(a: StateDict, b: StateDict, t: float) -> dict[str, Tensor]:
    """Weights on the line between two checkpoints: (1 - t) a + t b.

    Between the start and the end of one training run this is a dial for how much of it to keep; between
    two runs from the same start it blends them; beyond 0 and 1 it extrapolates. t = 0 gives a and t = 1
    gives b, bit for bit.

    Args:
        a, b: state dicts of one architecture.
        t: where, 0 at a and 1 at b.

    Returns:
        A new state dict in a's types. Integer entries are a's.

    Raises:
        VectorError: names or shapes differ.

    Source: arXiv 2212.04089, section 4; between months of training, arXiv 2312.13401.
    """
    refuse_other_weights("interpolate", b, a)
    if t in (0, 1):
        return {name: (b if t and x.is_floating_point() else a)[name].detach().to(x.dtype, copy=True)
                for name, x in a.items()}  # fmt: skip
    return apply(a, [task_vector(b, a)], [t])


def preference_and_drift(positive: StateDict, negative: StateDict, base: StateDict) -> tuple[Vector, Vector]:
    """Split two preference-tuned models into what the preference did and what both runs share.

        preference φ = θ⁺ - θ⁻          shared drift δ = (θ⁺ + θ⁻) / 2 - θ_base

    θ⁺ was trained on the comparisons, θ⁻ on the same comparisons with winner and loser exchanged. So
    θ⁺ = θ_base + δ + φ/2 and θ⁻ = θ_base + δ - φ/2: what training does whichever reply wins is δ, and the
    difference cancels it.

    Args:
        positive, negative, base: state dicts with the same names and shapes.

    Returns:
        (φ, δ), two vectors in float32 or wider.

    Raises:
        VectorError: names or shapes differ.

    Source: Preference Vector, arXiv 2504.20106, equation for φ; δ is our name for what it cancels.
    """
    up, down = task_vector(positive, base), task_vector(negative, base)
    preference = {name: up[name] - down[name] for name in up}
    shared = {name: (up[name] + down[name]) / 2 for name in up}
    return preference, shared


# ----------------------------------------------------------------------- comparing and mixing


def inner(u: Vector, v: Vector) -> float:
    return float(sum((u[n].double() * v[n].double()).sum() for n in u))


def norm(vector: Vector) -> float:
    """Euclidean length over all entries together."""
    return inner(vector, vector) ** 0.5


def cosine(u: Vector, v: Vector) -> float:
    """Cosine of the angle between two task vectors, all entries taken as one long vector.

    Raises:
        VectorError: names or shapes differ, or a vector is zero everywhere (it has no direction).
    """
    refuse_other_weights("cosine", u, v)
    lengths = norm(u) * norm(v)
    if lengths == 0:
        raise VectorError("cosine: a vector is zero everywhere, so it has no direction. Train it.")
    return inner(u, v) / lengths


def overlap(vectors: Sequence[Vector]) -> Tensor:
    """Cosines of all pairs, (k, k) in float64, ones on the diagonal."""
    k = len(vectors)
    out = torch.eye(k, dtype=torch.float64)
    for i in range(k):
        for j in range(i):
            out[i, j] = out[j, i] = cosine(vectors[i], vectors[j])
    return out


def random_like(vector: Vector, seed: int = 0) -> Vector:
    """The control: a random vector in which every tensor has the length of the vector's own.

    Length is matched tensor by tensor, which is stricter than in total: embeddings and norms bear
    pushes of very different size. The same seed gives the same vector on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, x in vector.items():
        noise = torch.randn(x.shape, generator=generator).to(x.device, wide(x).dtype)
        out[name] = noise * (wide(x).norm() / noise.norm().clamp(min=1e-30))
    return out


def mixing_weights(effects: Tensor, wanted: Tensor, ridge: float = 0.0) -> Tensor:
    """How much of each vector to mix in, for wanted effects, if effects add up.

        λ = argmin |λᵀ E - wanted|² + ridge |λ|²   =   (E Eᵀ + ridge I)⁻¹ E wanted

    Args:
        effects: E, (vectors, readouts): what one unit of each vector does to each readout. Off the
            diagonal stands the leakage.
        wanted: (readouts,), in the units of `effects`.
        ridge: keeps the mixture small where vectors are nearly parallel; 0 or more.

    Returns:
        λ, (vectors,).

    Raises:
        VectorError: shapes do not fit, or the ridge is negative.
    """
    if effects.ndim != 2 or wanted.shape != effects.shape[1:] or ridge < 0:
        raise VectorError(
            f"mixing_weights: effects {tuple(effects.shape)}, wanted {tuple(wanted.shape)}, ridge {ridge}. "
            "Give (vectors, readouts), one wish for each readout, and a ridge of 0 or more."
        )
    gram = effects @ effects.T + ridge * torch.eye(len(effects), dtype=effects.dtype)
    return torch.linalg.solve(gram, effects @ wanted)
