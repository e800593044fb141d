"""Task vectors in a living model: read its weights, edit them for a while, keep vectors in files."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from valuelab.models import LM, card, plain
from valuelab.steering.vectors import write_whole
from valuelab.weights.arithmetic import (
    Vector,
    VectorError,
    apply,
    refuse_other_weights,
    refuse_unpaired,
)

__all__ = ["clone", "edited", "load", "mixed", "save", "weights_of"]

FORMAT = "valuelab.task_vector/1"


def weights_of(lm: LM) -> dict[str, Tensor]:
    """The model's parameters by name, without gradients: views, not copies.

    A tied weight (embedding and word head in one) appears once, so that no edit is made twice.
    """
    return {name: p.detach() for name, p in plain(lm.model).named_parameters()}


def clone(lm: LM, dtype: torch.dtype | None = None) -> LM:
    """An independent copy of the model with the same tokenizer, in eval mode."""
    model = copy.deepcopy(plain(lm.model)).eval()
    return LM(model if dtype is None else model.to(dtype), lm.tokenizer, f"{lm.name} (copy)")


def edited(lm: LM, vectors: Sequence[Vector], scales: Sequence[float]) -> LM:
    """A copy of the model with scaled task vectors added; `mixed` does the same without a copy."""
    refuse_unpaired("edited", vectors, scales)
    new = clone(lm)
    write(new, apply(weights_of(lm), vectors, scales))
    return new


@torch.no_grad()
def write(lm: LM, values: dict[str, Tensor]) -> None:
    """Put values into the model's own parameters, in place."""
    for name, weight in weights_of(lm).items():
        if name in values:
            weight.copy_(values[name])


@contextmanager
def mixed(lm: LM, vectors: Sequence[Vector], scales: Sequence[float]) -> Iterator[LM]:
    """Mix task vectors into the model at test time; the old weights come back bit for bit.

        with mixed(lm, [safety, kindness], [0.5, 1.0]):
            reply = models.generate(lm, prompts)

    Only parameters that a vector names are copied aside. Nested uses add up. The fingerprint inside is
    that of the edited weights, so a steering plan noted for the unedited model is refused there.

    Args:
        lm: the model, edited in place while the block runs.
        vectors: task or preference vectors of this model.
        scales: one weight for each.

    Raises:
        VectorError: a vector of another model, or not as many scales as vectors. Nothing is changed then.
    """
    refuse_unpaired("mixed", vectors, scales)
    named = {name for v in vectors for name in v}
    refuse_other_weights("mixed", {n: v[n] for v in vectors for n in v}, weights_of(lm), whole=False)
    here = {name: w for name, w in weights_of(lm).items() if name in named}
    before = {name: w.clone() for name, w in here.items()}
    after = apply(before, [{n: x.to(here[n].device) for n, x in v.items()} for v in vectors], scales)
    print_before = lm.__dict__.pop("fingerprint", None)
    try:
        write(lm, after)
        yield lm
    finally:
        write(lm, before)
        lm.__dict__.pop("fingerprint", None)
        if print_before is not None:
            lm.__dict__["fingerprint"] = print_before


# --------------------------------------------------------------------------------- files


def save(path: str | os.PathLike, vector: Vector, lm: LM, *, dtype: torch.dtype | None = None, **note: Any) -> Path:
    """Write a task vector to one safetensors file with a JSON header.

    Args:
        path: ".safetensors" is appended where there is no suffix.
        lm: the BASE model it belongs to; name, class, width and fingerprint are noted.
        dtype: torch.float16 halves the file; None keeps what the vector has.
        note: anything JSON can hold, e.g. value="security", pairs=320.

    Returns:
        The path written. An interrupted call leaves an earlier file as it was.

    Raises:
        VectorError: the vector does not fit the model, or holds numbers that are not finite.
    """
    refuse_other_weights("save", vector, weights_of(lm), whole=False)
    out = {n: x.detach().to("cpu", dtype or x.dtype, copy=True).contiguous() for n, x in vector.items()}
    for name, x in out.items():
        if not torch.isfinite(x).all():
            raise VectorError(
                f"save: {name!r} holds infinite numbers or NaN (as {x.dtype}). Save it wider, or train anew."
            )
    head = {"format": FORMAT, "model": card(lm), "note": note}
    path = Path(path) if Path(path).suffix else Path(path).with_suffix(".safetensors")
    write_whole(path, to_bytes(out, metadata={"valuelab": json.dumps(head)}))
    return path


def load(path: str | os.PathLike, lm: LM) -> tuple[Vector, dict[str, Any]]:
    """Read what `save` wrote: (vector in float32 or wider, note).

    Args:
        lm: the base model; a vector made for other weights is refused, for adding it would give noise.

    Raises:
        VectorError: no such file, damaged, no task vector, or made for another model.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {})["valuelab"])
            vector = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if head["format"] != FORMAT:
            raise VectorError(f"{path}: format {head['format']!r}; this valuelab reads {FORMAT}. Update it.")
        made_for, note = dict(head["model"]), dict(head["note"])
    except FileNotFoundError as error:
        raise VectorError(f"{path}: there is no such file.") from error
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, OSError) as error:
        raise VectorError(
            f"{path}: damaged, or no task vector ({type(error).__name__}: {error}); save it again with "
            "valuelab.weights.save."
        ) from error
    if made_for.get("fingerprint") != lm.fingerprint:
        raise VectorError(
            f"{path}: made for {made_for.get('model')} ({made_for.get('fingerprint')}), but this is {lm.name} "
            f"({lm.fingerprint}). A task vector fits only the weights it was taken from: load that model."
        )
    refuse_other_weights(f"load {path}", vector, weights_of(lm), whole=False)
    here = weights_of(lm)
    return {n: x.to(here[n].device, torch.promote_types(x.dtype, torch.float32)) for n, x in vector.items()}, note
