"""Vectors learnt by gradient, so that the model answers without a prompt line as it answers with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from valuelab import models
from valuelab.activations import capture, residual, with_residual
from valuelab.models import LM


def distil(
    lm: LM,
    plain: Sequence[str],
    told: Sequence[str],
    replies: Sequence[str],
    layers: Sequence[int],
    *,
    steps: int = 60,
    rate: float = 0.03,
    batch_size: int = 16,
    seed: int = 0,
) -> dict[int, Tensor]:
    """One vector for each layer with which `plain` prompts are answered as `told` ones are.

    The vectors v are added to every token and the weights stay as they are. From v = 0, Adam makes
    the divergence smaller, in nats, meant over the tokens of the replies:

        KL( p(· | told, reply so far) ‖ p_v(· | plain, reply so far) )

    Args:
        plain: prompts as the model will meet them.
        told: the same prompts with what is to be distilled, e.g. a persona line.
        replies: continuations, best sampled from the model under `told`.
        layers: blocks whose output is moved.
        steps: of Adam, each on `batch_size` of the prompts.
        rate: step in each coordinate, in units of the root mean square state of the layer.
        seed: of the order in which prompts are drawn.

    Returns:
        {layer: (d_model,)} on the model's device, for `add`.

    Raises:
        ValueError: lists of different length, or a reply that has other tokens after `told` than
            after `plain`.

    Source: vectors found by gradient, arXiv 2205.05124; distilling what a prompt says into a model
    that does not read it, arXiv 2209.15189.
    """
    rows, starts = models.join(lm, plain, replies)
    rows_told, starts_told = models.join(lm, told, replies)
    for k, (a, i, b, j) in enumerate(zip(rows, starts, rows_told, starts_told, strict=True)):
        if a[i:] != b[j:]:
            raise ValueError(
                f"distil: reply {k} has other tokens after the told prompt than after the plain "
                "one; let both prompts end alike, as a chat template does."
            )
    states = capture(lm, list(plain)[:batch_size], list(layers))
    size = {k: h.square().mean().sqrt().to(lm.device) for k, h in states.items()}
    moves = {k: torch.zeros(lm.d_model, device=lm.device, requires_grad=True) for k in size}
    adam = torch.optim.Adam(moves.values(), lr=rate)
    draw = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for _ in range(steps):
        if len(order) < batch_size:
            order = torch.randperm(len(rows), generator=draw).tolist()
        batch, order = order[:batch_size], order[batch_size:]
        with torch.no_grad():
            goal = reply_log_probs(lm, [rows_told[i] for i in batch], [starts_told[i] for i in batch])
        with moved(lm, {k: size[k] * m for k, m in moves.items()}):
            said = reply_log_probs(lm, [rows[i] for i in batch], [starts[i] for i in batch])
        loss = (goal.exp() * (goal - said)).sum(-1).mean()
        for m, grad in zip(moves.values(), torch.autograd.grad(loss, list(moves.values())), strict=True):
            m.grad = grad
        adam.step()
    return {k: (size[k] * m).detach() for k, m in moves.items()}


def reply_log_probs(lm: LM, rows: Sequence[list[int]], starts: Sequence[int]) -> Tensor:
    """Log-probabilities of every token at each place of the replies, (tokens of all rows, vocab)."""
    ids, mask = models.pad(lm, rows, "right")
    logits = lm.model(input_ids=ids, attention_mask=mask).logits.float()
    place = torch.arange(ids.shape[1], device=ids.device)
    begins = torch.tensor(starts, device=ids.device)[:, None]
    ends = mask.sum(1, keepdim=True)
    return logits[(place >= begins - 1) & (place < ends - 1)].log_softmax(-1)


@contextlib.contextmanager
def moved(lm: LM, vectors: dict[int, Tensor]) -> Iterator[None]:
    """Each layer's vector added to every token, gradients flowing into it."""

    def hook(vector: Tensor):
        def after(module, args, output):
            h = residual(output)
            return with_residual(output, (h + vector).to(h.dtype))

        return after

    with contextlib.ExitStack() as stack:
        for layer, vector in vectors.items():
            stack.callback(lm.blocks[layer].register_forward_hook(hook(vector)).remove)
        yield
