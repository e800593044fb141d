"""The course's own dilemmas, portraits and preferences; splits and agreement."""
from collections import Counter, defaultdict

import numpy as np
import pytest

from valuelab import data
from valuelab.data import annotators, own, pairs, splits
from valuelab.data.record import DataError
from valuelab.values import VALUES

# ------------------------------------------------------------------------------- the data


def test_dilemmas_serve_every_value_equally_often_and_stand_first_half_of_the_time():
    rows = own.dilemmas()
    assert len(rows) == 120
    first = Counter(d.values_1[0] for d in rows)
    second = Counter(d.values_2[0] for d in rows)
    assert first == second == {value: 12 for value in VALUES}
    assert all(not set(d.values_1) & set(d.values_2) for d in rows)
    for split in own.SPLITS:
        seen = {v for d in own.dilemmas(split) for v in (d.values_1[0], d.values_2[0])}
        assert seen == set(VALUES), split


def test_they_load_by_name_like_any_other_dataset():
    assert set(own.READERS) <= set(data.names())
    table = data.load("course_portraits")
    assert len(table) == 60 and set(table["source"]) == {"course_portraits"}
    with pytest.raises(ValueError, match="course_pairs"):
        data.read("course_pair", own.FOLDER)


def test_swapping_a_dilemma_twice_gives_it_back_and_once_does_not():
    for dilemma in own.dilemmas():
        assert dilemma.swapped() != dilemma == dilemma.swapped().swapped()
        assert dilemma.swapped().values_1 == dilemma.values_2


def test_portraits_have_six_items_a_value_in_both_keys_and_no_neighbours_alike():
    items = own.portraits()
    assert [p.item for p in items] == list(range(1, 61))
    keys = Counter((p.value, p.key) for p in items)
    assert all(keys[value, 1] == 4 and keys[value, -1] == 2 for value in VALUES)
    assert all(a.value != b.value for a, b in zip(items, items[1:], strict=False))
    assert len({p.text for p in items}) == 60


def test_portrait_scores_find_the_value_of_somebody_who_holds_one_and_ignore_yes_saying():
    items = own.portraits()
    answers = [6 if (p.key > 0) == (p.value == "power") else 1 for p in items]
    scores = own.score_portraits(answers)
    assert scores["power"] == pytest.approx(4.5)
    assert all(scores[v] == pytest.approx(-0.5) for v in VALUES if v != "power")
    assert set(own.score_portraits([6] * 60).values()) == {0.0}


@pytest.mark.parametrize("answers", [[3] * 59, [3] * 59 + [7], {1: 3}])
def test_portrait_scores_refuse_missing_answers(answers):
    with pytest.raises(ValueError, match="Code refusals yourself"):
        own.score_portraits(answers)


def test_preferences_are_a_two_by_two_design_balanced_in_order_and_length():
    rows = own.preferences()
    assert Counter(p.kind for p in rows) == dict.fromkeys(
        ("helpfulness", "considerateness", "agree", "conflict"), 50
    )
    for kind, attribute in (
        ("helpfulness", "helpfulness"), ("considerateness", "considerateness"),
        ("agree", "helpfulness"), ("conflict", "helpfulness"),
    ):
        mine = [p for p in rows if p.kind == kind]
        assert Counter(p.better(attribute) for p in mine) == {"a": 25, "b": 25}, kind
        longer = [
            (len(p.response_a) > len(p.response_b)) == (p.better(attribute) == "a")
            for p in mine if len(p.response_a) != len(p.response_b)
        ]
        assert 0.4 <= np.mean(longer) <= 0.6, (kind, np.mean(longer))
    for p in rows:
        tie = {"helpfulness": "considerateness", "considerateness": "helpfulness"}.get(p.kind)
        assert tie is None or p.better(tie) == "tie"
        if p.kind == "conflict":
            assert p.better("helpfulness") != p.better("considerateness")


def test_preferences_split_by_prompt():
    parts = defaultdict(set)
    for p in own.preferences():
        parts[p.context_id].add(p.split)
    assert len(parts) == 50 and all(len(found) == 1 for found in parts.values())


