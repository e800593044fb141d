"""Claims about valuelab.probes."""

import numpy as np
import pytest
import torch

from valuelab import probes
from valuelab.course.check import verdict
from valuelab.probes import Probe, grouped_accuracy, stack_pairs
from valuelab.probes.estimators import ESTIMATORS, estimator, mean_difference

D = 16
EVERY = pytest.mark.parametrize("method", ESTIMATORS)


def planted(n=120, strength=2.0, context=3.0, seed=0, copies=1):
    """Contrast pairs: a shared context, a value along one known direction, noise."""
    draw = torch.Generator().manual_seed(seed)
    axis = torch.randn(D, generator=draw)
    axis /= axis.norm()
    where = context * torch.randn(n, D, generator=draw).repeat_interleave(copies, 0)
    noise = torch.randn(2, n * copies, D, generator=draw)
    positive, negative = where + noise[0] + strength * axis, where + noise[1] - strength * axis
    return positive, negative, np.repeat(np.arange(n), copies), axis


@EVERY
def test_every_estimator_recovers_the_planted_direction(method):
    positive, negative, groups, axis = planted(400)
    X, y, g = stack_pairs(positive, negative, groups)
    probe = probes.fit(X, y, g, method=method, layer=3, value="security")
    assert probe.direction @ axis > {"logistic": 0.85, "lda": 0.85}.get(method, 0.9)
    assert (probe.layer, probe.value, probe.method) == (3, "security", method)
    assert probe(positive).mean() > 0 > probe(negative).mean()


@EVERY
def test_every_estimator_finds_nothing_where_nothing_was_planted(method):
    positive, negative, groups, _ = planted(200, strength=0.0)
    found = grouped_accuracy(*stack_pairs(positive, negative, groups), method)
    assert found.accuracy.low < 0.5 < found.accuracy.high


@EVERY
def test_states_may_be_an_array_of_numpys(method):
    X, y, groups = stack_pairs(*planted(60)[:3])
    assert grouped_accuracy(X.numpy(), y, groups, method).accuracy == grouped_accuracy(X, y, groups, method).accuracy
    (one, _), (other, _) = (probes.validated_probe(x, y, groups, method=method) for x in (X.numpy(), X))
    assert torch.equal(one.weight, other.weight)
    nested = [probes.nested_accuracy({0: x, 1: -x}, y, groups, method).logits for x in (X.numpy(), X)]
    assert (nested[0] == nested[1]).all()


def test_mean_difference_has_its_boundary_half_way():
    positive, negative = torch.tensor([[2.0, 0], [4, 0]]), torch.tensor([[0.0, 0], [0, 2]])
    probe = probes.mean_difference(positive, negative)
    torch.testing.assert_close(probe.weight, torch.tensor([3.0, -1.0]))
    assert probe(torch.tensor([1.5, 0.5])) == 0.0


def test_the_check_accepts_a_mean_difference_computed_in_float64():
    def wide(positive, negative):
        return mean_difference(positive.double(), negative.double())

    assert verdict("3.1", wide) is None


def test_pca_of_differences_is_not_centred():
    positive, negative, _, axis = planted(300, strength=2.0)
    delta = positive - negative
    centred = torch.linalg.svd(delta - delta.mean(0)).Vh[0]
    assert abs(centred @ axis) < 0.5 < probes.pca_difference(positive, negative).direction @ axis
    flipped = probes.pca_difference(negative, positive)
    assert flipped.direction @ axis < -0.5
    with pytest.raises(ValueError, match="3 positive and 2 negative states are no pairs"):
        probes.pca_difference(positive[:3], negative[:2])


