"""KL estimators against a categorical policy, where every expectation is a finite sum."""

import pytest
import torch

from valuelab.rlhf.kl import ESTIMATORS, exact_kl, k1, k2, k3


@pytest.fixture
def pair():
    torch.manual_seed(0)
    logits = torch.randn(7, dtype=torch.float64, requires_grad=True)
    log_ref = torch.log_softmax(torch.randn(7, dtype=torch.float64), -1)
    return logits, log_ref


def mean_of_estimator(estimator, logits, log_ref, *, score_free):
    """E_π[estimator]; with `score_free` the sampling weights carry no gradient, as in a loss."""
    log_p = torch.log_softmax(logits, -1)
    weights = log_p.exp()
    weights = weights.detach() if score_free else weights
    return (weights * estimator(log_p, log_ref)).sum()


def gradient(value, logits):
    return torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_k1_and_k3_have_the_exact_kl_as_their_mean(name, pair):
    logits, log_ref = pair
    log_p = torch.log_softmax(logits, -1)
    mean = (log_p.exp() * ESTIMATORS[name](log_p, log_ref)).sum()
    torch.testing.assert_close(mean, exact_kl(log_p, log_ref), atol=1e-12, rtol=0)


def test_k2_is_biased(pair):
    logits, log_ref = pair
    log_p = torch.log_softmax(logits, -1)
    bias = (log_p.exp() * k2(log_p, log_ref)).sum() - exact_kl(log_p, log_ref)
    assert bias.abs() > 0.01


def test_as_a_loss_k1_has_no_gradient_k2_the_right_one_k3_that_of_the_forward_kl(pair):
    logits, log_ref = pair
    log_p = torch.log_softmax(logits, -1)
    wanted = gradient(exact_kl(log_p, log_ref), logits)
    forward = gradient(exact_kl(log_ref, torch.log_softmax(logits, -1)), logits)
    got = {
        name: gradient(mean_of_estimator(f, logits, log_ref, score_free=True), logits)
        for name, f in ESTIMATORS.items()
    }
    torch.testing.assert_close(got["k1"], torch.zeros_like(wanted), atol=1e-12, rtol=0)
    torch.testing.assert_close(got["k2"], wanted, atol=1e-12, rtol=0)
    torch.testing.assert_close(got["k3"], forward, atol=1e-12, rtol=0)
    assert not torch.allclose(forward, wanted, atol=1e-2)


def test_k3_has_lower_variance_than_k1_near_the_reference_and_is_never_negative(pair):
    logits, log_ref = pair
    log_p = torch.log_softmax(log_ref + 0.1 * torch.log_softmax(logits, -1), -1).detach()
    p = log_p.exp()

    def variance(values):
        return (p * values.square()).sum() - (p * values).sum().square()

    assert variance(k3(log_p, log_ref)) < 0.1 * variance(k1(log_p, log_ref))
    assert (k3(log_p, log_ref) >= 0).all()


def test_k3_keeps_its_digits_in_float32_where_the_plain_form_loses_them():
    rho = torch.tensor(1e-4)
    exact = 1e-8 / 2
    assert k3(rho, torch.zeros(())).item() == pytest.approx(exact, rel=2e-3)
    plain = (torch.exp(-rho) - 1 + rho).item()
    assert abs(plain - exact) > 0.5 * exact


def test_exact_kl_is_zero_on_itself_and_survives_impossible_outcomes():
    log_p = torch.tensor([0.25, 0.75, 0.0]).log()
    assert exact_kl(log_p, log_p).item() == 0
    log_ref = torch.tensor([0.5, 0.5, 0.0]).log()
    assert torch.isfinite(exact_kl(log_p, log_ref))
    assert exact_kl(log_ref, torch.tensor([1.0, 0.0, 0.0]).log()).item() == float("inf")
