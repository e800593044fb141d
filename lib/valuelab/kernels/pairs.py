"""Bradley–Terry loss of preference pairs: how surprised the scores are by each choice.

    loss = -log sigmoid(chosen - rejected - margin)

Source: Bradley and Terry 1952; as a reward-model loss, Ouyang et al. 2022, equation 1. There is
nothing to gain in speed here (a batch is kilobytes): it is the first kernel to read.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backend
from .rows import wide


def pair_loss_reference(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """Plain torch. chosen, rejected: (n,) -> loss (n,)."""
    return F.softplus(-(wide(chosen, chosen) - wide(rejected, rejected) - margin))


def pair_loss(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """Loss of each pair, in nats; take its mean to train.

    Args:
        chosen, rejected: scores, (...), same shape and dtype.
        margin: lead that the chosen score should have.

    Returns:
        (...) float32, differentiable in both scores.

    Raises:
        ValueError: the shapes or dtypes differ.
    """
    if chosen.shape != rejected.shape or chosen.dtype != rejected.dtype:
        raise ValueError(
            f"pair_loss: chosen is {tuple(chosen.shape)} {chosen.dtype}, rejected is "
            f"{tuple(rejected.shape)} {rejected.dtype}. Score both with the same model."
        )
    flat = (chosen.reshape(-1).contiguous(), rejected.reshape(-1).contiguous())
    run = pair_loss_reference if backend.plain(chosen) else pair_loss_op
    return run(*flat, margin).view(chosen.shape)


@torch.library.custom_op("valuelab::pair_loss", mutates_args=())
def pair_loss_op(chosen: Tensor, rejected: Tensor, margin: float) -> Tensor:
    """On flat scores (n,)."""
    if backend.choose(chosen) == "torch":
        return pair_loss_reference(chosen, rejected, margin)
    from . import pairs_triton

    return pairs_triton.pair_loss(chosen, rejected, margin)


@torch.library.custom_op("valuelab::pair_loss_backward", mutates_args=())
def pair_loss_backward_op(g: Tensor, chosen: Tensor, rejected: Tensor, margin: float) -> Tensor:
    """Gradient for the chosen scores, (n,); the rejected scores get its negative."""
    if backend.choose(chosen) == "torch":
        return -g * torch.sigmoid(-(wide(chosen, chosen) - wide(rejected, rejected) - margin))
    from . import pairs_triton

    return pairs_triton.pair_loss_backward(g, chosen, rejected, margin)


@pair_loss_op.register_fake
def _(chosen, rejected, margin):
    return chosen.new_empty(chosen.shape, dtype=torch.promote_types(chosen.dtype, torch.float32))


@pair_loss_backward_op.register_fake
def _(g, chosen, rejected, margin):
    return torch.empty_like(g)


def _save(ctx, inputs, output):
    chosen, rejected, ctx.margin = inputs
    ctx.save_for_backward(chosen, rejected)


def _backward(ctx, g):
    chosen, rejected = ctx.saved_tensors
    grad = pair_loss_backward_op(g.contiguous(), chosen, rejected, ctx.margin)
    return grad.to(chosen.dtype), -grad.to(rejected.dtype), None


pair_loss_op.register_autograd(_backward, setup_context=_save)
