"""Log-probability of the tokens that were chosen, and the entropy of what could have been.

    log p(y) = x_y - lse(x),      entropy = lse(x) - Σ p_j x_j,      lse(x) = log Σ e^x_j

Written with `log_softmax` and `gather` this reads or writes an (n, vocabulary) matrix seven times,
for two numbers a row. The kernel reads it once. `linear_log_prob` goes further and never holds more
than a chunk of the logits at all: it makes them, uses them and forgets them, and makes them again
in the backward pass.

A negative target (-100 by custom) marks a token that does not count: its results and gradients are
zero. A target beyond the vocabulary gives NaN, so that it cannot pass unseen.
"""

import torch
from torch import Tensor

from . import backend
from .rows import as_rows, differentiable, wide


def token_log_prob_reference(
    logits: Tensor, targets: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Plain torch. logits: (n, v), targets: (n,) -> log-probability, entropy, lse, each (n,)."""
    x = wide(logits, logits) / temperature
    log_p = x.log_softmax(-1)
    lse = x.amax(-1) - log_p.amax(-1)  # log p = x - lse, so no second pass of exponentials
    least = torch.finfo(x.dtype).min  # a forbidden token has log p = -inf, and p log p = 0
    entropy = -torch.linalg.vecdot(log_p.exp(), log_p.clamp(min=least))
    known = (targets >= 0) & (targets < logits.shape[1])
    nothing = torch.where(targets < 0, 0.0, float("nan")).to(x.dtype)
    chosen = log_p.gather(1, targets.clamp(0, logits.shape[1] - 1)[:, None])[:, 0]
    return torch.where(known, chosen, nothing), torch.where(known, entropy, nothing), lse


def token_log_prob_backward_reference(
    g_log_prob: Tensor,
    g_entropy: Tensor,
    logits: Tensor,
    targets: Tensor,
    entropy: Tensor,
    lse: Tensor,
    temperature: float,
) -> Tensor:
    """Gradient for the logits, (n, v), in their dtype."""
    known = (targets >= 0)[:, None]
    log_p = wide(logits, logits) / temperature - lse[:, None]
    p = log_p.exp()
    hit = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    g = g_log_prob[:, None] * (hit.to(p.dtype) - p)
    g = g - g_entropy[:, None] * torch.where(p > 0, p * (log_p + entropy[:, None]), 0.0)
    return (torch.where(known, g, 0.0) / temperature).to(logits.dtype)


def token_log_prob(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of each distribution, without a softmax in memory.

    Args:
        logits: (..., v).
        targets: (...), integer; negative where the token does not count.
        temperature: the logits are divided by it.

    Returns:
        log-probability (...) and entropy (...), in nats, float32. Differentiable in the logits.

    Raises:
        ValueError: the shapes do not fit, targets are no integers, temperature is not positive.
    """
    _check("token_log_prob", logits, targets, temperature)
    rows = targets.shape
    run = token_log_prob_reference if backend.plain(logits) else token_log_prob_op
    log_prob, entropy, _ = run(as_rows(logits), targets.reshape(-1).long().contiguous(), temperature)
    return log_prob.view(rows), entropy.view(rows)


def linear_log_prob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
) -> tuple[Tensor, Tensor]:
    """`token_log_prob(hidden @ weight.T, targets)` that holds the logits of `chunk` tokens at most.

    Args:
        hidden: final hidden states, (..., d).
        weight: the language-model head, (v, d).
        targets: (...), integer; negative where the token does not count.
        temperature: the logits are divided by it.
        chunk: tokens at a time.

    Returns:
        log-probability (...) and entropy (...), float32. Differentiable in hidden and weight.

    Raises:
        ValueError: the shapes do not fit, or chunk is not positive.
    """
    if hidden.shape[-1:] != weight.shape[1:] or chunk < 1:
        raise ValueError(
            f"linear_log_prob: hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, "
            f"chunk {chunk}. weight is (vocabulary, d) with hidden's d, chunk at least 1."
        )
    _check("linear_log_prob", hidden, targets, temperature)
    training = differentiable(hidden, weight)
    run = linear_log_prob_op if training or not backend.plain(hidden) else _by_chunks
    log_prob, entropy, _ = run(as_rows(hidden), weight, targets.reshape(-1).long().contiguous(), temperature, chunk)
    return log_prob.view(targets.shape), entropy.view(targets.shape)


def _check(who: str, x: Tensor, targets: Tensor, temperature: float) -> None:
    if x.shape[:-1] != targets.shape or targets.is_floating_point():
        raise ValueError(
            f"{who}: {tuple(x.shape)} inputs with targets {tuple(targets.shape)} {targets.dtype}. "
            "Give one integer target for each row."
        )
    if not temperature > 0:
        raise ValueError(f"{who}: temperature={temperature} must be positive.")


