"""The invariants of the transforms, as properties that must hold for every reward drawn."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from valuelab.rewards import transforms as T

finite = st.floats(-30, 30, allow_nan=False, width=64)


def rewards(prompts=(1, 5), replies=(2, 9)):
    shape = st.tuples(st.integers(*prompts), st.integers(*replies))
    return hnp.arrays("float64", shape, elements=finite).map(torch.from_numpy)


def several(k=(1, 4), replies=(2, 7)):
    shape = st.tuples(st.integers(*k), st.just(3), st.integers(*replies))
    return hnp.arrays("float64", shape, elements=finite).map(torch.from_numpy)


@given(rewards(), st.data())
def test_a_function_of_the_prompt_cancels_only_if_the_reference_is_recomputed(r, data):
    shift = torch.tensor(data.draw(st.lists(finite, min_size=len(r), max_size=len(r))))[:, None]
    shift = shift.double() + torch.sign(shift + 0.1)  # never zero
    reference = r.quantile(0.85, dim=1, keepdim=True)
    again = (r + shift).quantile(0.85, dim=1, keepdim=True)
    u = T.log_sigmoid_centered(r, reference)
    torch.testing.assert_close(T.log_sigmoid_centered(r + shift, again), u, atol=1e-9, rtol=1e-9)
    assert not torch.allclose(T.log_sigmoid_centered(r + shift, reference), u, atol=1e-9, rtol=0)


@given(finite, finite, st.floats(0.01, 3))
def test_log_sigmoid_centred_rises_and_bends_down(r, reference, step):
    r = torch.tensor([r - step, r, r + step], dtype=torch.float64)
    u = T.log_sigmoid_centered(r, reference)
    assert (u <= 0).all()
    assert (u.diff() > 0).all()
    assert u.diff()[1] <= u.diff()[0] + 1e-12


@given(finite)
def test_far_above_every_reward_the_reference_leaves_the_raw_reward(r):
    r = torch.tensor([r], dtype=torch.float64)
    torch.testing.assert_close(T.log_sigmoid_centered(r, 80.0) + 80.0, r, atol=1e-9, rtol=0)


def test_gradient_of_log_sigmoid_centred_is_the_share_still_to_win():
    r = torch.linspace(-5, 5, 11, dtype=torch.float64, requires_grad=True)
    T.log_sigmoid_centered(r, 0.7).sum().backward()
    torch.testing.assert_close(r.grad, torch.sigmoid(0.7 - r.detach()))


def test_a_flat_reference_is_refused_because_it_would_run_along_the_replies():
    with pytest.raises(ValueError, match=r"r_ref\[:, None\]"):
        T.log_sigmoid_centered(torch.zeros(4, 4), torch.zeros(4))


def test_nan_rewards_stay_nan():
    assert T.log_sigmoid_centered(torch.tensor([math.nan, 0.0]), 0.0).isnan().tolist() == [
        True, False,
    ]


@given(several())
def test_and_is_at_most_the_weakest_term_and_or_at_least_the_strongest(r):
    log_p = T.log_sigmoid_centered(r, 0.0)
    assert (T.all_of(log_p) <= T.worst_case(log_p) + 1e-12).all()
    assert (T.any_of(log_p) >= log_p.amax(dim=0) - 1e-12).all()
    assert (T.any_of(log_p) <= 0).all()


@given(several(k=(2, 4)))
def test_or_is_the_and_of_the_opposites_by_de_morgan(r):
    r = r.clamp(-12, 12)  # the plain formula on the right cancels beyond
    neither = torch.sigmoid(-r).prod(dim=0)
    torch.testing.assert_close(
        T.any_of(T.log_sigmoid_centered(r, 0.0)).exp(), 1 - neither, atol=1e-9, rtol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_or_neither_underflows_nor_overflows_and_has_finite_gradients(dtype):
    r = torch.tensor([[-200.0, 200.0, -200.0], [-200.0, 200.0, 150.0]], dtype=dtype)
    r.requires_grad_()
    u = T.any_of(T.log_sigmoid_centered(r, 0.0))
    assert u[0].item() == pytest.approx(-200 + math.log(2), abs=1e-4)
    assert u[1].item() == pytest.approx(0, abs=1e-6) and u[2].item() == pytest.approx(0, abs=1e-6)
    u.sum().backward()
    assert torch.isfinite(r.grad).all()


@given(several())
def test_equal_weights_of_one_are_the_plain_and_and_zero_drops_a_term(r):
    log_p = T.log_sigmoid_centered(r, 0.0)
    torch.testing.assert_close(T.weighted_all_of(log_p, [1.0] * len(r)), T.all_of(log_p))
    only_first = [1.0] + [0.0] * (len(r) - 1)
    torch.testing.assert_close(T.weighted_all_of(log_p, only_first), log_p[0])


def test_terms_may_come_as_a_list_and_order_does_not_matter():
    a, b = -torch.rand(2, 5), -torch.rand(2, 5)
    torch.testing.assert_close(T.all_of([a, b]), T.all_of(torch.stack([b, a])))
    torch.testing.assert_close(T.any_of([a, b]), T.any_of([b, a]))


@pytest.mark.parametrize("combine", [T.all_of, T.any_of])
def test_raw_rewards_are_refused_where_log_probabilities_belong(combine):
    with pytest.raises(ValueError, match="log_sigmoid_centered"):
        combine([torch.tensor([0.5, -1.0]), torch.tensor([-0.5, -1.0])])


def test_terms_of_different_shape_negative_weights_and_no_terms_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        T.all_of([torch.zeros(3), torch.zeros(4)])
    with pytest.raises(ValueError, match="negative weight"):
        T.weighted_all_of([-torch.ones(3)], [-1.0])
    with pytest.raises(ValueError, match="give one each"):
        T.weighted_sum([torch.ones(3)], [1.0, 2.0])
    with pytest.raises(ValueError, match="no terms"):
        T.all_of([])


@given(rewards(), st.floats(0.01, 2))
def test_exponential_and_inada_utilities_rise_and_bend_down(r, rate):
    grid = torch.linspace(float(r.min()), float(r.max()) + 1, 50, dtype=torch.float64) / 5
    middle = float(grid.mean())
    for u in (
        T.exponential_utility(grid, rate, middle),
        T.inada_utility(grid, middle, gamma=rate, beta=1 + rate),
        T.inada_utility(grid, middle, gamma=1.0),
    ):
        assert (u.diff() > 0).all()
        assert (u.diff().diff() <= 1e-9 * u.abs().max()).all()


def test_utilities_have_their_known_special_cases():
    r = torch.linspace(-2, 3, 11, dtype=torch.float64)
    torch.testing.assert_close(T.exponential_utility(r, 0.0, 1.0), r - 1)
    torch.testing.assert_close(T.exponential_utility(r, 1e-9, 1.0), r - 1)
    assert (T.exponential_utility(r, 2.0) < 0.5).all()  # bounded by 1 / rate
    torch.testing.assert_close(T.inada_utility(r, 0.0, gamma=0.0, beta=1.0), r)
    close = T.inada_utility(r, 0.0, gamma=1 + 1e-7)
    torch.testing.assert_close(close, T.inada_utility(r, 0.0, gamma=1.0), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="at least 0"):
        T.exponential_utility(r, -1.0)
    square = torch.arange(4.0).view(2, 2)
    per_prompt = torch.tensor([[1.0], [2.0]])
    torch.testing.assert_close(T.exponential_utility(square, 0.0, per_prompt), square - per_prompt)
    with pytest.raises(ValueError, match=r"r_ref\[:, None\] of shape \(prompts, 1\)"):
        T.exponential_utility(square, 0.5, per_prompt[:, 0])  # as many prompts as replies
    with pytest.raises(ValueError, match="concave"):
        T.inada_utility(r, 0.0, beta=0.5)


@given(several(k=(1, 6)), st.floats(0.01, 1))
def test_cvar_runs_from_the_worst_case_to_the_mean(r, level):
    torch.testing.assert_close(T.cvar(r, 1.0), r.mean(dim=0))
    torch.testing.assert_close(T.cvar(r, 0.5 / len(r)), T.worst_case(r))
    assert (T.cvar(r, level) >= T.worst_case(r) - 1e-9).all()
    assert (T.cvar(r, level) <= r.mean(dim=0) + 1e-9).all()


def test_cvar_counts_the_last_element_in_part_and_takes_any_axis():
    r = torch.tensor([4.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    assert T.cvar(r, 0.5).item() == pytest.approx(1.5)
    assert T.cvar(r, 0.375).item() == pytest.approx((1 + 0.5 * 2) / 1.5)
    rows = torch.stack([r, r + 10])
    torch.testing.assert_close(T.cvar(rows, 0.5, dim=1), torch.tensor([1.5, 11.5]).double())
    with pytest.raises(ValueError, match="worst tenth"):
        T.cvar(r, 0.0)


@given(rewards())
def test_any_rising_transform_of_one_reward_leaves_its_best_reply_but_not_that_of_a_sum(r):
    u = T.log_sigmoid_centered(r / 10, 0.0)
    best = r.amax(dim=1, keepdim=True)
    assert (r.gather(1, u.argmax(dim=1, keepdim=True)) >= best - 1e-9).all()


def test_the_best_reply_by_a_sum_of_two_rewards_changes_under_the_transform():
    one_sided, balanced = torch.tensor([8.0, 1.5]), torch.tensor([-3.0, 1.5])  # two replies
    pair = [one_sided, balanced]
    assert T.weighted_sum(pair, [1.0, 1.0]).argmax().item() == 0  # 8 - 3 > 1.5 + 1.5
    assert T.all_of([T.log_sigmoid_centered(r, 0.0) for r in pair]).argmax().item() == 1


@given(rewards(replies=(3, 8)), st.data())
def test_group_scaling_cancels_explicit_value_weights_and_centring_keeps_them(r, data):
    correct = (r > r.median(dim=1, keepdim=True).values).double()
    values = data.draw(st.lists(st.floats(0.0, 0.1), min_size=len(r), max_size=len(r)))
    v = torch.tensor(values, dtype=torch.float64)[:, None]
    weighted = T.value_weighted(correct, v)
    exact = {"eps": 0.0}
    mixed = correct.std(dim=1) > 0
    torch.testing.assert_close(
        T.standardise(weighted, **exact)[mixed], T.standardise(correct, **exact)[mixed]
    )
    factor = 1 + (10 * v).clamp(max=1)
    torch.testing.assert_close(T.centre(weighted), factor * T.centre(correct))


def test_group_scaling_undoes_the_emphasis_of_the_transform_on_poor_prompts():
    torch.manual_seed(0)
    saturated = 6 + torch.randn(500, 8, dtype=torch.float64)
    poor = -2 + torch.randn(500, 8, dtype=torch.float64)
    u = [T.log_sigmoid_centered(r, 0.0) for r in (saturated, poor)]
    kept = [float(T.centre(x).abs().mean()) for x in u]
    scaled = [float(T.standardise(x).abs().mean()) for x in u]
    assert kept[1] / kept[0] > 100
    assert scaled[1] / scaled[0] < 1.3


def test_standardising_one_reply_is_refused_and_constant_rewards_give_zeros():
    with pytest.raises(ValueError, match="one reply"):
        T.standardise(torch.zeros(3, 1))
    assert (T.standardise(torch.full((2, 4), 3.0)) == 0).all()


def test_value_weighted_accuracy_counts_value_not_prompts():
    v = T.explicit_value(torch.tensor([90.0, 5.0, 5.0]), 100.0)
    correct = torch.tensor([1, 0, 0])
    assert T.value_weighted_accuracy(correct, v).item() == pytest.approx(0.9)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        T.explicit_value(torch.tensor([120.0]), 100.0)
