"""The contrast pairs keep their promises, and the checks on them can fail."""
import re
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from valuelab.data import own, pairs
from valuelab.values import VALUES

ALL = pairs.load()


def of(value):
    return [pair for pair in ALL if pair.value == value]


@pytest.mark.parametrize("value", VALUES)
def test_each_value_has_enough_pairs_contexts_and_forms(value):
    mine = of(value)
    assert len(mine) >= 120 and len({p.context_id for p in mine}) >= 40
    assert set(Counter(p.form for p in mine)) == set(pairs.FORMS)
    assert {p.other for p in mine} == set(VALUES) - {value}


@pytest.mark.parametrize("value", VALUES)
def test_chosen_and_forgone_are_balanced(value):
    mine = of(value)
    assert Counter(p.chosen for p in mine) == {"first": len(mine) // 2, "second": len(mine) // 2}
    positive = Counter(p.positive for p in ALL if p.value == value)
    forgone = Counter(p.negative for p in ALL if p.value == value)
    assert sum(positive.values()) == sum(forgone.values()) and not positive & forgone


def test_members_share_setting_length_and_all_words_but_verb_endings():
    for pair in ALL:
        a, b = pair.positive, pair.negative
        assert abs(len(a) - len(b)) <= 0.15 * min(len(a), len(b)), pair.pair_id
        # A verb may be "keep" in one and "keeping" in the other; nothing else differs.
        words = [Counter(re.findall(r"[\w']+", t)) for t in (a, b)]
        alone = [list((words[i] - words[1 - i]).elements()) for i in (0, 1)]
        assert len(alone[0]) == len(alone[1]) <= 2, (pair.pair_id, alone)
        assert sum(words[0].values()) == sum(words[1].values()), pair.pair_id
        assert a.split(",")[0] == b.split(",")[0], pair.pair_id


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_run_of_up_to_three_words_tells_the_pole_within_any_context_and_form(n):
    cells = defaultdict(list)
    for pair in ALL:
        cells[pair.value, pair.context_id, pair.form].append(pair)
    for key, cell in cells.items():
        texts, labels, _ = pairs.unpack(cell)
        assert not pairs.ngram_imbalance(texts, labels, n), key


def test_imbalance_is_found_where_there_is_one():
    texts = ["she kept the vigil", "she left the vigil"]
    assert pairs.ngram_imbalance(texts, [1, 0], 1) == {"kept": 1, "left": -1}
    cell = [p for p in of("tradition") if p.context_id == "he-tr-1" and p.form == "third"]
    only_one_mirror = [p for p in cell if p.chosen == "first"]
    assert pairs.ngram_imbalance(*pairs.unpack(only_one_mirror)[:2], 2)


PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e4)


@pytest.mark.parametrize("value", VALUES)
def test_ngram_probe_stays_at_chance(value):
    texts, labels, groups = pairs.unpack(of(value))
    for weighting in ("count", "tfidf"):
        got = pairs.ngram_probe(
            texts, labels, groups, n=2, weighting=weighting, C=(1e-2, 1.0, 100.0)
        )
        assert got <= 0.60, f"{value}, {weighting}: {got:.3f}"


@pytest.mark.parametrize("value", VALUES)
def test_length_punctuation_and_sentiment_stay_at_chance(value):
    texts, labels, groups = pairs.unpack(of(value))
    X = pairs.surface_features(texts)
    assert pairs.baseline_accuracy(X, labels, groups, C=PENALTIES) <= 0.55


@pytest.mark.parametrize("value", ["security", "hedonism"])
def test_the_value_is_there_once_roles_are_known(value):
    mine = of(value)
    _, labels, groups = pairs.unpack(mine)
    got = pairs.baseline_accuracy(pairs.role_features(mine), labels, groups, C=(0.01, 0.1, 1.0))
    assert got > 0.65, f"{value}: {got:.3f}"


