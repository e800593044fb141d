"""Rankings from the course's own and from public dilemmas, before and after; rows here are made up in each format."""

import csv
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from valuelab import data, models
from valuelab.course.check import verdict
from valuelab.data.readers import daily_dilemmas, moralchoice
from valuelab.evaluate import dilemmas
from valuelab.evaluate.files import ReportError
from valuelab.measure.intervals import Interval, interval_of_draws
from valuelab.measure.ranking import strengths
from valuelab.steering import add, steer

pytestmark = pytest.mark.filterwarnings("ignore:.*has no chat template")  # base models are meant
SHARED = Path(__file__).resolve().parents[3] / "shared" / "models" / "tinystories-656k"


def write(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, columns)
        out.writeheader()
        out.writerows(rows)


def scenario(name, a1=(), a2=()):
    row = dict.fromkeys(moralchoice.SCENARIO, "No") | dict.fromkeys(a1, "Yes") | dict.fromkeys(a2, "Yes")
    return row | {
        "scenario_id": name, "ambiguity": "high", "generation_type": "Hand-Written", "generation_rule": "Do not kill",
        "context": f"A bridge, {name}.", "action1": "I wait.", "action2": "I run.",
    }  # fmt: skip


@pytest.fixture
def moral(tmp_path):
    rows = [
        scenario("H_1", ["a1_death", "a1_cheat"], ["a2_deceive", "a2_cheat"]),
        scenario("H_2", ["a1_deceive"], ["a2_death"]) | {"a2_pain": "No Agreement"},
        scenario("H_3", [], ["a2_death"]),  # one side serves nothing
    ]
    write(tmp_path / "data/scenarios/moralchoice_high_ambiguity.csv", list(moralchoice.SCENARIO), rows)
    return dilemmas.read_dilemmas(data.read("moralchoice", tmp_path))


@pytest.mark.parametrize("give", [tuple, list, np.array])
@pytest.mark.parametrize("share, z", [(0.6827, 1.96), (0.68, 1.96), (0.6827, 2.0)])
def test_the_check_takes_the_change_in_any_container_and_with_rounded_digits(give, share, z):
    def answer(before, after, weights):
        change = strengths(after.sum(0)) - strengths(before.sum(0))
        draws = [strengths(np.einsum("bd,dij->bij", weights, x)) for x in (before, after)]
        low, high = interval_of_draws(draws[1] - draws[0], level=share)
        return give([change, change - z * (high - low) / 2, change + z * (high - low) / 2])

    assert verdict("10.7", answer) is None


def test_the_check_takes_the_bounds_of_a_corrected_share_as_they_are_typed():
    def answer(q, n, sens, n1, spec, n0, level=0.95):
        j = sens + spec - 1
        if j <= 0:
            raise ValueError("tells nothing")
        p = (q + spec - 1) / j
        se = (q * (1 - q) / n + p**2 * sens * (1 - sens) / n1 + (1 - p) ** 2 * spec * (1 - spec) / n0) ** 0.5 / j
        z = {0.95: 1.96, 0.5: 0.6745}[level]
        return Interval(p, p - z * se, p + z * se, se, n, n)

    assert verdict("10.5", answer) is None


def test_an_action_of_moralchoice_keeps_the_rules_that_only_the_other_breaks(moral):
    assert [(d.values_1, d.values_2) for d in moral] == [
        (("do not deceive",), ("do not kill",)), (("do not kill",), ("do not deceive",))
    ]  # fmt: skip
    assert moral[0].situation == "A bridge, H_1." and moral[0].action_2 == "I run."
    assert {v for d in moral for v in d.values_1} <= set(dilemmas.SETS["moralchoice"])


def test_both_sides_of_a_daily_dilemma_meet_through_their_moral_foundations(tmp_path):
    lists = {k: "[]" for k, kind in daily_dilemmas.ACTION.items() if kind is daily_dilemmas.listed}
    blank = dict.fromkeys(daily_dilemmas.ACTION, "x") | lists

    def action(idx, kind, foundations):
        return blank | {"idx": idx, "action_type": kind, "action": f"{kind} {idx}", "mft": str(foundations)}

    rows = [
        action(7, "not_to_do", ["Loyalty", ""]), action(7, "to_do", ["Care", "Care", "Fairness"]),
        action(8, "to_do", ["Care"]), action(8, "not_to_do", [""]),  # nothing on one side
        action(9, "to_do", ["Care"]),  # its other side is missing
    ]  # fmt: skip
    write(tmp_path / "data/dilemmas_with_detail_by_action_test.csv", list(daily_dilemmas.ACTION), rows)
    (found,) = dilemmas.read_dilemmas(data.read("daily_dilemmas", tmp_path))
    assert (found.action_1, found.values_1, found.values_2) == ("to_do 7", ("Care", "Fairness"), ("Loyalty",))


def test_sets_that_do_not_say_what_an_action_serves_are_refused(tmp_path):
    with pytest.raises(ValueError, match="ealm does not say"):
        dilemmas.read_dilemmas([data.Record("ealm/1", "ealm")])
    with pytest.raises(ReportError, match="no such set"):
        dilemmas.load_dilemmas("ealm")
    with pytest.raises(ReportError, match="does not exist"):
        dilemmas.load_dilemmas("moralchoice", tmp_path / "nowhere")


def test_all_dilemmas_of_the_course_oppose_two_values():
    assert len(dilemmas.load_dilemmas("course_dilemmas")) == 120


