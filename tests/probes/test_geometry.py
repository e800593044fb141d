"""Claims about the geometry of hidden states: known clouds give the known answers, and the bias is shown."""

import numpy as np
import pytest
import torch

from valuelab import probes
from valuelab.probes.geometry import METRICS, floor

D = 32


def gaussian(n, spread=None, seed=0, offset=0.0):
    """n states with the given standard deviations along random orthogonal axes."""
    draw = torch.Generator().manual_seed(seed)
    spread = torch.ones(D) if spread is None else torch.as_tensor(spread)
    turn = torch.linalg.qr(torch.randn(D, D, generator=draw)).Q
    return torch.randn(n, D, generator=draw) * spread @ turn + offset


def low_rank(n, k):
    spread = torch.zeros(D)
    spread[:k] = 1.0
    return gaussian(n, spread)


@pytest.mark.parametrize("k", [1, 4, 16, 32])
def test_rankme_and_participation_ratio_count_the_directions_of_a_low_rank_cloud(k):
    Z = low_rank(4000, k)
    assert probes.rankme(Z) == pytest.approx(k, rel=0.02)
    assert probes.participation_ratio(Z) == pytest.approx(k, rel=0.02)


def test_rankme_by_hand_and_against_the_entropy_of_squares():
    Z = torch.diag(torch.tensor([3.0, 1.0]))
    exact = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert probes.rankme(Z) == pytest.approx(exact)
    squares = np.exp(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)))
    assert abs(probes.rankme(Z) - squares) > 0.3  # the common mistake is another number


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_alpha_req_recovers_a_planted_power_law(alpha):
    spread = torch.arange(1, D + 1).float() ** (-alpha / 2)
    found = probes.alpha_req(gaussian(20000, spread), first=2, last=24)
    assert found.alpha == pytest.approx(alpha, abs=0.06)
    assert (found.first, found.last) == (2, 24)
    if alpha:
        assert found.r2 > 0.97


def test_isoscore_runs_from_a_line_to_a_ball():
    assert probes.isoscore(gaussian(20000)) > 0.99
    assert probes.isoscore(low_rank(4000, 1)) == pytest.approx(0.0, abs=1e-6)
    # half of the directions alike and the other half empty: IsoScore was made to say one half
    assert probes.isoscore(low_rank(20000, D // 2)) == pytest.approx(0.5, abs=0.03)


def test_the_nuclear_norm_has_its_known_ends_and_ignores_scale():
    n = 64
    rows = torch.linalg.qr(torch.randn(n, D, generator=torch.Generator().manual_seed(1))).Q
    assert probes.nuclear_norm(rows) == pytest.approx((D / n) ** 0.5)
    line = torch.randn(n, 1, generator=torch.Generator().manual_seed(1)) * torch.ones(D)
    assert probes.nuclear_norm(line) == pytest.approx(n**-0.5)
    assert probes.nuclear_norm(7 * rows) == pytest.approx(probes.nuclear_norm(rows))


def test_the_mean_cosine_is_exact_and_an_offset_alone_explains_it():
    Z = gaussian(60, offset=0.7)
    unit = torch.nn.functional.normalize(Z.double(), dim=1)
    by_pairs = (unit @ unit.T)[~torch.eye(60, dtype=bool)].mean()
    assert probes.mean_cosine(Z) == pytest.approx(float(by_pairs), abs=1e-12)
    assert probes.mean_cosine(gaussian(3000)) == pytest.approx(0.0, abs=0.01)
    far = gaussian(3000, offset=2.0)
    assert probes.mean_cosine(far) > 0.7
    assert probes.mean_cosine(far, centred=True) == pytest.approx(0.0, abs=0.01)


def test_an_offset_lowers_rankme_unless_it_is_removed():
    far, plain = gaussian(500, offset=5.0), gaussian(500)
    assert probes.rankme(far) < 0.8 * probes.rankme(plain)
    moved = probes.rankme(far, centred=True)
    assert moved == pytest.approx(probes.rankme(plain, centred=True), rel=1e-6)


def test_few_states_bias_every_figure_of_an_isotropic_cloud():
    draw = torch.Generator().manual_seed(0)
    small, large = torch.randn(200, 128, generator=draw), torch.randn(10000, 128, generator=draw)
    assert probes.rankme(small) == pytest.approx(115, abs=2)
    assert probes.participation_ratio(small) == pytest.approx(79, abs=2)
    assert probes.isoscore(small) == pytest.approx(0.61, abs=0.02)
    assert probes.rankme(large) == pytest.approx(128, abs=1)
    assert probes.participation_ratio(large) == pytest.approx(126, abs=1)
    assert probes.isoscore(large) == pytest.approx(0.99, abs=0.01)


def test_figures_at_a_fixed_n_do_not_depend_on_how_many_states_there_are():
    few, many = gaussian(300, seed=1), gaussian(3000, seed=2)
    raw = probes.participation_ratio(many) / probes.participation_ratio(few)
    a, b = probes.cloud_shape(few, 200), probes.cloud_shape(many, 200)
    assert raw > 1.05
    for name in METRICS:
        spread = max(a[name][1], b[name][1], 0.01 * abs(a[name][0]), 0.002)
        assert abs(a[name][0] - b[name][0]) < 5 * spread, name
    low = floor(200, D)
    assert a["RankMe"][0] == pytest.approx(low["RankMe"][0], rel=0.02)


def test_layers_are_compared_at_the_size_of_the_smallest():
    states = {0: gaussian(100), 1: gaussian(500)}
    table = probes.shape_by_layer(states, draws=2)
    assert list(table) == [0, 1] and set(table[0]) == set(METRICS)
    assert table[0]["RankMe"][1] == 0.0 < table[1]["RankMe"][1]
    with pytest.raises(ValueError, match="n=200 of 100 states"):
        probes.shape_by_layer(states, 200)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_clouds_without_a_shape_are_explained(metric):
    bad = gaussian(20)
    bad[3, 1] = float("inf")
    with pytest.raises(ValueError, match="1 of 20 states hold NaN"):
        metric(bad)
    with pytest.raises(ValueError, match="all states are alike"):
        metric(torch.zeros(20, D))
    with pytest.raises(ValueError, match="give .n, d_model"):
        metric(torch.zeros(20))


def test_too_few_ranks_for_a_slope_are_explained():
    with pytest.raises(ValueError, match="only 2 hold variance"):
        probes.alpha_req(low_rank(100, 2))
    with pytest.raises(ValueError, match="one dimension"):
        probes.isoscore(torch.arange(5.0)[:, None])
    with pytest.raises(ValueError, match="one state has no other"):
        probes.mean_cosine(torch.ones(1, 4))