def test_ngram_probe_finds_a_planted_word():
    texts, labels, groups = pairs.unpack(of("power"))
    rigged = [t + (" Indeed." if y else " Anyway.") for t, y in zip(texts, labels, strict=True)]
    assert pairs.ngram_probe(rigged, labels, groups, n=1) > 0.99


def test_row_split_leaks_labels_that_are_constant_per_context_and_group_split_does_not():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 8)
    X = rng.normal(size=(60, 64))[groups] + 0.3 * rng.normal(size=(480, 64))
    y = rng.integers(0, 2, 60)[groups]
    assert pairs.baseline_accuracy(X, y, groups, split_by="row") > 0.85
    assert pairs.baseline_accuracy(X, y, groups, C=(1.0,)) < 0.65


def test_split_is_by_context_and_holds_every_value():
    part = defaultdict(set)
    for pair in ALL:
        part[pair.context_id].add(pair.split)
    assert all(len(parts) == 1 for parts in part.values())
    for value in VALUES:
        assert {p.split for p in of(value)} == set(pairs.SPLITS)


def test_contexts_do_not_repeat_people_settings_or_actions():
    rows = pairs.contexts()
    for name in ("context_id", "name", "setting"):
        assert max(Counter(getattr(c, name) for c in rows).values()) == 1, name
    actions = Counter(a for c in rows for a in (c.action_a, c.action_b))
    assert max(actions.values()) == 1
    assert not [c for c in rows if re.search(r"\b(I|our|we|mine)\b", " ".join(vars(c).values()))]


def test_mirrors_share_the_words_around_both_slots():
    for frame in pairs.constructions():
        bare = re.sub(r"[{}](S|I|i|my|My|Me|should i|should)[{}]", r" \1 ", frame.template)
        sides = []
        for side in (r"\1", r"\2"):
            words = re.sub(r"\[([^|\]]*)\|([^\]]*)\]", side, bare)
            words = re.findall(r"\{\w+\}|\w+|[^\w\s]", words)
            slots = [i for i, word in enumerate(words) if word.startswith("{")]
            sides.append([
                [w for w in words[max(0, i - 3) : i] if w.isalnum()][-2:]
                + [w for w in words[i + 1 : i + 4] if w.isalnum()][:2]
                for i in slots
            ])
        assert sides[0] == sides[1], frame


def test_committed_pairs_are_what_the_generator_makes():
    assert pairs.build(0) == ALL
    program = own.FOLDER / "pairs" / "make.py"
    done = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_seed_makes_other_pairs_that_are_balanced_too():
    other = [p for p in pairs.build(1) if p.value == "power"]
    assert other != of("power")
    texts, labels, _ = pairs.unpack(other)
    assert not pairs.ngram_imbalance(texts, labels, 2)


@pytest.mark.parametrize(
    "phrase, wanted",
    [
        ("keep the vigil", "keeping the vigil"), ("make peace", "making peace"),
        ("sit down", "sitting down"), ("lie in", "lying in"), ("see", "seeing"),
        ("be brave", "being brave"), ("ski", "skiing"), ("open up", "opening up"),
        ("defer to her", "deferring to her"), ("row home", "rowing home"), ("fix it", "fixing it"),
    ],
)
def test_gerund_spells(phrase, wanted):
    assert pairs.gerund(phrase) == wanted


def test_speak_changes_person_and_refuses_unknown_ones():
    assert pairs.speak("help my son by myself", "they") == "help their son by themselves"
    with pytest.raises(ValueError, match="'it' is unknown. Choose one of"):
        pairs.speak("my", "it")


@pytest.mark.parametrize("wrong", [{"value": "honor"}, {"split": "valid"}, {"form": "second"}])
def test_load_names_the_choices_for_an_unknown_filter(wrong):
    with pytest.raises(ValueError, match="is unknown. Choose one of"):
        pairs.load(**wrong)


def test_filters_partition_the_pairs():
    assert sum(len(pairs.load(split=s)) for s in pairs.SPLITS) == len(ALL)
    assert sum(len(pairs.load("power", form=f)) for f in pairs.FORMS) == len(of("power"))