@pytest.mark.parametrize("per_group", [1, 4])  # pairs in a context of their own, or several in one
def test_pairs_are_found_by_their_context_and_data_in_order_stay_as_they_are(per_group):
    positive, negative, groups, axis = planted(300, context=10.0)
    X, y, g = stack_pairs(positive, negative, groups // per_group)
    in_order = probes.fit(X, y, g, method="pca of differences")
    assert torch.equal(in_order.weight, probes.pca_difference(positive, negative).weight)
    side_by_side = np.arange(600).reshape(2, 300).T.ravel()
    apart = np.argsort(g[:300] * 7 % 300, kind="stable")  # contexts in another order on one side only
    for rows in (side_by_side, np.concatenate([apart, np.arange(300, 600)])):
        found = probes.fit(X[rows], y[rows], g[rows], method="pca of differences")
        torch.testing.assert_close(found.weight, in_order.weight, rtol=1e-4, atol=1e-4)
    assert in_order.direction @ axis > 0.95
    scrambled = probes.pca_difference(X[rows][:300], X[rows][300:])  # the control: by position
    assert abs(scrambled.direction @ axis) < in_order.direction @ axis - 0.1


def test_states_without_a_partner_in_their_context_are_no_pairs():
    X, y, g = stack_pairs(*planted(10)[:3])
    g[0] = 3  # context 3 holds two states for, context 0 none
    with pytest.raises(ValueError, match="10 states for and 10 against are no pairs; each context"):
        probes.fit(X, y, g, method="pca of differences")


def test_lda_logits_are_log_odds_where_clouds_are_gaussian():
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(D, D, generator=draw) / 4 + torch.eye(D)
    shift = torch.randn(D, generator=draw)
    positive = torch.randn(6000, D, generator=draw) @ mix + shift
    negative = torch.randn(6000, D, generator=draw) @ mix - shift
    probe = probes.lda(positive, negative)
    exact = 2 * torch.linalg.solve((mix.T @ mix).double(), shift.double())
    assert (probe.weight - exact).norm() / exact.norm() < 0.1
    plain = probes.lda(positive, negative, shrinkage=0.0)
    assert (plain.weight - exact).norm() / exact.norm() < 0.1


@pytest.mark.parametrize("n", [5, 60, 900])  # fewer and more states than dimensions
def test_the_shrinkage_of_lda_is_scikit_learn_s(n):
    from sklearn.covariance import ledoit_wolf

    positive, negative, _, _ = planted(n)
    centred = torch.cat([positive - positive.mean(0), negative - negative.mean(0)]).double()
    cov, share = ledoit_wolf(centred.numpy(), assume_centered=True)
    probe = probes.lda(positive, negative)
    assert probe.meta["shrinkage"] == pytest.approx(share, rel=1e-6)
    w = np.linalg.solve(cov, (positive.mean(0) - negative.mean(0)).double().numpy())
    np.testing.assert_allclose(probe.weight.numpy(), w, rtol=1e-4, atol=1e-5)


def test_logistic_folds_the_feature_scale_into_the_weight():
    positive, negative, groups, _ = planted(200)
    scale = torch.logspace(-3, 3, D)
    X, y, g = stack_pairs(positive, negative, groups)
    plain, scaled = probes.logistic(X, y, C=0.1), probes.logistic(X * scale + 5, y, C=0.1)
    torch.testing.assert_close(scaled(X * scale + 5), plain(X), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n", [100, 6])  # more and fewer states than dimensions
def test_logistic_equals_scikit_learn_on_the_same_scale(n):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    positive, negative, groups, _ = planted(n)
    X, y, _ = stack_pairs(positive, negative, groups)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=5000, tol=1e-10))
    theirs.fit(X.double().numpy(), y.numpy())
    ours = probes.logistic(X, y, C=0.3)(X).numpy()
    np.testing.assert_allclose(ours, theirs.decision_function(X.double().numpy()), atol=1e-3)


def test_the_penalty_is_chosen_without_the_held_out_contexts(monkeypatch):
    seen = []
    real = probes.logistic

    def spy(X, y, groups):
        seen.append(set(groups.tolist()))
        return real(X, y, groups)

    positive, negative, groups, _ = planted(30)
    found = grouped_accuracy(*stack_pairs(positive, negative, groups), spy, folds=3)
    for k, known in enumerate(seen):
        assert not known & set(found.groups[found.fold == k].tolist())


def test_folds_keep_contexts_whole_and_are_even():
    groups = np.repeat(np.arange(23), np.arange(1, 24))
    fold = probes.group_folds(groups, 5, seed=1)
    assert all(len(set(fold[groups == g])) == 1 for g in range(23))
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 6
    even = np.repeat(np.arange(23), 2)
    assert (probes.group_folds(even, 5, seed=1) != probes.group_folds(even, 5, seed=2)).any()


def test_a_random_split_is_fooled_by_labels_constant_in_a_context_and_groups_are_not():
    draw = torch.Generator().manual_seed(0)
    where = 3 * torch.randn(40, 64, generator=draw).repeat_interleave(8, 0)
    X = where + torch.randn(320, 64, generator=draw)
    label = torch.randint(0, 2, (40,), generator=draw).bool().repeat_interleave(8)
    context = np.repeat(np.arange(40), 8)
    grouped = grouped_accuracy(X, label, context)
    leaking = grouped_accuracy(X, label, np.arange(320))
    assert leaking.accuracy.estimate > 0.9 and grouped.accuracy.low < 0.5