@torch.library.custom_op("valuelab::token_log_prob", mutates_args=())
def token_log_prob_op(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """On rows (n, v). Returns log-probability, entropy, lse."""
    if backend.choose(logits) == "torch":
        return token_log_prob_reference(logits, targets, temperature)
    from . import logprob_triton

    return logprob_triton.log_prob(logits, targets, temperature)


@torch.library.custom_op("valuelab::token_log_prob_backward", mutates_args=())
def token_log_prob_backward_op(
    g_log_prob: Tensor,
    g_entropy: Tensor,
    logits: Tensor,
    targets: Tensor,
    entropy: Tensor,
    lse: Tensor,
    temperature: float,
) -> Tensor:
    """Gradient for the logits, (n, v)."""
    args = (g_log_prob, g_entropy, logits, targets, entropy, lse, temperature)
    if backend.choose(logits) == "torch":
        return token_log_prob_backward_reference(*args)
    from . import logprob_triton

    out = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    logprob_triton.log_prob_backward(*args, out)
    return out


@torch.library.custom_op("valuelab::linear_log_prob", mutates_args=())
def linear_log_prob_op(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, chunk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """On rows (n, d). Returns log-probability, entropy, lse."""
    return _by_chunks(hidden, weight, targets, temperature, chunk)


def _by_chunks(hidden, weight, targets, temperature, chunk):
    run = token_log_prob_reference if backend.plain(hidden) else token_log_prob_op
    found = [run(h @ weight.T, y, temperature) for h, y in zip(hidden.split(chunk), targets.split(chunk), strict=True)]
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


@torch.library.custom_op("valuelab::linear_log_prob_backward", mutates_args=())
def linear_log_prob_backward_op(
    g_log_prob: Tensor,
    g_entropy: Tensor,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    entropy: Tensor,
    lse: Tensor,
    temperature: float,
    chunk: int,
    with_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Makes each chunk's logits again. Returns gradients for hidden, and for weight or (0, d)."""
    g_hidden = torch.empty(hidden.shape, dtype=hidden.dtype, device=hidden.device)
    sums = torch.promote_types(weight.dtype, torch.float32)
    g_weight = torch.zeros((weight.shape[0] if with_weight else 0, weight.shape[1]), dtype=sums, device=weight.device)
    rows = (g_log_prob, g_entropy, hidden, targets, entropy, lse, g_hidden)
    for g_lp, g_ent, h, y, ent, z, out in zip(*(r.split(chunk) for r in rows), strict=True):
        logits = h @ weight.T
        g = token_log_prob_backward_op(g_lp, g_ent, logits, y, ent, z, temperature)
        out.copy_(g @ weight)
        if with_weight:
            g_weight += g.T @ h
    return g_hidden, g_weight.to(weight.dtype)


@token_log_prob_op.register_fake
def _(logits, targets, temperature):
    return _fake_rows(logits)


@token_log_prob_backward_op.register_fake
def _(g_log_prob, g_entropy, logits, targets, entropy, lse, temperature):
    return logits.new_empty(logits.shape)


@linear_log_prob_op.register_fake
def _(hidden, weight, targets, temperature, chunk):
    return _fake_rows(hidden)


@linear_log_prob_backward_op.register_fake
def _(g_lp, g_ent, hidden, weight, targets, entropy, lse, temperature, chunk, with_weight):
    v = weight.shape[0] if with_weight else 0
    return hidden.new_empty(hidden.shape), weight.new_empty(v, weight.shape[1])


def _fake_rows(x):
    row = x.new_empty(x.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))
    return row, torch.empty_like(row), torch.empty_like(row)


def _save(ctx, inputs, output):
    logits, targets, ctx.temperature = inputs
    ctx.save_for_backward(logits, targets, output[1], output[2])


def _backward(ctx, g_log_prob, g_entropy, g_lse):
    logits, targets, entropy, lse = ctx.saved_tensors
    grads = (g_log_prob.contiguous(), g_entropy.contiguous())
    g = token_log_prob_backward_op(*grads, logits, targets, entropy, lse, ctx.temperature)
    return g, None, None


def _save_linear(ctx, inputs, output):
    hidden, weight, targets, ctx.temperature, ctx.chunk = inputs
    ctx.save_for_backward(hidden, weight, targets, output[1], output[2])


def _backward_linear(ctx, g_log_prob, g_entropy, g_lse):
    hidden, weight, targets, entropy, lse = ctx.saved_tensors
    g_hidden, g_weight = linear_log_prob_backward_op(
        g_log_prob.contiguous(), g_entropy.contiguous(), hidden, weight, targets, entropy, lse,
        ctx.temperature, ctx.chunk, ctx.needs_input_grad[1],
    )  # fmt: skip
    return g_hidden, g_weight if ctx.needs_input_grad[1] else None, None, None, None


token_log_prob_op.register_autograd(_backward, setup_context=_save)
linear_log_prob_op.register_autograd(_backward_linear, setup_context=_save_linear)