def test_better_and_table_name_the_choices():
    with pytest.raises(ValueError, match="Choose one of"):
        own.preferences()[0].better("honesty")
    with pytest.raises(ValueError, match="Choose one of"):
        own.table("pears")
    with pytest.raises(ValueError, match="no split 'dev'. Splits: none"):
        own.table("portraits", "dev")


@pytest.mark.parametrize("name, count", [
    ("pairs", 4920), ("dilemmas", 120), ("portraits", 60), ("preferences", 200),
])
def test_own_data_become_records(name, count):
    found = list(own.records(name))
    assert len(found) == count and len({r.id for r in found}) == count
    assert {r.source for r in found} == {f"course_{name}"}
    assert {r.licence for r in found} == {"CC BY 4.0"}


@pytest.mark.parametrize("name", sorted(own.SCHEMAS))
def test_every_own_dataset_has_a_card_that_says_what_it_is_not_for(name):
    card = (own.FOLDER / name / "CARD.md").read_text(encoding="utf-8")
    for wanted in ("How it was made", "What it is for", "What it is not for", "CC BY 4.0"):
        assert wanted in card, wanted


@pytest.mark.parametrize("name, count", [("valueeval23", 24), ("moralchoice", 8), ("scruples", 20)])
def test_hand_made_samples_pass_the_readers_of_the_public_datasets(name, count):
    assert sum(1 for _ in data.read(name, own.FOLDER / "samples" / name)) == count


def test_no_lesson_shows_a_held_out_context():
    held_out = {p.context_id for p in own.table("pairs", "test")}
    settings = {c.setting for c in pairs.contexts() if c.context_id in held_out}
    lessons = list((own.FOLDER.parent / "solutions").glob("*.ipynb"))
    assert lessons
    for lesson in lessons:
        told = lesson.read_text(encoding="utf-8")
        assert not [s for s in settings if f"{s}, " in told], lesson.name


@pytest.mark.parametrize("name, old, new, line, column", [
    ("pairs", "hedonism,third", "hedonsim,third", 9, ""),
    ("dilemmas", ",stimulation,test", ",stimulation,tset", 2, "split"),
    ("portraits", "1,self-direction,1", "1,self-direction,2", 2, "key"),
    ("preferences", "helpfulness,My", "helpful,My", 2, "kind"),
])
def test_damaged_files_are_refused_with_line_and_column(tmp_path, name, old, new, line, column):
    told = (own.FOLDER / name / f"{name}.csv").read_text(encoding="utf-8")
    assert old in told
    folder = tmp_path / name
    folder.mkdir()
    (folder / f"{name}.csv").write_text(told.replace(old, new, 1), encoding="utf-8")
    kind, schema = own.SCHEMAS[name]
    with pytest.raises(DataError) as caught:
        own.rows(folder / f"{name}.csv", kind, schema)
    assert not column or (caught.value.line, caught.value.column) == (line, column)
    with pytest.raises(DataError):
        list(own.READERS[f"course_{name}"].read(folder))


# ------------------------------------------------------------------------------- splits


def test_group_split_keeps_groups_whole_and_shares_right():
    groups = np.repeat([f"c{i}" for i in range(50)], 7)
    parts = splits.group_split(groups, seed=3)
    assert not splits.leaks(groups, parts)
    assert Counter(parts.tolist()) == {"train": 210, "dev": 70, "test": 70}
    assert (parts != splits.group_split(groups, seed=4)).any()
    assert (parts == splits.group_split(groups, seed=3)).all()


def test_group_split_does_not_depend_on_the_order_of_items():
    groups = np.repeat(np.arange(30), 3)
    order = np.random.default_rng(0).permutation(90)
    assert (splits.group_split(groups)[order] == splits.group_split(groups[order])).all()


def test_group_split_fills_every_part_even_when_few_groups():
    assert set(splits.group_split(["a", "b", "c"])) == {"train", "dev", "test"}


def test_part_sizes_takes_the_shares_in_any_form():
    for shares in (splits.SHARES.values(), list(splits.SHARES.values()), np.array(list(splits.SHARES.values()))):
        assert splits.part_sizes(20, shares).tolist() == [12, 4, 4]