def test_the_interval_is_as_wide_as_contexts_demand():
    positive, negative, groups, _ = planted(50, strength=0.7, context=0.0)
    one = grouped_accuracy(*stack_pairs(positive, negative, groups)).accuracy
    again = [x.repeat_interleave(6, 0) for x in (positive, negative)]
    six = grouped_accuracy(*stack_pairs(*again, np.repeat(groups, 6))).accuracy
    assert six.clusters == 50 and abs((six.high - six.low) - (one.high - one.low)) < 0.05


def test_coverage_of_the_bootstrap_interval_is_near_its_name():
    rng = np.random.default_rng(0)
    covered = 0
    for k in range(400):
        ability = rng.beta(4, 2, 40)  # each context has its own rate; the mean is 2/3
        right = rng.random((40, 5)) < ability[:, None]
        y, logits = np.ones(200, bool), np.where(right.ravel(), 1.0, -1.0)
        found = probes.bootstrap_accuracy(logits, y, np.repeat(np.arange(40), 5), 500, seed=k)
        covered += found.low <= 2 / 3 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_the_layer_is_chosen_inside_the_folds():
    positive, negative, groups, _ = planted(100, strength=1.5, context=0.5)
    draw = torch.Generator().manual_seed(9)
    good, y, g = stack_pairs(positive, negative, groups)
    states = {layer: torch.randn(len(good), D, generator=draw) for layer in range(6)}
    noise = probes.nested_accuracy(states, y, g, "mean difference")
    assert noise.accuracy.low < 0.5 < noise.accuracy.high
    found = probes.nested_accuracy({**states, 3: good}, y, g, "mean difference")
    assert found.chosen == (3,) * 5 and found.accuracy.estimate > 0.85


# ------------------------------------------------------------------------- baselines


def texts_and_labels(cue):
    rng = np.random.default_rng(0)
    nouns = [f"noun{i}" for i in range(60)]
    rows, y, groups = [], [], []
    for context in range(80):
        noun = rng.choice(nouns)
        for label in (True, False):
            word = ("keep" if label else "drop") if cue else rng.choice(["keep", "drop"])
            rows.append(f"they {word} the {noun} {'very' if rng.random() < 0.5 else 'quite'} well")
            y.append(label)
            groups.append(context)
    return rows, np.array(y), np.array(groups)


def test_bag_of_words_finds_a_lexical_cue_and_nothing_else():
    assert probes.bag_of_words(*texts_and_labels(True)).accuracy.estimate > 0.99
    null = probes.bag_of_words(*texts_and_labels(False)).accuracy
    assert null.low < 0.5 < null.high


def test_words_that_never_recur_leave_the_baseline_at_one_half():
    rows = [f"word{i}" for i in range(20)]
    found = probes.bag_of_words(rows, np.arange(20) % 2 == 0, np.arange(20) // 2)
    assert found.accuracy.estimate == 0.5


def test_length_is_seen_where_it_tells_and_not_where_it_is_constant():
    y, groups = np.arange(40) % 2 == 0, np.arange(40) // 2
    told = [
        "a long sentence of words " + "x" * i if label else "short" for i, label in enumerate(y)
    ]
    assert probes.length(told, y, groups).accuracy.estimate == 1.0
    assert probes.length(["same"] * 40, y, groups).accuracy.estimate == 0.5


def test_shuffling_keeps_each_context_s_labels_and_destroys_the_signal():
    positive, negative, groups, _ = planted(120, strength=3.0)
    X, y, g = stack_pairs(positive, negative, groups)
    mixed = probes.shuffle_within(y, g, seed=4)
    assert (mixed != y.numpy()).any()
    assert all(sorted(mixed[g == k]) == [False, True] for k in range(120))
    null = probes.shuffled_labels(X, y, g)
    assert null.low < 0.5 < null.high and null.high < 0.7
    assert grouped_accuracy(X, y, g, "mean difference").accuracy.low > 0.75


def test_contexts_of_one_label_exchange_theirs_and_nothing_is_left_to_read():
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (80,), generator=draw).bool().repeat_interleave(3)
    X, g = torch.randn(240, D, generator=draw), np.repeat(np.arange(80), 3)
    X[:, 0] += 3.0 * label
    assert grouped_accuracy(X, label, g, "mean difference").accuracy.low > 0.85
    null = probes.shuffled_labels(X, label, g)
    assert null.low < 0.5 < null.high < 0.75
    dealt = probes.baselines.permuted_labels(label, g).reshape(80, 3)
    assert (dealt == dealt[:, :1]).all() and dealt.sum() == label.sum()


