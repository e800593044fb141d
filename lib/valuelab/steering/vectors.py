"""Plans and probes on disk: safetensors with a JSON header. Loading executes nothing.

GGUF control vectors, as llama.cpp and repeng read and write them, come in and go out as well.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from valuelab.models import LM, card
from valuelab.probes.probe import Probe
from valuelab.steering.plan import Plan, Shift, add, as_plan

FORMAT = "valuelab.plan/1"


class VectorFileError(ValueError):
    """A file holds no readable plan. The message says which file and what is wrong with it."""


def save(path: str | os.PathLike, what: Any, lm: LM | None = None) -> Path:
    """Write a plan, shifts or probes to one safetensors file.

    Args:
        path: file to write; ".safetensors" is appended where there is no suffix.
        what: as for `steer`. Bare probes are kept as minimal shifts to 0.9.
        lm: the model they were made for; its name, width and fingerprint are noted, and `steer`
            refuses the plan on any other.

    Returns:
        The path written. An interrupted call leaves an earlier file as it was.
    """
    plan = as_plan(what)
    tensors: dict[str, Tensor] = {}
    rows = []
    for k, shift in enumerate(plan.shifts):
        tensors[f"{k}.weight"] = shift.probe.weight.detach().cpu().contiguous().clone()
        row = describe(shift)
        if torch.is_tensor(shift.target):
            tensors[f"{k}.target"], row["target"] = shift.target.cpu().contiguous(), None
        rows.append(row)
    head = {"format": FORMAT, "model": card(lm) if lm else plan.card, "shifts": rows}
    path = Path(path) if Path(path).suffix else Path(path).with_suffix(".safetensors")
    write_whole(path, to_bytes(tensors, metadata={"valuelab": json.dumps(head, default=plain)}))
    return path


def plain(x: Any) -> Any:
    """A number or an array of numpy's or torch's as JSON has it."""
    if not hasattr(x, "tolist"):
        raise TypeError(f"save: {x!r} cannot be written as JSON; keep numbers, texts and lists in a probe's meta.")
    return x.tolist()


def describe(shift: Shift) -> dict[str, Any]:
    probe = shift.probe
    return {
        "kind": shift.kind, "target": shift.target, "side": shift.side, "strength": shift.strength,
        "bias": probe.bias, "layer": probe.layer, "value": probe.value, "method": probe.method,
        "meta": dict(probe.meta),
    }  # fmt: skip


def load(path: str | os.PathLike, lm: LM | None = None) -> Plan:
    """Read a plan that `save` wrote.

    Args:
        lm: if given, a plan made for another model, width or layer is refused at once; otherwise
            `steer` refuses it.

    Raises:
        VectorFileError: no such file, damaged, or not a plan.
        ValueError: made for another model.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {})["valuelab"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if head["format"] != FORMAT:
            raise VectorFileError(
                f"{path}: format {head['format']!r}; this valuelab reads {FORMAT}. Update it."
            )
        shifts = [rebuild(k, row, tensors) for k, row in enumerate(head["shifts"])]
        plan = Plan(tuple(shifts), dict(head["model"]))
    except FileNotFoundError as error:
        raise VectorFileError(f"{path}: there is no such file.") from error
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, OSError) as error:
        raise VectorFileError(
            f"{path}: damaged, or no plan of valuelab ({type(error).__name__}: {error}); save it "
            "again with valuelab.steering.save."
        ) from error
    if lm is not None:
        from valuelab.steering.controller import check_plan

        check_plan(plan, lm)
    return plan


def rebuild(k: int, row: dict[str, Any], tensors: dict[str, Tensor]) -> Shift:
    names = ("bias", "layer", "value", "method", "meta")
    probe = Probe(tensors[f"{k}.weight"], **{name: row[name] for name in names})
    target = tensors[f"{k}.target"] if row["target"] is None else row["target"]
    return Shift(probe, row["kind"], target, row["side"], row["strength"])


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: the file is whole or untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# ------------------------------------------------------------------------------- GGUF

ALIGNMENT = 32
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # GGUF type -> struct letter
STRING, ARRAY = 8, 9
FLOATS = {0: np.dtype("<f4"), 1: np.dtype("<f2")}