def prefer(monkeypatch, score):
    """A base model that scores an action by what `score` says of it."""

    class Said:
        def __init__(self, ends):
            self.ends = ends

        def per_token(self):
            return [np.array([score(text) for text in pair]) for pair in self.ends]

    monkeypatch.setattr(dilemmas, "score_choices", lambda lm, prompts, ends, batch_size: Said(ends))


def test_a_value_that_an_intervention_lifts_is_named_and_one_that_does_nothing_moves_nothing(monkeypatch, base_model):
    asked = dilemmas.load_dilemmas("course_dilemmas")
    serves = {f" {a}": v for d in asked for a, v in ((d.action_1, d.values_1), (d.action_2, d.values_2))}
    rng, lift = np.random.default_rng(0), {"now": 0.0}
    taste = {text: rng.normal() for text in serves}
    prefer(monkeypatch, lambda text: taste[text] + lift["now"] * ("security" in serves[text]))

    class Lifted:
        def __enter__(self):
            lift["now"] = 3.0

        def __exit__(self, *_):
            lift["now"] = 0.0

    lm, names = models.load(str(base_model)), dilemmas.SETS["course_dilemmas"]
    found = dilemmas.rank_changes(lm, asked, names, {"lifted": Lifted(), "nothing": nullcontext()})
    moved, same = found["lifted"], found["nothing"]
    k = names.index("security")
    assert moved.moved()[0] == "security" and moved.change[k] == moved.change.max()
    assert moved.after.rank[k] == 1 and (moved.after.rank_low <= moved.after.rank_high).all()
    assert same.moved() == [] and not same.change.any()
    text = dilemmas.lines(found)
    assert "120 dilemmas" in text[0] and "security" in text[1] and text[-1].endswith("each at 95 %: none")


def test_what_a_base_model_cannot_tell_apart_is_no_answer(monkeypatch, base_model, moral):
    prefer(monkeypatch, {" I wait.": -1.0, " I run.": -1.0}.get)
    lm, names = models.load(str(base_model)), dilemmas.SETS["moralchoice"]
    (chosen, _, answered), rows = dilemmas.model_battles(lm, moral, names)
    assert chosen.shape == (2, 10) and rows == ["moralchoice/H_1", "moralchoice/H_2"] and not answered.any()
    with pytest.raises(ValueError, match="0 dilemmas"):
        dilemmas.rank_changes(lm, moral, names, {"nothing": nullcontext()})


@pytest.mark.parametrize("mass, answered", [(0.3, True), (0.001, False)])
def test_a_chat_model_is_asked_in_both_orders_and_may_fail_to_answer(monkeypatch, chat_model, moral, mass, answered):
    lm, names = models.load(str(chat_model)), dilemmas.SETS["moralchoice"]
    real, seen = dilemmas.forced_choice, []

    def choose(lm, items, batch_size):
        found = real(lm, items, batch_size=batch_size)
        seen.extend(items)
        found.mass[...] = [[mass, 0.0], [0.0, mass]]  # A in the first order, B in the second: the letter, not the act
        return found

    monkeypatch.setattr(dilemmas, "forced_choice", choose)
    (chosen, neglected, said), rows = dilemmas.model_battles(lm, moral, names)
    assert [i.context_id for i in seen] == ["moralchoice/H_1", "moralchoice/H_2"] == rows[::2] == rows[1::2]
    assert (said == answered).all() and (chosen[0::2] == neglected[1::2]).all() and (chosen ^ neglected).any(1).all()


def test_a_model_is_asked_before_and_under_the_hooks(base_model, moral):
    lm, names = models.load(str(base_model)), dilemmas.SETS["moralchoice"]
    hooks = steer(lm, add({0: 8 * torch.ones(lm.d_model)}))
    found = dilemmas.rank_changes(lm, moral, names, {"step": hooks}, draws=20)["step"]
    before, rows = dilemmas.model_battles(lm, moral, names)
    with hooks:
        after, _ = dilemmas.model_battles(lm, moral, names)
    again = dilemmas.rank_change(before, after, rows, names=names, draws=20)
    assert (found.change == again.change).all() and (found.after.rank == again.after.rank).all()


def command(*arguments):
    import typer

    app = typer.Typer()
    app.command()(dilemmas.dilemmas_command)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_says_in_one_line_what_is_wrong(base_model):
    for wrong, said in [
        (("--methods", "telepathy"), "no method 'telepathy'"),
        (("--model", base_model, "--dilemmas", "ealm"), "no such set"),
        (("--value", "greed"), "greed"),
    ]:
        result = command(*wrong)
        assert result.exit_code == 1 and said in result.stderr and "Traceback" not in result.stderr
    assert command("--items", -3).exit_code == 2, "a usage error"


@pytest.mark.parametrize("name", ["course_dilemmas", "moralchoice", "daily_dilemmas"])
def test_the_command_ranks_before_and_after_on_a_real_model_and_real_dilemmas(name, real_data):
    if not SHARED.is_dir():
        pytest.skip("shared/models/tinystories-656k is not beside the repository")
    result = command("--model", SHARED, "--dilemmas", name, "--data", real_data, "--items", 60)
    assert result.exit_code == 0, result.output
    said = result.stdout
    for method in ("additive", "random direction"):
        assert f"{method}: " in said and "dilemmas answered before and after" in said
    assert said.count(" rank ") == 2 * len(dilemmas.SETS[name]) and "nan" not in said