@pytest.mark.parametrize("groups, shares, phrase", [
    (["a", "b", "c"], {"train": 0.5, "test": 0.4}, "sum to 1"),
    (["a", "b", "c"], {"train": 1.2, "test": -0.2}, "sum to 1"),
    (["a", "a", "b"], splits.SHARES, "2 groups cannot fill 3 parts"),
])
def test_group_split_refuses_what_it_cannot_do(groups, shares, phrase):
    with pytest.raises(ValueError, match=phrase):
        splits.group_split(groups, shares)


def test_leaks_names_only_groups_in_two_parts():
    parts = ["test", "train", "train", "train", "test"]
    assert splits.leaks(["a", "a", "b", "b", "c"], parts) == {"a": ("test", "train")}
    with pytest.raises(ValueError):
        splits.leaks(["a"], ["train", "test"])


def test_overlap_by_hand():
    # runs of two: {a b, b c} and {b c, c d}: one shared of three
    assert splits.overlap("a b c", "B c d", n=2) == pytest.approx(1 / 3)
    assert splits.overlap("same words here", "same words here") == 1.0
    assert splits.overlap("one", "two") == 0.0


def test_near_copies_agree_with_overlap_and_skip_pairs_inside_a_part():
    texts = ["the cat sat on the mat", "the cat sat on the hat", "a dog ran", "the cat sat on it"]
    parts = ["train", "test", "test", "train"]
    found = splits.near_copies(texts, parts, n=2, threshold=0.2)
    assert [(i, j) for i, j, _ in found] == [(0, 1), (1, 3)]
    for i, j, share in found:
        assert share == pytest.approx(splits.overlap(texts[i], texts[j], n=2))


# ------------------------------------------------------------------------------- agreement


def test_entropy_is_zero_for_one_label_and_one_for_all_alike():
    got = annotators.label_entropy([[5, 0], [2, 2], [3, 1]])
    np.testing.assert_allclose(got, [0, 1, 0.8112781244591328])


def test_alpha_matches_a_worked_example_and_the_pairwise_definition():
    # Nominal example of Krippendorff's "Computing alpha reliability": four observers, twelve
    # units, α = 0.743. Counts of labels 1 to 5 per unit.
    counts = np.array([
        [3, 0, 0, 0, 0], [0, 3, 0, 0, 1], [0, 0, 4, 0, 0], [0, 0, 4, 0, 0], [0, 4, 0, 0, 0],
        [1, 1, 1, 1, 0], [0, 0, 0, 4, 0], [4, 0, 0, 0, 0], [0, 4, 0, 0, 0], [0, 0, 0, 0, 3],
        [2, 0, 0, 0, 0], [0, 0, 1, 0, 0],
    ])
    # Unit 2 above differs from the printed table only in its odd label; compute both ways.
    votes = [np.repeat(np.arange(5), row) for row in counts if row.sum() > 1]
    pool = np.concatenate(votes)
    inside = sum(
        (v[:, None] != v).sum() / (len(v) - 1) for v in votes
    ) / len(pool)
    apart = (pool[:, None] != pool).sum() / (len(pool) * (len(pool) - 1))
    assert annotators.krippendorff_alpha(counts) == pytest.approx(1 - inside / apart)


def test_alpha_is_one_for_agreement_zero_for_chance_and_undefined_for_one_label():
    assert annotators.krippendorff_alpha([[3, 0], [0, 3]]) == 1.0
    coins = np.random.default_rng(0).multinomial(5, [0.5, 0.5], size=4000)
    assert abs(annotators.krippendorff_alpha(coins)) < 0.02
    assert np.isnan(annotators.krippendorff_alpha([[3, 0], [3, 0]]))


@pytest.mark.parametrize("counts, phrase", [
    ([1, 2], "expected"), ([[0.5, 1]], "whole numbers"), ([[-1, 2]], "whole numbers"),
])
def test_agreement_refuses_what_are_no_counts(counts, phrase):
    for function in (annotators.label_entropy, annotators.krippendorff_alpha):
        with pytest.raises(ValueError, match=phrase):
            function(counts)


def test_agreement_refuses_items_without_votes():
    with pytest.raises(ValueError, match="item 1 has no annotator"):
        annotators.label_entropy([[1, 0], [0, 0]])
    with pytest.raises(ValueError, match="no item has two votes"):
        annotators.krippendorff_alpha([[1, 0], [0, 1]])
