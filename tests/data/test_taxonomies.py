"""Taxonomies and crossmaps: mass is kept, ways there and back, and every name is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from valuelab import taxonomies as t
from valuelab.values import VALUES

CLOSED = [n for n, x in t.TAXONOMIES.items() if not x.open]
WAYS = []
for a, b in itertools.permutations(CLOSED, 2):
    try:
        t.crossmap(a, b)
    except ValueError:
        continue
    WAYS.append((a, b))


def test_the_circles_have_ten_nineteen_and_four_places_once_around():
    for name, n in (("schwartz10", 10), ("schwartz19", 19), ("schwartz4", 4)):
        x = t.taxonomy(name)
        assert len(x.values) == len(x.angles) == len(set(x.values)) == n
        steps = np.diff(np.r_[x.angles, x.angles[0] + 2 * np.pi])
        np.testing.assert_allclose(steps, 2 * np.pi / n)
    assert t.taxonomy("schwartz10").values == tuple(VALUES)


def test_there_are_maps_and_each_written_one_is_reachable():
    assert set(t.CROSSMAPS) <= set(WAYS) and len(WAYS) > 15


@pytest.mark.parametrize(("a", "b"), WAYS)
def test_every_crossmap_keeps_mass(a, b):
    m = t.crossmap(a, b)
    assert (m.weights >= 0).all()
    np.testing.assert_allclose(m.weights.sum(1), 1)
    amounts = np.random.default_rng(0).gamma(1, size=(5, len(m.weights)))
    np.testing.assert_allclose(m.apply(amounts).sum(1), amounts.sum(1))


@pytest.mark.parametrize(("a", "b"), list(t.CROSSMAPS))
def test_no_value_of_the_finer_taxonomy_is_lost_by_name(a, b):
    m = t.CROSSMAPS[a, b]
    for value in t.taxonomy(a).values:
        carried = m.apply({value: 3.0})
        assert sum(carried.values()) == pytest.approx(3.0)
        assert set(carried) == set(t.taxonomy(b).values)


def reversible():
    return [(a, b) for a, b in t.CROSSMAPS if t.CROSSMAPS[a, b].weights.any(0).all()]


@pytest.mark.parametrize(("a", "b"), reversible())
def test_there_and_back_returns_the_prior(a, b):
    m = t.CROSSMAPS[a, b]
    for seed in range(3):
        prior = np.random.default_rng(seed).gamma(2, size=len(m.weights))
        back = m.back(prior).apply(m.apply(prior))
        np.testing.assert_allclose(back, prior)


def test_back_and_there_is_the_identity_where_every_value_has_one_parent():
    m = t.crossmap("schwartz19", "schwartz10")
    single = (m.weights > 0).sum(1) == 1
    kept = np.flatnonzero(single)
    parents = m.weights[kept]
    assert len(kept) == 17  # all but face and humility
    mass = parents.sum(0)
    there_and_back = (parents / mass).T @ parents
    np.testing.assert_allclose(there_and_back, np.eye(10))


def test_refined_values_go_to_the_value_they_refine():
    m = t.crossmap("schwartz19", "schwartz10")
    assert m.apply({"universalism: nature": 2})["universalism"] == 2
    assert m.apply({"face": 1.0}) == {**dict.fromkeys(VALUES, 0.0), "power": 0.5, "security": 0.5}
    four = t.crossmap("schwartz19", "schwartz4").apply({"hedonism": 1})
    assert four["openness to change"] == four["self-enhancement"] == 0.5


def test_a_chain_of_maps_is_the_product_of_its_links():
    a, b = t.crossmap("valueeval20", "schwartz19"), t.crossmap("schwartz19", "schwartz10")
    np.testing.assert_allclose(a.then(b).weights, t.crossmap("valueeval20", "schwartz10").weights)
    with pytest.raises(ValueError, match="cannot be followed"):
        b.then(a)


def test_a_table_that_loses_mass_is_refused_with_the_row_named():
    w = t.CROSSMAPS["schwartz10", "schwartz4"].weights.copy()
    w[4] *= 0.9
    with pytest.raises(ValueError, match="'power'.*sum to one"):
        t.Crossmap("schwartz10", "schwartz4", w, "judgement")
    with pytest.raises(ValueError, match="shape"):
        t.Crossmap("schwartz4", "schwartz10", w, "judgement")


def test_wrong_names_and_ways_that_lead_nowhere_are_refused():
    with pytest.raises(ValueError, match="Choose from"):
        t.taxonomy("schwartz11")
    with pytest.raises(ValueError, match="no crossmap leads"):
        t.crossmap("schwartz10", "bfi5")
    with pytest.raises(ValueError, match="'sanctity'.*no way back"):
        t.crossmap("mft5", "rules10")
    with pytest.raises(ValueError, match="'beauty' is no value"):
        t.crossmap("schwartz10", "mft5").apply({"beauty": 1})
    with pytest.raises(ValueError, match="expected 10"):
        t.crossmap("schwartz10", "mft5").apply([1.0, 2.0])


def test_membership_knows_closed_and_open_vocabularies():
    assert t.has("schwartz10", "power") and not t.has("schwartz10", "Power")
    assert t.has("valuebench", "anything at all") and not t.has("valuebench", "")
    assert not t.has("no such", "power")


def test_weights_cannot_be_changed_from_outside():
    with pytest.raises(ValueError, match="read-only"):
        t.crossmap("schwartz10", "schwartz4").weights[0, 0] = 0


def test_the_picture_shows_every_weight_and_all_names():
    m = t.crossmap("schwartz19", "schwartz10")
    ax = t.draw_crossmap(m).axes[0]
    shown = [float(x.get_text()) for x in ax.texts]
    assert sorted(shown) == sorted(m.weights[m.weights > 0].tolist())
    assert [x.get_text() for x in ax.get_xticklabels()] == list(VALUES)
    assert min(x.get_fontsize() for x in (*ax.texts, *ax.get_yticklabels())) >= 10
