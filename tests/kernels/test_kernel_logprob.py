"""Kernel 4: token log-probability and entropy from logits."""

import pytest
import torch
from kernel_buffers import Guarded, close, draw, poisoned_outputs

from valuelab import kernels

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def task(n, v, dtype, device, scale=4.0):
    logits = (draw(n, v, dtype=torch.float64) * scale).to(dtype).to(device)
    targets = torch.randint(v, (n,), generator=torch.Generator().manual_seed(7))
    return logits, targets.to(device)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("shape", [(1, 1), (5, 123), (9, 1000), (3, 70001)], ids=str)
def test_agrees_with_float64_log_softmax(device, shape, dtype):
    logits, targets = task(*shape, dtype, device)
    got, entropy = kernels.token_log_prob(logits, targets, temperature=1.3)
    log_p = torch.log_softmax(logits.double() / 1.3, -1)
    close(got, log_p.gather(1, targets[:, None])[:, 0], torch.float32, slack=4e-6)
    close(entropy, -(log_p.exp() * log_p).sum(1), torch.float32, slack=4e-6)


def test_huge_logits_and_forbidden_tokens_are_no_trouble(device):
    logits, targets = task(6, 300, torch.float32, device)
    logits[0] += 1e4
    logits[1] -= 1e4
    logits[2, 5:] = float("-inf")
    logits[3, :] = float("-inf")
    logits[3, 2] = 0.0
    targets[2], targets[3] = 3, 2
    leaf = logits.clone().requires_grad_()
    got, entropy = kernels.token_log_prob(leaf, targets)
    (got.sum() + entropy.sum()).backward()
    assert leaf.grad.isfinite().all() and (leaf.grad[3] == 0).all()
    got, entropy = got.detach(), entropy.detach()
    log_p = torch.log_softmax(logits.double(), -1)
    close(got, log_p.gather(1, targets[:, None])[:, 0], torch.float32, slack=4e-6)
    want = -torch.where(log_p.exp() > 0, log_p.exp() * log_p, 0.0).sum(1)
    close(entropy, want, torch.float32, slack=4e-6)


def test_a_negative_target_counts_for_nothing_and_one_beyond_the_vocabulary_is_nan(device):
    logits, targets = task(3, 50, torch.float32, device)
    targets[0], targets[1] = -100, 50
    logits.requires_grad_()
    got, entropy = kernels.token_log_prob(logits, targets)
    assert got[0] == 0 and entropy[0] == 0 and got[1].isnan() and got[2] < 0
    (got[[0, 2]].sum() + entropy[[0, 2]].sum()).backward()
    assert (logits.grad[0] == 0).all() and (logits.grad[2] != 0).any()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
def test_reads_and_writes_nothing_outside_its_rows(device, dtype):
    data, targets = task(7, 77, dtype, device)
    logits = Guarded(data, gap=3, shift=1)
    leaf = logits.view.detach().requires_grad_()
    with poisoned_outputs():
        got, entropy = kernels.token_log_prob(leaf, targets)
        (got.sum() + entropy.sum()).backward()
    assert logits.untouched_outside() and torch.equal(logits.view, data)
    assert got.isfinite().all() and entropy.isfinite().all() and leaf.grad.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("shape", [(5, 123), (2, 40000)], ids=str)
def test_gradients_are_those_that_float64_autograd_finds(device, shape, dtype):
    logits, targets = task(*shape, dtype, device)
    a, b = draw(2, shape[0], seed=5, device=device)
    ours = logits.clone().requires_grad_()
    got, entropy = kernels.token_log_prob(ours, targets, temperature=0.7)
    ((a * got) + (b * entropy)).sum().backward()
    exact = logits.double().requires_grad_()
    log_p = torch.log_softmax(exact / 0.7, -1)
    chosen = log_p.gather(1, targets[:, None])[:, 0]
    ((a * chosen) - b * (log_p.exp() * log_p).sum(1)).sum().backward()
    close(ours.grad, exact.grad, dtype, slack=4e-6)


@pytest.mark.parametrize("chunk", [3, 8, 100])
def test_the_chunked_form_equals_the_whole_and_holds_one_chunk(device, chunk):
    n, d, v = 20, 24, 333
    hidden, head = draw(n, d, device=device), draw(v, d, seed=1, device=device)
    targets = task(n, v, torch.float32, device)[1]
    targets[4] = -100
    a, b = draw(2, n, seed=5, device=device)
    ours = [t.clone().requires_grad_() for t in (hidden, head)]
    got, entropy = kernels.linear_log_prob(*ours, targets, chunk=chunk, temperature=1.5)
    ((a * got) + (b * entropy)).sum().backward()
    exact = [t.double().requires_grad_() for t in (hidden, head)]
    want, want_entropy = kernels.token_log_prob(exact[0] @ exact[1].T, targets, temperature=1.5)
    ((a * want) + (b * want_entropy)).sum().backward()
    close(got, want.detach(), torch.float32, slack=1e-5)
    close(entropy, want_entropy.detach(), torch.float32, slack=1e-5)
    for o, e in zip(ours, exact, strict=True):
        close(o.grad, e.grad, torch.float32, slack=2e-5)


def test_the_chunked_form_never_asks_for_all_logits(device, monkeypatch):
    from valuelab.kernels import logprob_triton

    seen = {"log_prob": [], "log_prob_backward": []}
    for name, at in (("log_prob", 0), ("log_prob_backward", 2)):
        real = getattr(logprob_triton, name)

        def spy(*args, real=real, name=name, at=at):
            seen[name].append(tuple(args[at].shape))
            return real(*args)

        monkeypatch.setattr(logprob_triton, name, spy)
    hidden = draw(40, 8, device=device).requires_grad_()
    head, targets = draw(500, 8, seed=1, device=device), task(40, 500, torch.float32, device)[1]
    kernels.linear_log_prob(hidden, head, targets, chunk=16)[0].sum().backward()
    chunks = [(16, 500), (16, 500), (8, 500)]
    assert seen == {"log_prob": chunks, "log_prob_backward": chunks}


def test_any_leading_axes_empty_ones_too_and_results_repeat(device):
    logits, targets = task(12, 40, torch.bfloat16, device)
    flat = kernels.token_log_prob(logits, targets)
    cube = kernels.token_log_prob(logits.view(3, 4, 40), targets.view(3, 4))
    assert all(torch.equal(a.view(3, 4), b) for a, b in zip(flat, cube, strict=True))
    assert kernels.token_log_prob(logits[:0], targets[:0])[0].shape == (0,)
    with pytest.raises(ValueError, match="one integer target"):
        kernels.token_log_prob(logits, targets[:3])
    with pytest.raises(ValueError, match="positive"):
        kernels.token_log_prob(logits, targets, temperature=0.0)