def export_gguf(path: str | os.PathLike, what: Any, model_type: str) -> Path:
    """Write the added vectors of a plan as a GGUF control vector for llama.cpp.

    Each layer's vectors are summed, strengths included, into one tensor `direction.<layer>`. Layer
    numbers are the same there: the vector is added to the output of that block.

    Args:
        what: a plan of "add" shifts only (a probe with a bias cannot be expressed).
        model_type: llama.cpp's architecture name, e.g. "llama"; a hint for its loader.

    Raises:
        ValueError: other kinds of shift, or layer 0, which the format does not allow.
    """
    plan = as_plan(what)
    if not plan.shifts or any(s.kind != "add" for s in plan.shifts):
        raise ValueError("export_gguf: only added vectors fit a GGUF control vector; use add(...).")
    if 0 in plan.layers:
        raise ValueError("export_gguf: GGUF control vectors have no layer 0; leave it out.")
    sums = {k: sum(s.strength * s.probe.weight.float() for s in plan.at(k)) for k in plan.layers}
    fields = {
        "general.architecture": "controlvector",
        "controlvector.model_hint": model_type,
        "controlvector.layer_count": len(sums),
    }
    write_whole(Path(path), gguf_bytes(fields, {f"direction.{k}": v for k, v in sums.items()}))
    return Path(path)


def gguf_bytes(fields: dict[str, str | int], tensors: dict[str, Tensor]) -> bytes:
    """A GGUF version 3 file of strings, whole numbers and float32 vectors."""

    def text(s: str) -> bytes:
        raw = s.encode()
        return struct.pack("<Q", len(raw)) + raw

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    for key, value in fields.items():
        if isinstance(value, str):
            out += text(key) + struct.pack("<I", STRING) + text(value)
        else:
            out += text(key) + struct.pack("<II", 4, value)
    blobs, offset = [], 0
    for name, tensor in tensors.items():
        out += text(name) + struct.pack("<IQIQ", 1, len(tensor), 0, offset)
        blob = tensor.detach().cpu().numpy().astype("<f4").tobytes()
        blobs.append(blob + bytes(-len(blob) % ALIGNMENT))
        offset += len(blobs[-1])
    return out + bytes(-len(out) % ALIGNMENT) + b"".join(blobs)


def import_gguf(path: str | os.PathLike) -> Plan:
    """Read a GGUF control vector (repeng, llama.cpp) as a plan that adds its vectors.

    Raises:
        VectorFileError: no such file, not GGUF, damaged, or without `direction.<layer>` tensors.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        fields, tensors = gguf_parts(data)
        found = {
            int(name.split(".")[1]): vector
            for name, vector in tensors.items()
            if name.startswith("direction.")
        }
    except FileNotFoundError as error:
        raise VectorFileError(f"{path}: there is no such file.") from error
    except (struct.error, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise VectorFileError(f"{path}: no readable GGUF control vector ({error}).") from error
    if not found:
        raise VectorFileError(f"{path}: it holds no tensors named direction.<layer>.")
    plan = add(found)
    hint = fields.get("controlvector.model_hint", "")
    return Plan(plan.shifts, {"model": hint} if hint else {})


def gguf_parts(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Fields and float vectors of a GGUF file, version 2 or 3, little-endian."""
    reader = Reader(data)
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    reader.at = 4
    version, n_tensors, n_fields = reader.take("<I"), reader.take("<Q"), reader.take("<Q")
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version} is not supported, 2 and 3 are")
    fields = {reader.text(): reader.value(reader.take("<I")) for _ in range(n_fields)}
    infos = []
    for _ in range(n_tensors):
        name, dims = reader.text(), reader.take("<I")
        shape = [reader.take("<Q") for _ in range(dims)]
        infos.append((name, shape, reader.take("<I"), reader.take("<Q")))
    align = fields.get("general.alignment", ALIGNMENT)
    start = reader.at + -reader.at % align
    tensors = {}
    for name, shape, kind, offset in infos:
        if kind not in FLOATS or len(shape) != 1:
            raise ValueError(f"{name} has type {kind} and shape {shape}; wanted a float vector")
        count = shape[0]
        end = start + offset + count * FLOATS[kind].itemsize
        if end > len(data):
            raise ValueError(f"{name} ends at byte {end} of {len(data)}: the file is cut short")
        vector = np.frombuffer(data, FLOATS[kind], count, start + offset)
        tensors[name] = torch.from_numpy(vector.astype(np.float32))
    return fields, tensors


class Reader:
    """Reads little-endian fields one after the other."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        (found,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def text(self) -> str:
        size = self.take("<Q")
        if self.at + size > len(self.data):
            raise ValueError("a string runs past the end: the file is cut short")
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw.decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            inner, count = self.take("<I"), self.take("<Q")
            return [self.value(inner) for _ in range(count)]
        return self.take("<" + SCALARS[kind])
