"""Advantages and losses against sums that can be written out, and against autograd."""

import itertools
import math

import pytest
import torch

from valuelab.rlhf import losses as L
from valuelab.rlhf.kl import ESTIMATORS, exact_kl, gradient_as_loss

TOKENS, LENGTH = 3, 2
SEQUENCES = torch.tensor(list(itertools.product(range(TOKENS), repeat=LENGTH)))  # all 9 replies


@pytest.fixture
def policy():
    """Logits of a policy over sequences of two tokens (the second depends on the first), and a reference."""
    g = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(1 + TOKENS, TOKENS, generator=g, dtype=torch.float64)  # noqa: E731
    return draw().requires_grad_(), draw()


def log_probs(table):
    """Per token, (9, 2), of all replies."""
    log_p = torch.log_softmax(table, -1)
    return torch.stack([log_p[0, SEQUENCES[:, 0]], log_p[1 + SEQUENCES[:, 0], SEQUENCES[:, 1]]], 1)


def rewards(n=9, seed=1):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.ones(9, LENGTH, dtype=torch.bool)


def test_the_gradient_of_reinforce_is_that_of_the_expected_reward_whatever_the_baseline(policy):
    table, _ = policy
    log_p, r = log_probs(table), rewards()
    p = log_p.sum(1).exp()
    wanted = torch.autograd.grad(-(p * r).sum(), table, retain_graph=True)[0]
    for baseline in (0.0, 3.0):
        # replies as often as the policy draws them: weights instead of a sample of millions
        advantage = (r - baseline) * p.detach() * 9
        got = torch.autograd.grad(L.reinforce_loss(log_p, advantage, MASK), table, retain_graph=True)[0]
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)


def test_tokens_behind_the_end_of_a_reply_do_not_count():
    log_p = torch.randn(4, 5, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 2])[:, None]
    junk = torch.where(mask, log_p, 77.0)
    old, ref, a = log_p - 0.1, log_p + 0.3, torch.randn(4, dtype=torch.float64)
    for f in (
        lambda x: L.reinforce_loss(x, a, mask),
        lambda x: L.sequence_policy_loss(x, old, a, mask),
        lambda x: L.group_policy_loss(x, old, a, mask, average="reply"),
        lambda x: L.group_policy_loss(x, old, a, mask, average="constant"),
        lambda x: L.group_policy_loss(x, old, a, mask, penalty=L.kl_in_loss(x, ref, 0.1)),
        lambda x: L.kl_in_reward(a, x, ref, mask, 0.1).sum(),
        lambda x: L.token_covariance(x, a, mask).sum(),
        lambda x: L.kl_cov_loss(x, old, a, mask, mask),
    ):
        torch.testing.assert_close(f(junk), f(log_p))


