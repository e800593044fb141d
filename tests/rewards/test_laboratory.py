"""The honest table: both outcomes, with the signs and sizes the literature spec asks for."""

import pytest
import torch

from valuelab.rewards.exact import at_kl, expected
from valuelab.rewards.laboratory import (
    both_good_table,
    estimate,
    lsc,
    proxy_error_table,
    simulate_two,
)
from valuelab.rewards.transforms import all_of


@pytest.fixture(scope="module")
def proxy_rows():
    rows = proxy_error_table(seeds=range(8))
    return {(row["error"], row["kl"]): row for row in rows}


def test_a_right_proxy_is_best_left_alone_in_the_mean(proxy_rows):
    for case in (("none", 1.0), ("gaussian", 3.0)):
        assert proxy_rows[case]["mean_gain"].high < 0


def test_heavy_tailed_proxy_errors_make_the_transform_better_in_the_mean(proxy_rows):
    for case in (("t(3)", 1.0), ("t(3)", 3.0)):
        assert proxy_rows[case]["mean_gain"].low > 0


def test_the_transform_lifts_the_lower_tail_of_the_prompts_in_every_case(proxy_rows):
    for row in proxy_rows.values():
        assert row["tail_gain"].low > 0


def test_and_beats_the_best_of_five_raw_weights_at_equal_kl_on_twenty_seeds():
    table = both_good_table(seeds=range(20), rho=-0.5, kl=1.0)
    assert table["raw"].seeds == 20
    assert table["gain q0.85"].low >= 0.05
    assert table["gain q0.5"].low >= 0.05


def test_the_gain_shrinks_when_the_two_rewards_agree():
    at_odds = both_good_table(seeds=range(3), rho=-0.5)["gain q0.85"]
    agreeing = both_good_table(seeds=range(3), rho=0.8)["gain q0.85"]
    # it does not vanish: a saturating utility fits a yes-or-no yardstick even then
    assert 0 < agreeing.mean and agreeing.high < at_odds.low


def test_at_an_equal_strength_instead_of_an_equal_kl_the_comparison_means_nothing():
    world = simulate_two(0, prompts=50)
    raw = world.first + world.second
    u = all_of([lsc(world.first), lsc(world.second)])
    rates = [float(expected(at_kl(x, 1.0), world.good.double()).mean()) for x in (raw, 9 * raw, u)]
    assert rates[0] == pytest.approx(rates[1], abs=1e-6)


def test_an_interval_needs_two_seeds_and_covers_its_mean():
    e = estimate([1.0, 2.0, 3.0])
    assert e.low < e.mean == 2.0 < e.high
    with pytest.raises(ValueError, match="one seed"):
        estimate([1.0])


def test_good_in_both_is_rarer_when_the_rewards_are_at_odds():
    share = [float(simulate_two(0, rho).good.double().mean()) for rho in (-0.5, 0.0, 0.5)]
    assert share == sorted(share)
    assert share[1] == pytest.approx(0.25, abs=0.01)
    assert simulate_two(0).good.dtype == torch.bool