def test_compare_sets_the_probe_beside_all_baselines():
    positive, negative, groups, _ = planted(40, strength=3.0, context=0.5)
    X, y, g = stack_pairs(positive, negative, groups)
    table = probes.compare(X, ["one text"] * 80, y, g, "mean difference")
    assert list(table) == ["probe", "bag of words", "length", "shuffled labels"]
    assert table["probe"].estimate > 0.9 and table["bag of words"].estimate == 0.5


# ------------------------------------------------------------------------ calibration


def test_temperature_is_recovered_and_calibrates():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 20000)
    y = rng.random(20000) < 1 / (1 + np.exp(-truth))
    assert abs(probes.temperature(5 * truth, y) / 5 - 1) < 0.05
    p = 1 / (1 + np.exp(-truth))
    over = 1 / (1 + np.exp(-5 * truth))
    assert (
        probes.expected_calibration_error(p, y) < 0.02 < probes.expected_calibration_error(over, y)
    )
    assert probes.brier(p, y) < probes.brier(over, y)
    assert probes.brier(np.full(4, 0.5), np.array([1, 0, 1, 0])) == 0.25


def test_logits_that_separate_the_labels_are_scaled_by_smoothed_targets():
    z = np.concatenate([np.full(40, 3.0), np.full(20, -5.0)])
    y = z > 0
    T = probes.temperature(z, y)
    slope = (41 / 42 - 1 / (1 + np.exp(-3 / T))) * 3 * 40 + (1 / 22 - 1 / (1 + np.exp(5 / T))) * -5 * 20
    assert abs(slope) < 1e-3 and 0.1 < T < 10  # the log loss of Platt's targets is flat there
    assert probes.temperature(10 * z, y) == pytest.approx(10 * T, rel=1e-4)
    y[0] = False  # one on the wrong side: the maximum of likelihood, with the targets 0 and 1
    T = probes.temperature(z, y)
    slope = 3 * 39 - 3 * 40 / (1 + np.exp(-3 / T)) + 5 * 20 / (1 + np.exp(5 / T))
    assert abs(slope) < 1e-3


def test_targets_beyond_the_boundary_differ_where_the_probe_separates_perfectly():
    positive, negative, groups, _ = planted(150, strength=5.0, context=0.5)
    X, y, g = stack_pairs(positive, negative, groups)
    probe, found = probes.validated_probe(X, y, g, method="mean difference")
    assert found.accuracy.estimate == 1
    apart = float(probe(positive.mean(0)) - probe(negative.mean(0)))
    steps = [(np.log(p / (1 - p)) - float(probe(negative.mean(0)))) / apart for p in (0.5, 0.9, 0.99)]
    assert steps[0] == pytest.approx(0.5, abs=0.01) and steps[1] > 0.6 and steps[2] > 0.7


def test_a_probe_no_better_than_chance_comes_with_a_warning_and_a_good_one_without(recwarn):
    probes.validated_probe(*stack_pairs(*planted(60)[:3]), method="mean difference")
    assert not recwarn
    with pytest.warns(UserWarning, match=r"accuracy 0\.\d+ \[.*\] is no better than chance on unseen contexts"):
        probes.validated_probe(*stack_pairs(*planted(60, strength=0.0)[:3]), method="mean difference")


def test_a_tempered_probe_keeps_its_boundary_and_its_record():
    positive, negative, groups, _ = planted(150)
    X, y, g = stack_pairs(positive, negative, groups)
    probe, found = probes.validated_probe(X, y, g, method="mean difference", layer=2, value="power")
    plain = probes.mean_difference(positive, negative)
    torch.testing.assert_close(probe(X) * probe.meta["temperature"], plain(X), rtol=1e-4, atol=1e-3)
    assert probe.meta["accuracy"] == found.accuracy.estimate and probe.layer == 2
    better = probes.expected_calibration_error(probe.probability(X), y)
    assert better < found.ece


# --------------------------------------------------------------------- degenerate input


def bad(change):
    positive, negative, groups, _ = planted(10)
    X, y, g = stack_pairs(positive, negative, groups)
    return change(X.clone(), y.clone(), g.copy())