def test_leave_one_out_sums_to_zero_and_equals_its_two_forms():
    r = rewards(20).view(4, 5)
    a = L.leave_one_out(r)
    torch.testing.assert_close(a.sum(1), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(a, 5 / 4 * (r - r.mean(1, keepdim=True)))
    others = torch.stack([r[:, [j for j in range(5) if j != i]].mean(1) for i in range(5)], 1)
    torch.testing.assert_close(a, r - others)


def test_the_mean_of_all_replies_shrinks_the_gradient_and_the_mean_of_the_others_does_not(policy):
    """Over all pairs of replies, drawn as often as the policy draws them."""
    table, _ = policy
    log_p, r = log_probs(table), rewards()
    total = log_p.sum(1)
    p = total.exp()
    wanted = torch.autograd.grad((p * r).sum(), table, retain_graph=True)[0]
    often = (p[:, None] * p[None]).detach()
    groups = torch.stack(torch.broadcast_tensors(r[:, None], r[None]), -1)
    scores = torch.stack(torch.broadcast_tensors(total[:, None], total[None]), -1)
    for advantage, share in ((L.leave_one_out(groups), 1.0), (groups - groups.mean(-1, keepdim=True), 0.5)):
        value = (often[..., None] * advantage * scores).sum() / 2
        got = torch.autograd.grad(value, table, retain_graph=True)[0]
        torch.testing.assert_close(got, share * wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("f", [L.leave_one_out, L.group_normalised])
def test_equal_rewards_give_zero_and_one_reply_a_prompt_is_refused(f):
    assert (f(torch.full((3, 4), 2.5)) == 0).all()
    with pytest.raises(ValueError, match="2 replies or more"):
        f(torch.ones(3, 1))


def test_group_scaling_makes_all_groups_alike_and_the_others_do_not():
    r = rewards(40).view(4, 10) * torch.tensor([0.1, 1, 3, 10])[:, None]
    spread = {s: L.group_normalised(r, s).std(1) for s in ("group", "batch", "none")}
    torch.testing.assert_close(spread["group"], torch.ones(4, dtype=torch.float64), atol=2e-3, rtol=0)
    for other in ("batch", "none"):
        assert spread[other][3] / spread[other][0] > 30
    with pytest.raises(ValueError, match="choose 'group', 'batch' or 'none'"):
        L.group_normalised(r, "prompt")


def test_the_clip_stops_profit_and_never_a_loss():
    log_ratio = torch.tensor([0.5, 0.5, -0.5, -0.5], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    L.clipped_loss(log_ratio, a, 0.2, 0.3).sum().backward()
    e = math.exp(0.5)
    wanted = torch.tensor([0, e, -1 / e, 0], dtype=torch.float64)
    torch.testing.assert_close(log_ratio.grad, wanted)
    values = L.clipped_loss(log_ratio.detach(), a, 0.2, 0.3)
    torch.testing.assert_close(values, torch.tensor([-1.3, e, -1 / e, 0.8], dtype=torch.float64))


def test_on_the_first_step_all_losses_have_the_gradient_of_reinforce():
    log_p = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    a, mask = rewards(6), torch.ones(6, 4, dtype=torch.bool)
    old = log_p.detach()

    def gradient(loss):
        return torch.autograd.grad(loss, log_p)[0]

    wanted = gradient(L.reinforce_loss(log_p, a, mask))
    torch.testing.assert_close(gradient(L.sequence_policy_loss(log_p, old, a, mask)), wanted)
    torch.testing.assert_close(4 * gradient(L.group_policy_loss(log_p, old, a, mask)), wanted)


def test_kl_in_the_reward_pulls_to_the_reference_with_the_exact_gradient(policy):
    table, other = policy
    log_p, log_ref, r, beta = log_probs(table), log_probs(other), rewards(), 0.3
    p = log_p.sum(1).exp()
    kl = exact_kl(log_p.sum(1), log_ref.sum(1))
    wanted = torch.autograd.grad(-(p * r).sum() + beta * kl, table, retain_graph=True)[0]
    paid = L.kl_in_reward(r, log_p, log_ref, MASK, beta)
    assert not paid.requires_grad
    got = torch.autograd.grad(L.reinforce_loss(log_p, paid * p.detach() * 9, MASK), table)[0]
    torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="pay for distance"):
        L.kl_in_reward(r, log_p, log_ref, MASK, -0.1)


def test_kl_in_the_loss_is_what_gradient_as_loss_says():
    logits = rewards(5).requires_grad_()
    log_ref = torch.log_softmax(rewards(5, seed=2), -1)
    for name, f in ESTIMATORS.items():
        log_p = torch.log_softmax(logits, -1)
        loss = (log_p.detach().exp() * L.kl_in_loss(log_p, log_ref, 1.0, name)).sum()
        got = torch.autograd.grad(loss, logits)[0]
        torch.testing.assert_close(got, gradient_as_loss(f, logits, log_ref))
    assert gradient_as_loss(ESTIMATORS["k1"], logits, log_ref).abs().max() < 1e-12
    wanted = torch.autograd.grad(exact_kl(torch.log_softmax(logits, -1), log_ref), logits)[0]
    for name in ("k1", "k3"):  # with the ratio put back, both pull towards KL(π ‖ ref)
        log_p = torch.log_softmax(logits, -1)
        old = log_p.detach()
        loss = (old.exp() * L.kl_in_loss(log_p, log_ref, 1.0, name, log_old=old)).sum()
        torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], wanted)
    with pytest.raises(ValueError, match="choose k1, k2, k3"):
        L.kl_in_loss(log_p, log_ref, 1.0, "k4")


def test_the_entropy_bonus_raises_entropy():
    logits = torch.randn(7, dtype=torch.float64, requires_grad=True)
    log_p = torch.log_softmax(logits, -1)
    entropy = -(log_p.exp() * log_p).sum()
    L.entropy_bonus(entropy[None, None], torch.ones(1, 1), 0.5).backward()
    after = torch.log_softmax(logits.detach() - 0.1 * logits.grad, -1)
    assert -(after.exp() * after).sum() > entropy


