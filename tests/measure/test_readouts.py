import json
import time
from pathlib import Path

import numpy as np
import pytest

from valuelab import models, world
from valuelab.measure import judges, readout, scoring

FRAMES = (" I would {b}.", " I will {b}.", " I choose to {b}.")


def test_shared_prompts_give_the_same_log_probabilities_as_one_by_one(toy):
    prompts = [models.chat(toy, s.text) for s in world.situations("held_out", 12)]
    choices = [[" I would walk.", " I would", " My choice is to rest at home.", " Yes."]] * 12
    ours = scoring.score_choices(toy, prompts, choices, batch_size=5)
    flat = models.log_probs(toy, [p for p in prompts for _ in range(4)], choices[0] * 12)
    assert np.concatenate(ours.log_prob) == pytest.approx(flat.numpy(), abs=1e-4)
    single = scoring.score_choices(toy, prompts, choices, shared=False)
    assert np.concatenate(ours.tokens).tolist() == np.concatenate(single.tokens).tolist()


def test_one_choice_prefixed_choices_and_single_tokens_are_scored_right(toy):
    prompts = ["I would", "I would like to"]
    choices = [[" walk."], [" walk", " walk.", " walk. Yes."]]
    ours = scoring.score_choices(toy, prompts, choices)
    for p, options, lp in zip(prompts, choices, ours.log_prob, strict=True):
        assert lp == pytest.approx(
            models.log_probs(toy, [p] * len(options), options).numpy(), abs=1e-4
        )


def test_the_prompt_is_run_once_for_all_choices(toy):
    seen = []
    hook = toy.model.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    s = world.situations("held_out", 1)[0]
    item = readout.planted_choice(toy, s, opening="", frames=FRAMES)
    readout.forced_choice(toy, [item])
    hook.remove()
    prompt = len(models.encode(toy, [item.prompts[0]])[0])
    assert seen[0][0] == 2 and seen[0][1] >= prompt  # both orders, once
    assert len(seen) == 2 and seen[1][0] <= 12 and seen[1][1] < 12  # then only what differs


def test_mass_valid_refusal_and_invalid_add_up_to_one(toy):
    s = world.situations("held_out", 6)
    items = [readout.planted_choice(toy, x) for x in s]
    f = readout.forced_choice(toy, items, refusals=(" no.", " nothing."))
    assert f.mass.shape == (6, 2, 2) and (f.mass >= 0).all()
    total = f.summary.valid + f.summary.refusal + f.summary.invalid
    assert total == pytest.approx(1.0)
    assert "hardly any valid answer" in f.summary.outcome  # random weights know no answer
    wordings = readout.forced_choice(
        toy, [readout.planted_choice(toy, s[0], opening="", frames=FRAMES)]
    )
    one = readout.forced_choice(
        toy, [readout.planted_choice(toy, s[0], opening="", frames=FRAMES[:1])]
    )
    assert (wordings.mass > one.mass).all()


def test_order_one_shows_the_same_contents_the_other_way_round(toy):
    s = world.situations("held_out", 5)[0]
    item = readout.planted_choice(toy, s)
    turned = readout.planted_choice(toy, world.swap(s))
    a, b = readout.forced_choice(toy, [item]).mass, readout.forced_choice(toy, [turned]).mass
    assert a == pytest.approx(b[:, ::-1, ::-1], rel=1e-4)


def test_lettered_options_keep_the_letter_with_the_slot(toy):
    item = readout.lettered(toy, "What do you do?", "walk", "rest", context_id="c")
    assert item.a == (("A",), ("B",)) and item.b == (("B",), ("A",))
    assert "A. walk" in item.prompts[0] and "A. rest" in item.prompts[1]


def test_no_items_and_a_silent_model_are_outcomes(toy):
    assert readout.forced_choice(toy, []).summary.outcome == "no items"
    empty = readout.likert(toy, [])
    assert "no valid answer" in empty.outcome


def test_a_rating_is_the_mean_of_the_valid_mass(toy):
    r = readout.likert(toy, ["I like music. Score"], (" one", " two", " three"))
    assert r.rating[0] == pytest.approx(r.distribution[0] @ [1, 2, 3])
    assert r.distribution.sum() == pytest.approx(1) and 0 < r.valid[0] < 1
    turned = readout.likert(
        toy, ["I like music. Score"], (" one", " two", " three"), numbers=(3, 2, 1)
    )
    assert turned.rating[0] == pytest.approx(4 - r.rating[0])
    with pytest.raises(ValueError, match="3 points but 2 numbers"):
        readout.likert(toy, ["x"], (" one", " two", " three"), numbers=(1, 2))


def test_replies_are_scored_per_token(toy):
    lp = readout.reply_log_probs(toy, ["I would"], [[" walk.", " walk at home."]])[0]
    total = models.log_probs(toy, ["I would"] * 2, [" walk.", " walk at home."]).numpy()
    assert lp == pytest.approx(total / [2, 4], abs=1e-5)


def test_scoring_refuses_prompts_without_choices(toy):
    with pytest.raises(ValueError, match="at least one choice"):
        scoring.score_choices(toy, ["x"], [[]])


def test_the_oracle_reads_choices_and_calls_the_rest_invalid():
    s = world.situations("held_out", 1)[0]
    judge = judges.OracleJudge([s])
    assert judge(f"I would {s.first.base}.", 0).outcome == "support"
    assert judge(f"I would {s.second.base}.", 0).outcome == "oppose"
    assert judge("I would would.", 0).outcome == "invalid"
    assert judge("", 0).outcome == "invalid"


def test_free_replies_are_judged_prompt_by_prompt(toy):
    s = world.situations("held_out", 3)
    asked = []
    replies, found = readout.free_replies(
        toy,
        [models.chat(toy, x.text) for x in s],
        lambda reply, i: asked.append(i) or judges.OracleJudge(s)(reply, i),
        samples=2,
        max_new_tokens=5,
    )
    assert asked == [0, 0, 1, 1, 2, 2] and len(replies) == len(found) == 6
    assert {f.outcome for f in found} == {"invalid"}


@pytest.mark.parametrize("kind", [judges.LogProbJudge, judges.ChatJudge])
def test_model_judges_answer_only_with_their_labels(toy, kind):
    judge = kind(toy, "safety", question="{reply} {target}?", labels=("I", "My"), lead=" ")
    found = judge("I would walk.", 0)
    assert found.outcome in ("I", "My", "invalid")
    if kind is judges.LogProbJudge:
        strict = judges.LogProbJudge(
            toy, "safety", "{reply} {target}?", ("I", "My"), " ", floor=1.1
        )
        assert strict("I would walk.", 0).outcome == "invalid"


def test_shared_scoring_is_faster_than_choice_by_choice(toy):
    items = [readout.planted_choice(toy, s) for s in world.situations("held_out", 32)]
    readout.forced_choice(toy, items[:4])
    start = time.perf_counter()
    readout.forced_choice(toy, items)
    shared = time.perf_counter() - start
    start = time.perf_counter()
    readout.forced_choice(toy, items, shared=False, batch_size=1)
    assert shared < time.perf_counter() - start


def test_the_stored_benchmark_meets_its_bounds():
    found = sorted(Path("benchmarks/results").glob("measure*.json"))
    assert found, "run benchmarks/measure.py"
    result = json.loads(found[-1].read_text())
    assert result["items"] == 2000 and result["threads"] <= 2
    assert (
        result["seconds_shared_processor"] <= 60
    )  # of one thread: no less than the quiet wall time
    assert result["speedup_over_choice_by_choice"] >= 3
    assert {"cpu", "torch", "transformers", "date"} <= set(result)
