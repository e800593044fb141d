"""A chat judge: k draws held to the labels, and the log-probability reading beside them."""

import numpy as np
import pytest

from valuelab import models
from valuelab.evaluate.judges import judge_rates, verdicts
from valuelab.measure import judges


@pytest.fixture(scope="module")
def lm(chat_model):
    return models.load(str(chat_model))


LABELS = {"labels": ("support", "oppose"), "lead": " ", "question": "{reply} {target}?", "floor": 0.0}


def test_the_draws_of_a_chat_judge_follow_the_probability_reading_beside_them(lm):
    prompt = models.chat(lm, "I would walk. safety?")
    words = [w for w in map(lm.tokenizer.decode, range(3, 300)) if w.strip(" ").isalpha()]
    whole, starts = models.join(lm, [prompt] * len(words), words)
    words = [w for w, row, start in zip(words, whole, starts, strict=True) if len(row) == start + 1]
    p = models.log_probs(lm, [prompt] * len(words), words)
    near = [words[k] for k in p.argsort(descending=True)[:2]]
    # labels of one token each, so both readings are one distribution
    options = {**LABELS, "labels": tuple(near), "lead": ""}
    judge = judges.ChatJudge(lm, "safety", draws=400, **options)
    read, again = judge.read("I would walk."), judge.read("I would walk.")
    assert read == again and sum(read.share.values()) == sum(read.probability.values()) == pytest.approx(1)
    p = read.probability[near[0]]
    assert abs(read.share[near[0]] - p) < 4 * (p * (1 - p) / 400) ** 0.5
    assert 0 < p < 1 and 0 < read.mass < 1
    greedy = judges.ChatJudge(lm, "safety", **options).read("I would walk.")
    assert greedy.probability == read.probability and sorted(greedy.share.values()) == [0, 1]
    assert judge("I would walk.").outcome == max(read.share, key=read.share.get)
    assert judges.ChatJudge(lm, "safety", draws=400, seed=1, **options).read("I would walk.") != read
    several = judges.ChatJudge(lm, "safety", draws=9, **LABELS)
    share = several.read("I would walk.").share
    assert several("I would walk.").score == pytest.approx(share["support"] - share["oppose"])


def test_a_draw_chooses_token_by_token_where_labels_begin_alike(lm):
    walk = judges._Walk(lm, models.chat(lm, "Which?"), [" one apple", " one pear", " two"])
    rng = np.random.default_rng(0)
    ends = [walk.end(lambda p: rng.choice(len(p), p=p)) for _ in range(200)]
    assert len(walk.known) >= 2  # a fork before "one" or "two", another after "one"
    for k, tail in enumerate(walk.tails):
        p = 1.0  # the chance of an ending is that of its choices at the forks on its way
        for at, fork in walk.known.items():
            if tail[: len(at)] == at:
                options = sorted({t[len(at)] for t in walk.tails if t[: len(at)] == at})
                p *= fork[options.index(tail[len(at)])]
        assert abs(ends.count(k) / 200 - p) < 4 * (p * (1 - p) / 200) ** 0.5 + 1e-9


@pytest.mark.parametrize("options", [{}, {"draws": 5}])
def test_empty_replies_and_judges_that_would_not_answer_fail(lm, options):
    judge = judges.ChatJudge(lm, "safety", **{**LABELS, **options})
    assert judge("I would walk.").outcome in LABELS["labels"]  # held to the labels, it always finds one
    for reply in ("", "  \n"):
        assert judge(reply).outcome == "invalid" and judge.read(reply).share == {}
        assert judges.LogProbJudge(lm, "safety", **LABELS)(reply).outcome == "invalid"
    mass = judge.read("I would walk.").mass
    mute = judges.ChatJudge(lm, "safety", **{**LABELS, **options, "floor": 1.01 * mass})
    assert mute("I would walk.").outcome == "invalid" and mute.read("I would walk.").mass == mass
    said = verdicts(mute)(["I would walk.", ""])
    assert np.isnan(said).all()
    assert judge_rates(said, np.array([True, False])).informedness == -1  # nothing read, nothing right


def test_a_tie_between_draws_is_no_verdict(lm, monkeypatch):
    judge = judges.ChatJudge(lm, "safety", draws=2, **LABELS)
    turns = iter([0, 1])
    monkeypatch.setattr(judges._Walk, "end", lambda self, choose: next(turns))
    assert judge("I would walk.").outcome == "invalid"


def test_a_chat_judge_needs_a_draw_and_labels_that_its_tokenizer_tells_apart(lm):
    with pytest.raises(ValueError, match="same tokens"):
        judges.ChatJudge(lm, "safety", labels=("yes", "yes"), floor=0.0).read("I would walk.")
    with pytest.raises(ValueError, match="draws=0"):
        judges.ChatJudge(lm, "safety", draws=0)
