"""Claims about the controls of probes and the report."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_lm

from valuelab import probes
from valuelab.probes import stack_pairs

D = 16


def pairs(n=100, strength=2.0, context=1.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(D, generator=draw), dim=0)
    where = context * torch.randn(n, D, generator=draw)
    noise = torch.randn(2, n, D, generator=draw)
    return stack_pairs(where + noise[0] + strength * axis, where + noise[1] - strength * axis)


# ------------------------------------------------------------------------ control tasks


def test_control_labels_are_constant_in_a_type_balanced_and_dealt_by_the_seed():
    types = np.repeat([f"t{i}" for i in range(40)], np.random.default_rng(0).integers(1, 9, 40))
    labels = probes.control_labels(types, 0.5, seed=3)
    assert all(len(set(labels[types == t])) == 1 for t in set(types))
    assert abs(labels.mean() - 0.5) < 0.04
    assert abs(probes.control_labels(types, 0.2, seed=3).mean() - 0.2) < 0.04
    assert (labels == probes.control_labels(types, 0.5, seed=3)).all()
    assert (labels != probes.control_labels(types, 0.5, seed=4)).any()
    with pytest.raises(ValueError, match="all items are of one type"):
        probes.control_labels(["a"] * 5)


def remembered(memory, n=200, seed=0):
    """Items of eight types; `memory` is how loudly the state says which type it is."""
    draw = torch.Generator().manual_seed(seed)
    X, y, groups = pairs(n, 2.5, seed=seed)
    types = np.tile(np.arange(n) % 8, 2)
    code = torch.randn(8, D, generator=draw)
    return X + memory * code[torch.as_tensor(types)], y, groups, types


def test_selectivity_is_high_for_a_value_and_falls_where_the_probe_can_memorise_types():
    quiet, loud = (probes.selectivity(*remembered(m), "lda") for m in (0.0, 4.0))
    assert quiet.control.low < 0.55 and quiet.difference.low > 0.3
    assert loud.control.estimate > 0.8
    assert loud.difference.estimate < 0.2 < quiet.difference.estimate
    exact = loud.task.estimate - loud.control.estimate
    assert loud.difference.estimate == pytest.approx(exact)


def test_types_that_do_not_recur_are_refused_as_a_control():
    X, y, groups = pairs(40)
    with pytest.raises(ValueError, match="only 0% of the items have a type that occurs in other"):
        probes.selectivity(X, y, groups, groups)


# ------------------------------------------------------------------------ family-wise p


def test_family_wise_p_by_hand():
    null = np.array([[0.5, 0.6], [0.7, 0.2], [0.5, 0.5]])  # maxima 0.6, 0.7, 0.5
    p = probes.family_wise_p(np.array([0.65, 0.9]), null)
    np.testing.assert_allclose(p, [2 / 4, 1 / 4])
    np.testing.assert_allclose(probes.family_wise_p([0.5], null[:, :1]), [4 / 4])


def test_looking_at_many_layers_raises_false_alarms_alone_but_not_family_wise():
    rng = np.random.default_rng(0)
    alone = family = 0
    for _ in range(400):
        null, seen = rng.normal(size=(99, 12)), rng.normal(size=12)
        alone += ((1 + (null >= seen).sum(0)) / 100).min() <= 0.05
        family += probes.family_wise_p(seen, null).min() <= 0.05
    assert alone / 400 > 0.3 and 0.02 <= family / 400 <= 0.08


def test_the_layer_test_finds_the_planted_layer_and_no_other():
    good, y, groups = pairs(80)
    draw = torch.Generator().manual_seed(5)
    states = {k: torch.randn(len(good), D, generator=draw) for k in range(5)} | {3: good}
    found = probes.layer_test(states, y, groups, draws=59)
    assert found.best == 3 and found.p[3] == pytest.approx(1 / 60)
    assert (found.p[[0, 1, 2, 4]] > 0.05).all() and (found.p >= found.p_alone).all()


def test_a_layer_test_without_pairs_is_explained():
    X, y, _ = pairs(20)
    with pytest.raises(ValueError, match="0 of 40 contexts hold both labels"):
        probes.layer_test({0: X}, y, np.arange(40))


# ----------------------------------------------------------------------------- transfer


def test_a_probe_transfers_along_its_own_axis_and_not_to_another():
    a, b = pairs(seed=0, strength=3.0), pairs(seed=0, n=60, strength=3.0)
    axis = probes.mean_difference(a[0][a[1]], a[0][~a[1]]).direction
    away = torch.linalg.svd(axis[None]).Vh[1]  # at a right angle to it
    noise = torch.randn(120, D, generator=torch.Generator().manual_seed(1))
    other = noise + 3 * torch.where(b[1], 1.0, -1.0)[:, None] * away, b[1], b[2]
    rename = np.char.add("other ", a[2].astype(str))
    moved = probes.transfer((a[0], a[1], rename), b, "mean difference")
    assert moved.accuracy.low > 0.9
    lost = probes.transfer((a[0], a[1], rename), other, "mean difference")
    assert lost.accuracy.low < 0.5 < lost.accuracy.high
    table = probes.transfer_matrix({"a": (a[0], a[1], rename), "b": other}, "mean difference")
    assert table["a"]["a"].estimate > 0.9 > table["a"]["b"].estimate


def test_contexts_that_the_test_holds_are_left_out_of_training():
    X, y, groups = pairs(40)
    seen = []

    def spy(X, y, groups):
        seen.append(set(groups.tolist()))
        return probes.mean_difference(X[y], X[~y])

    half = groups < 20
    probes.transfer((X, y, groups), (X[half], y.numpy()[half], groups[half]), spy)
    assert seen == [set(range(20, 40))]
    with pytest.raises(ValueError, match="0 of 80 training items"):
        probes.transfer((X, y, groups), (X, y, groups))


def test_held_out_wordings_are_never_trained_on():
    X, y, groups = pairs(60)
    wordings = np.tile(np.arange(60) % 3, 2)
    seen = []

    def spy(X, y, groups):
        seen.append(X)
        return probes.mean_difference(X[y], X[~y])

    found = probes.grouped_accuracy(X, y, groups, spy, folds=4, wordings=wordings)
    assert np.isfinite(found.logits).all() and len(seen) == 12
    for rows in seen:
        which = [int(torch.nonzero((X == r).all(1))[0]) for r in rows]
        assert len({wordings[i] for i in which}) == 2
    with pytest.raises(ValueError, match="at least two in all"):
        probes.grouped_accuracy(X, y, groups, wordings=np.zeros(120))


def test_a_probe_of_the_wording_fails_on_held_out_wordings_and_a_value_does_not():
    X, y, groups = pairs(120, strength=3.0)
    draw = torch.Generator().manual_seed(3)
    wordings = np.tile(np.arange(120) % 4, 2)
    # in each wording another axis carries the label: nothing is common
    axes = 6 * torch.eye(4, D)
    side = torch.where(y, 1.0, -1.0)[:, None]
    lexical = torch.randn(240, D, generator=draw) + side * axes[torch.as_tensor(wordings)]
    inside = probes.grouped_accuracy(lexical, y, groups, "lda")
    across = probes.grouped_accuracy(lexical, y, groups, "lda", wordings=wordings)
    assert inside.accuracy.estimate > 0.95 and across.accuracy.estimate < 0.6
    kept = probes.nested_accuracy({0: lexical, 1: X}, y, groups, "lda", wordings=wordings)
    assert set(kept.chosen) == {1} and kept.accuracy.low > 0.85


# ------------------------------------------------------------------------------- report


TEXTS = ["i help the man .", "we keep the money .", "always take risk .", "never help ."]


def told(cue):
    """Texts in which the label stands in a word, or nowhere."""
    rng = np.random.default_rng(0)
    rows, y, groups = [], [], []
    for k in range(40):
        noun = ["man", "money", "risk", "old"][k % 4]
        for label in (True, False):
            word = ("help" if label else "keep") if cue else rng.choice(["help", "keep"])
            rows.append(f"{'we' if k % 3 else 'you'} {word} the {noun} .")
            y.append(label)
            groups.append(k)
    return rows, np.array(y), np.array(groups)


def test_the_report_claims_nothing_where_words_tell_as_much():
    lm = tiny_lm("llama")
    texts, y, groups = told(cue=True)
    types = np.array([t.split()[-2] for t in texts])
    report = probes.probe_report(lm, texts, y, groups, types=types, permutations=19, method="lda")
    text = str(report)
    names = [r.name for r in report.rows]
    assert names[:5] == [
        "probe, layer chosen inside", "words and word pairs", "length", "mean embedding",
        "untrained model",
    ]  # fmt: skip
    assert names[5:] == ["shuffled labels", "control task"]
    assert all(name in text for name in names)
    assert not report.claims and "Nothing may be claimed" in text
    assert report.p is not None and report.as_dict()["rows"]["length"]["kind"] == "baseline"


def test_the_report_claims_what_only_the_model_knows(monkeypatch):
    lm = tiny_lm("llama")
    good, y, groups = pairs(60, strength=2.5)
    draw = torch.Generator().manual_seed(0)

    def planted(model, texts, layers=None, position="last", **_):
        """States of the trained model hold the label at block 1; all others are noise."""
        there = {k: torch.randn(len(texts), D, generator=draw) for k in (0, 1, -1)}
        if model is lm and len(texts) == len(good):
            there[1] = good
        return {k: there[k] for k in ([layers] if isinstance(layers, int) else layers or [0, 1])}

    monkeypatch.setattr("valuelab.probes.controls.capture", planted)
    texts = [f"{'we help' if k % 2 else 'you keep'} the man ." for k in range(60)] * 2
    others = {"noise": (texts[:40], np.arange(40) % 2 == 0, 500 + np.arange(40) // 2)}
    report = probes.probe_report(lm, texts, y, groups, method="lda", permutations=39, others=others)
    rows = {r.name: r.accuracy for r in report.rows}
    assert report.claims and "May be claimed: +" in str(report) and report.p <= 0.05
    assert rows["length"].estimate == rows["words and word pairs"].estimate == 0.5
    assert rows["untrained model"].low < 0.5 < rows["untrained model"].high
    assert rows["transfer to noise"].estimate < 0.75 < rows["probe, layer chosen inside"].low


def test_the_mean_embedding_of_the_same_words_in_another_order_is_exactly_chance():
    lm = tiny_lm("llama")
    texts = [f"{a} {b} the {c} ." for a in ("i", "we", "you") for b in ("help", "keep", "take")
             for c in ("man", "money")]  # fmt: skip
    turned = [" ".join(t.split()[:-1][::-1]) + " ." for t in texts]
    y = np.arange(36) < 18
    found = probes.embedding_baseline(lm, texts + turned, y, np.tile(np.arange(18), 2))
    assert found.accuracy.estimate == 0.5
    told = [t.replace("help", "never") for t in texts[:6]] + [t for t in texts[6:12]]
    seen = probes.embedding_baseline(lm, told, np.arange(12) < 6, np.tile(np.arange(6), 2), folds=3)
    assert seen.accuracy.estimate > 0.9
