"""Laws fitted to runs: what was planted is found, what is held out is held out, nonsense is refused."""

import numpy as np
import pytest

from valuelab.rlhf import laws


def test_the_fitted_law_of_overoptimisation_finds_a_planted_turning_point():
    d = np.linspace(0.1, 5, 40)
    gain = d * (2.0 - 0.9 * np.log(d)) + 0.01 * np.random.default_rng(0).standard_normal(40)
    alpha, beta = laws.fit_overoptimisation(d**2, gain)
    assert (alpha, beta) == (pytest.approx(2.0, abs=0.03), pytest.approx(0.9, abs=0.03))
    truth = np.exp(2 * (2.0 / 0.9 - 1))
    assert abs(laws.turning_point(alpha, beta) / truth - 1) < 0.1
    assert laws.turning_point(1.0, -0.1) == np.inf
    with pytest.raises(ValueError, match="2 points with KL above 0"):
        laws.fit_overoptimisation(d[:2], gain[:2])


def spent(n=30, noise=0.1, seed=0, a=1.5, b=4.0):
    """A run that obeys the entropy law: entropy falls from 0.9 to 0.2, rewards are noisy."""
    rng = np.random.default_rng(seed)
    entropy = np.linspace(0.9, 0.2, n) + 0.02 * rng.standard_normal(n)
    return entropy, b - a * np.exp(entropy) + noise * rng.standard_normal(n)


def test_the_entropy_law_finds_what_was_planted_and_its_intervals_cover():
    law = laws.fit_entropy_law(*spent(noise=0.0))
    assert law.a[0] == pytest.approx(1.5) and law.b[0] == pytest.approx(4.0) and law.ceiling == pytest.approx(2.5)
    fits = [laws.fit_entropy_law(*spent(seed=s)) for s in range(400)]
    for name, truth in (("a", 1.5), ("b", 4.0)):
        covered = np.mean([getattr(f, name)[1] <= truth <= getattr(f, name)[2] for f in fits])
        assert 0.92 < covered < 0.98, (name, covered)
    assert np.mean([f.noise for f in fits]) == pytest.approx(0.1, rel=0.05)


def test_held_out_steps_are_predicted_where_the_law_holds_and_not_where_it_breaks():
    entropy, reward = spent(40)
    law, error, guess = laws.extrapolation(entropy, reward)
    assert error < 0.3 < guess and law.a[1] < 1.5 < law.a[2]
    broken = np.where(np.arange(40) < 20, reward, reward[19])  # the reward stops rising, the entropy goes on
    again, error, guess = laws.extrapolation(entropy, broken)
    assert again == law and error > 3 * guess  # the fit never saw the second half


def test_the_entropy_law_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match="four or more"):
        laws.fit_entropy_law([0.9, 0.8, 0.7], [1, 2, 3])
    with pytest.raises(ValueError, match="0.5 at every step"):
        laws.fit_entropy_law(np.full(5, 0.5), np.arange(5.0))
    with pytest.raises(ValueError, match="leaves nothing"):
        laws.extrapolation(*spent(), share=1.0)
