"""Drift: zero against itself, right on planted curves, and intervals that cover."""

import numpy as np
import pytest
import torch

from valuelab.course.check import verdict
from valuelab.weights import stances as D

AT = np.array([0, 10, 20, 40, 80])


def test_a_checkpoint_has_not_drifted_from_itself():
    stance = np.random.default_rng(0).random(30)
    assert D.magnitude_interval(stance, stance) == (0.0, 0.0, 0.0)
    found = D.drift(np.stack([stance] * 5), AT)
    assert found.magnitude == (0.0, 0.0, 0.0)
    assert np.isnan(found.time[0]) and found.time[1:] == (0.0, 1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_time_is_when_95_percent_of_the_way_is_covered(sign):
    curve = 0.5 + sign * np.array([0.0, 0.1, 0.39, 0.4, 0.4])
    assert D.drift_time(curve, AT) == 0.25
    assert D.drift_time(curve, AT, share=0.99) == 0.5
    assert D.drift_time(curve, AT + 7) == 0.25
    assert np.isnan(D.drift_time(np.full(5, 0.3), AT))
    assert D.drift_time(0.5 + sign * np.linspace(0, 0.4, 5), AT) == 1.0


def test_the_interval_covers_the_planted_move_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for k in range(300):
        start = rng.normal(0.5, 0.2, 40)
        hits += np.prod(np.array(D.magnitude_interval(start, start + rng.normal(0.05, 0.1, 40), 400, k)[1:]) - 0.05) < 0
    assert 0.90 <= hits / 300 <= 0.985, hits / 300


@pytest.mark.parametrize("give", [tuple, list, np.array, torch.tensor])
def test_the_check_takes_the_interval_in_any_container(give):
    assert verdict("9.8", lambda *a: give(D.magnitude_interval(*a))) is None


def test_prompts_keep_their_two_stances_together():
    rng = np.random.default_rng(1)
    start = rng.normal(0, 1, 60)
    _, low, high = D.magnitude_interval(start, start + 0.1 + rng.normal(0, 0.01, 60))
    assert 0.09 < low < high < 0.11


def test_drift_gives_both_with_intervals_and_clusters_widen_them():
    rng = np.random.default_rng(2)
    base, gain = rng.normal(0.5, 0.1, 40), np.repeat(rng.normal(0.2, 0.1, 20), 2)
    stances = np.stack([base + g * gain + rng.normal(0, 0.001, 40) for g in (0, 0.4, 0.97, 1.0, 1.0)])
    alone, shared = D.drift(stances, AT), D.drift(stances, AT, clusters=np.repeat(np.arange(20), 2))
    assert alone.time[0] == 0.25 and alone.time[1] <= 0.25 <= alone.time[2]
    assert alone.magnitude[0] == pytest.approx(gain.mean(), abs=0.01)
    width = lambda d: d.magnitude[2] - d.magnitude[1]  # noqa: E731
    assert width(shared) > 1.2 * width(alone)
    assert D.magnitude_interval(stances[0], stances[-1])[1:] == pytest.approx(alone.magnitude[1:], abs=0.01)
    assert set(alone.as_dict()) == {"magnitude", "time", "curve"}


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: D.drift_time([1, 2], [0, 1, 2]), "one stance for each"),
        (lambda: D.drift_time([1, 2], [1, 1]), "rising checkpoints"),
        (lambda: D.magnitude_interval([1, 2], [1, 2, 3]), "one of each"),
        (lambda: D.magnitude_interval([1], [1]), "two or more prompts"),
        (lambda: D.drift(np.ones((3, 1)), [0, 1, 2]), "prompts"),
    ],
)
def test_what_is_not_measured_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_the_stored_table_of_pretraining_is_whole():
    from valuelab.values import VALUES
    from valuelab.weights import pretraining_stances

    table = pretraining_stances()
    assert len(table["documents"]) >= 3 and (np.diff(table["documents"]) > 0).all()
    assert list(table["stances"]) == list(VALUES)
    for stances in table["stances"].values():
        assert stances.shape == (len(table["documents"]), table["situations"]["n"])
        assert (stances >= 0).all() and (stances <= 1).all()  # four digits: a sure choice is stored as 0 or 1
    for figure in ("RankMe", "participation ratio", "mean cosine"):
        assert table["geometry"][figure].shape == (len(table["documents"]), 2)
    assert (table["geometry"]["RankMe"][:, 0] >= 1).all()