def with_nan(X, y, g):
    X[3, 2] = float("nan")
    return X, y, g


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, g: (X, torch.ones_like(y), g), "all 20 labels are True"),
        (lambda X, y, g: (X, torch.zeros_like(y), g), "all 20 labels are False"),
        (lambda X, y, g: (X, 2 * y.long() - 1, g), "labels -1, 1; give booleans, .* y = pole > 0"),
        (lambda X, y, g: (X, 1 + y.long(), g), "labels 1, 2; give booleans"),
        (lambda X, y, g: (X, np.where(y, "for", "against"), g), "labels against, for; give booleans"),
        (lambda X, y, g: (X, y, np.zeros_like(g)), "5 folds from 1 contexts"),
        (lambda X, y, g: (X, y, g // 3), "5 folds from 4 contexts"),
        (lambda X, y, g: (torch.ones_like(X), y, g), "all features are constant"),
        (with_nan, "1 of 20 states hold NaN"),
        (lambda X, y, g: (X, y[:-1], g), r"shape \(20, 16\) for 19 labels"),
        (lambda X, y, g: (X, y, g[:-1]), r"\(19,\) groups for 20 labels"),
    ],
)
@EVERY
def test_degenerate_input_is_explained(change, message, method):
    with pytest.raises(ValueError, match=message):
        grouped_accuracy(*bad(change), method)


def test_labels_are_booleans_or_one_and_zero_everywhere():
    X, y, g = stack_pairs(*planted(40)[:3])
    same = [y, y.tolist(), y.long(), y.double().numpy(), y.numpy().astype(object)]
    found = [grouped_accuracy(X, labels, g, "mean difference").logits for labels in same]
    assert all((logits == found[0]).all() for logits in found)
    assert all(torch.equal(probes.fit(X, z, g).weight, probes.fit(X, y, g).weight) for z in same)
    pole = np.repeat([1, 0, -1, -1], 20)
    for use in (
        lambda: probes.fit(X, pole, g), lambda: probes.nested_accuracy({0: X}, pole, g),
        lambda: probes.bag_of_words(["a"] * 80, pole, g), lambda: probes.shuffle_within(pole, g),
        lambda: probes.temperature(X[:, 0], pole),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="labels -1, 0, 1; give booleans"):
            use()


def test_a_fold_that_takes_all_of_one_class_is_explained():
    X, y = torch.randn(12, D), np.arange(12) < 4
    with pytest.raises(ValueError, match="all labels are alike; use fewer folds"):
        grouped_accuracy(X, y, np.where(y, 0, 1 + np.arange(12)), folds=5)


def test_a_single_constant_feature_is_harmless():
    positive, negative, groups, _ = planted(40)
    X, y, g = stack_pairs(positive, negative, groups)
    X[:, 0] = 7.0
    probe = probes.fit(X, y, g)
    assert torch.isfinite(probe.weight).all() and abs(probe.weight[0]) < 1e-6


def test_probes_are_immutable_checked_and_copied_with_changes():
    probe = Probe(torch.tensor([3.0, 4.0]), 1.0, meta={"a": 1})
    with pytest.raises(AttributeError):
        probe.bias = 2.0
    with pytest.raises(TypeError):
        probe.meta["a"] = 2
    moved = probe.with_(layer=4, meta={"b": 2})
    assert (moved.layer, dict(moved.meta), dict(probe.meta)) == (4, {"a": 1, "b": 2}, {"a": 1})
    torch.testing.assert_close(probe.direction, torch.tensor([0.6, 0.8]))
    assert probe(torch.tensor([[1.0, 1.0]])) == 8.0
    assert probe(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    for weight in (torch.ones(2, 2), torch.ones(2).long(), torch.tensor([float("nan")])):
        with pytest.raises(ValueError, match="Probe: weight"):
            Probe(weight)
    with pytest.raises(ValueError, match="h ends in 3 but the weight has 2"):
        probe(torch.ones(3))
    with pytest.raises(ValueError, match="all zeros"):
        Probe(torch.zeros(2)).direction  # noqa: B018


def test_random_directions_have_the_same_length_and_follow_the_seed():
    probe = Probe(torch.arange(50.0), 1.0, layer=2, value="power")
    a, b = probes.random_direction(probe, 1), probes.random_direction(probe, 2)
    torch.testing.assert_close(a.weight.norm(), probe.weight.norm())
    torch.testing.assert_close(a.weight, probes.random_direction(probe.weight, 1))
    assert abs(a.direction @ b.direction) < 0.6 and (a.layer, a.value) == (2, "power")


def test_an_unknown_estimator_lists_the_known_ones():
    with pytest.raises(ValueError, match="mean difference, pca of differences, lda, logistic"):
        estimator("svm")