def test_the_covariance_of_tokens_is_a_covariance_and_foretells_the_change_of_entropy():
    """ΔH = -η Cov(log π, A) for the natural gradient on one categorical: logits + η A."""
    logits, a = rewards(9), rewards(9, seed=3)
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    a = a - (p * a).sum()
    cov = (p * a * (log_p - (p * log_p).sum())).sum()
    after = torch.log_softmax(logits + 1e-5 * a, -1)
    change = -(after.exp() * after).sum() + (p * log_p).sum()
    assert float(change) == pytest.approx(-1e-5 * float(cov), rel=1e-3)

    x, adv = torch.randn(6, 4).double(), rewards(6)
    mask = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) < 0.7
    got = L.token_covariance(x, adv, mask)
    rows = adv[:, None].expand(6, 4)[mask]
    wanted = torch.stack([rows, x[mask]]).cov(correction=0)[0, 1]
    torch.testing.assert_close(got.sum() / mask.sum(), wanted)
    assert (got[~mask] == 0).all()


def test_the_selections_count_what_they_take():
    cov = torch.arange(24.0).view(4, 6) / 2
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[3, 4:] = False  # the two largest do not belong to a reply
    top = L.kl_cov(cov, mask, share=0.15)
    assert (top.count, top.of, int(top.tokens.sum())) == (3, 22, 3)
    assert set(cov[top.tokens].tolist()) == {10.5, 10.0, 9.5}
    for seed in range(5):
        some = L.clip_cov(cov, mask, 0.1, 1.0, 5.0, torch.Generator().manual_seed(seed))
        assert (some.count, int(some.tokens.sum())) == (2, 2)
        assert ((cov[some.tokens] > 1) & (cov[some.tokens] < 5)).all()
    none = L.clip_cov(cov / 100, mask)
    assert none.count == 0 and not none.tokens.any()
    assert L.kl_cov(cov, mask, share=1e-6).count == 1
    with pytest.raises(ValueError, match="one token in 500"):
        L.kl_cov(cov, mask, share=0.0)


def test_kl_cov_does_nothing_on_the_first_step_and_brakes_on_the_second():
    log_p = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    a, mask = rewards(3), torch.ones(3, 4, dtype=torch.bool)
    chosen = torch.zeros(3, 4, dtype=torch.bool)
    chosen[0, 0] = True

    def gradient(old, coefficient):
        return torch.autograd.grad(L.kl_cov_loss(log_p, old, a, mask, chosen, coefficient), log_p)[0]

    now = log_p.detach()
    torch.testing.assert_close(gradient(now, 5.0), gradient(now, 0.0))
    moved = gradient(now - 0.1, 5.0) - gradient(now - 0.1, 0.0)
    assert moved[0, 0] == pytest.approx(5 / 12) and moved.abs().sum() == moved[0, 0]


def test_hl_gauss_targets_are_bell_curves_and_give_their_numbers_back():
    edges = L.value_bins(-2.0, 2.0, 51)
    y = torch.linspace(-1.7, 1.7, 13)
    p = L.hl_gauss_targets(y, edges)
    torch.testing.assert_close(p.sum(-1), torch.ones(13))
    torch.testing.assert_close(L.hl_gauss_value(p.log(), edges), y, atol=2e-4, rtol=0)
    width = 4 / 51
    middle = int(p[6].argmax())
    inside = math.erf(0.5 * width / (0.75 * width) / math.sqrt(2))  # share of the curve in its own bin
    assert p[6, middle] == pytest.approx(inside, rel=1e-4)
    assert L.hl_gauss_targets(torch.tensor([9.0]), edges)[0].argmax() == 50
    with pytest.raises(ValueError, match="high > low"):
        L.value_bins(1.0, 1.0, 51)


def test_gae_is_the_monte_carlo_return_at_lambda_one_and_one_step_at_lambda_zero():
    r = torch.randn(2, 4, dtype=torch.float64)
    v = torch.randn(2, 4, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    a, back = L.gae(r, v, mask, 1.0, 1.0)
    to_go = (r * mask).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(a, (to_go - v) * mask)
    torch.testing.assert_close(back, to_go * mask)
    one, _ = L.gae(r, v, mask, 0.9, 0.0)
    following = torch.cat([(v * mask)[:, 1:], torch.zeros(2, 1).double()], 1)
    torch.testing.assert_close(one, (r + 0.9 * following - v) * mask)


def test_an_unknown_average_is_refused():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="'token', 'reply' or 'constant'"):
        L.group_policy_loss(x, x, torch.zeros(2), torch.ones(2, 3), average="batch")
