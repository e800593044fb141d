"""Low-rank adapters: train a thin change of the weights beside the frozen model, then fold it in.

    with Lora(lm, rank=4) as lora:
        ...                       # train lora.parameters(): the model runs with the change
    vector = lora.vector()        # a task vector like any other: mix it, negate it, measure it

A weight W (out, in) runs as W + 2 B A, with A (rank, in) random and B (out, rank) zero, so that nothing
has changed at the start. A forward hook adds 2 B (A x) to what the layer puts out; no module is replaced.

Source: Hu and others, arXiv 2106.09685; their scale α / rank is 2 here, peft's usual choice.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from valuelab.models import LM, plain
from valuelab.weights.arithmetic import Vector, VectorError

__all__ = ["Lora"]

SCALE = 2.0


class Lora:
    """Adapters on every linear layer of a model but the word head, while a `with` block runs.

    Linear layers are nn.Linear and GPT-2's Conv1D. Matrices that are parameters of another module stay as
    they are: in transformers 5 those are the experts and the router of a mixture of experts.

    Args:
        lm: the model; its own weights are frozen inside the block and never changed.
        rank: of each change; at least 1.
        seed: of A.

    Raises:
        VectorError: rank below 1, or a model without linear layers.

    Warns:
        UserWarning: not all matrices inside the blocks have an adapter.
    """

    def __init__(self, lm: LM, rank: int, seed: int = 0):
        model = plain(lm.model)
        head = model.get_output_embeddings()
        self.layers = {name: m for name, m in model.named_modules() if _linear(m) and m is not head}
        if rank < 1 or not self.layers:
            raise VectorError(f"Lora: rank={rank} on {len(self.layers)} linear layers; give a rank of 1 or more, and "
                              "a model with linear layers.")  # fmt: skip
        adapted = {id(layer.weight) for layer in self.layers.values()}
        matrices = [(n, p) for block in lm.blocks for n, p in block.named_parameters() if p.ndim > 1]
        left = [(n, p) for n, p in matrices if id(p) not in adapted]
        if left:
            size, rest = (sum(p.numel() for _, p in part) for part in (matrices, left))
            names = ", ".join(sorted({n for n, _ in left}))
            warnings.warn(
                f"Lora: adapters reach {1 - rest / size:.0%} of the matrices in the blocks of {lm.name}; "
                f"{names} are in no linear layer (fused experts?) and stay as they are.",
                stacklevel=2,
            )
        self.model, g = model, torch.Generator().manual_seed(seed)
        self.down, self.up = {}, {}  # A and B by name of the layer
        for name, layer in self.layers.items():
            into, out = layer.weight.shape if _transposed(layer) else layer.weight.shape[::-1]
            a = torch.randn(rank, into, generator=g) / into**0.5
            self.down[name] = a.to(layer.weight.device).requires_grad_()
            self.up[name] = torch.zeros(out, rank, device=layer.weight.device, requires_grad=True)

    def parameters(self) -> list[Tensor]:
        """All A and B, in float32: what an optimiser is to train."""
        return [*self.down.values(), *self.up.values()]

    def __enter__(self) -> Lora:
        self.frozen = [p for p in self.model.parameters() if p.requires_grad]
        for p in self.frozen:
            p.requires_grad_(False)
        self.handles = [layer.register_forward_hook(self._hook(name)) for name, layer in self.layers.items()]
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()
        for p in self.frozen:
            p.requires_grad_(True)

    def _hook(self, name: str):
        def add(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
            x = given[0].float() @ self.down[name].T  # (..., rank)
            return out + (SCALE * x @ self.up[name].T).to(out.dtype)

        return add

    def vector(self) -> Vector:
        """The change as a task vector: 2 B A for each layer's weight, zero for all other weights."""
        found = {n: torch.zeros_like(p, dtype=torch.float32) for n, p in self.model.named_parameters()}
        for name, layer in self.layers.items():
            change = SCALE * (self.up[name] @ self.down[name]).detach()
            found[f"{name}.weight"] = change.T if _transposed(layer) else change
        return found


def _transposed(layer: nn.Module) -> bool:
    return type(layer).__name__ == "Conv1D"  # GPT-2's linear layer keeps (in, out)


def _linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or _transposed(layer)
