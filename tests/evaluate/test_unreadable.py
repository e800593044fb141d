"""States that hold nothing, scores that are no numbers, differences without a spread: said, and the rest goes on."""

import html
import json
import math
import re
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from valuelab import models, probes
from valuelab.evaluate import bench, capstone, chain, compare, dilemmas, metrics, page, report
from valuelab.evaluate.files import ReportError
from valuelab.measure.intervals import mean_interval
from valuelab.probes import Unreadable
from valuelab.values import VALUES

PAIRS = 24
NO_NUMBER = re.compile(r"\b(?:nan|NaN|None|inf)\b")
Y = np.tile([True, False], PAIRS)
CONTEXTS = np.repeat([f"c{k}" for k in range(PAIRS)], 2)


def states(kind):
    """(2 · PAIRS, 6) states of contrast pairs."""
    drawn = torch.randn(2 * PAIRS, 6, generator=torch.Generator().manual_seed(0))
    if kind == "constant":
        return torch.ones_like(drawn)
    if kind == "same within pairs":
        return drawn[::2].repeat_interleave(2, 0)
    if kind == "not finite":
        return drawn.index_fill(0, torch.tensor([3]), math.nan)
    return drawn + 2.0 * torch.as_tensor(Y)[:, None]


def training():
    return bench.Training([f"text {k // 2}." for k in range(2 * PAIRS)], Y, CONTEXTS)


# ------------------------------------------------------------------------------------ probes


@pytest.mark.parametrize(
    ("kind", "why"),
    [("constant", "constant"), ("same within pairs", "all zero|do not differ"), ("not finite", "1 of 48 states")],
)
def test_a_probe_that_can_read_nothing_says_so(kind, why):
    with pytest.raises(Unreadable, match=why):
        probes.validated_probe(states(kind), Y, CONTEXTS, method=chain.fixed_logistic)


def test_layers_that_cannot_be_read_are_named_with_the_reason_and_the_others_are_probed():
    read = dict(enumerate(map(states, ("constant", "same within pairs", "good", "not finite"))))
    found = chain.probe_layers(training(), read, seed=0)
    assert list(found["layers"]) == list(found["logistic"]) == [2]
    assert [row["layer"] for row in found["nothing_to_read"]] == [0, 1, 3]
    assert found["nested"]["estimate"] > 0.9 and set(found["layers_chosen"]) == {2}
    told = page.unread(found)
    assert "layer 0 (all features" in told and "layer 3 (1 of 48" in told and "NaN" in told and "layer 2" not in told


def test_a_layer_at_chance_is_told_by_its_accuracy_and_the_run_does_not_warn(recwarn):
    noise = torch.randn(2 * PAIRS, 6, generator=torch.Generator().manual_seed(1))
    found = chain.probe_layers(training(), {0: noise}, seed=0)
    assert found["layers"][0]["logistic"]["low"] < 0.5 and not recwarn


def test_where_no_layer_can_be_read_the_words_are_still_measured():
    found = chain.probe_layers(training(), {0: states("constant"), 1: states("same within pairs")}, seed=0)
    assert found["nested"] is found["shuffled"] is found["beyond_words"] is None and found["layers"] == {}
    assert found["n_grams"]["estimate"] == 0.5  # both members of a pair hold the same words
    one = {"probe": found, "comparisons": {}}
    assert not page.reads(one) and "No layer holds anything" in page.probe_verdict("power", one)


def test_a_fold_whose_states_are_all_alike_counts_as_half_right():
    lone = torch.zeros(2 * PAIRS, 6)
    lone[0] = 1.0  # whoever holds out context 0 trains on nothing but zeros
    found = probes.grouped_accuracy(lone, Y, CONTEXTS, chain.fixed_logistic)
    held = np.isin(CONTEXTS, CONTEXTS[found.fold == found.fold[0]])
    assert (found.logits[held] == 0).all() and (found.correct[held] == 0.5).all()


# ----------------------------------------------------------------------------------- choosing


def chosen_with(base_model, quick, vector):
    lm = models.load(str(base_model))
    reader = SimpleNamespace(difference=lambda value, layer: vector, length=lambda value, layer: 1.0)
    return chain.choose_plans(lm, SimpleNamespace(quick=quick, form_is_kept=lambda a, b: True), "power", reader, {})


def test_a_method_without_a_direction_is_not_run_and_the_reason_is_kept(base_model):
    def quick(value):
        return bench.Quick(np.zeros(4), 0.0)

    chosen, not_run = chosen_with(base_model, quick, torch.zeros(32))
    assert chosen == {} and not_run == chain.NO_DIRECTION
    chosen, not_run = chosen_with(base_model, quick, torch.ones(32))
    assert list(chosen) == ["mean difference"] and list(not_run) == ["closed form"]


@pytest.mark.parametrize("bad", [3, 8])
def test_a_setting_whose_scores_are_no_numbers_is_out_and_counted(base_model, bad):
    """8 settings: 2 layers of 4 strengths; the first `bad` of them break the model."""
    seen = []

    def quick(value):
        seen.append(value)
        broken = 1 < len(seen) <= 1 + bad
        return bench.Quick(np.full(4, math.nan if broken else float(len(seen))), 0.0)

    chosen, not_run = chosen_with(base_model, quick, torch.ones(32))
    if bad == 8:
        assert chosen == {} and "all 8 settings" in not_run["mean difference"]
    else:
        note = chosen["mean difference"]["note"]
        assert (note["settings_tried"], note["settings_not_finite"]) == (5, 3) and note["gain_when_choosing"] == 8


# ------------------------------------------------------------------------------------ figures


def test_scores_that_are_no_numbers_are_left_out_and_counted():
    found = chain.measured([1.0, math.nan, 0.0, 1.0], list("abcd"))
    assert (found["n"], found["invalid"]) == (3, 1) and found["estimate"] == pytest.approx(2 / 3)
    assert page.score(found).endswith("1 not finite")
    none = chain.measured([math.nan] * 4)
    assert none["estimate"] is None and page.score(none) == "(no valid item), 4 not finite"


def test_the_page_gives_a_width_to_right_answers_and_none_to_equal_numbers():
    right = mean_interval(np.ones(6)).as_dict()
    assert page.points(right) == f"+100.0 [{100 * right['low']:.1f}, 100.0]" and right["low"] < 0.6
    assert page.points(chain.measured(np.full(6, 0.3))) == "+30.0 (all 6 alike)"


def test_perplexity_beyond_all_bounds_and_of_nothing_is_told():
    assert metrics.perplexity([-1e6], [10]) == math.inf

    def answers(value, reply):
        return SimpleNamespace(fluency={"perplexity": value, "empty": 1.0}, tokens=[([1], reply)])

    assert page.perplexity(chain.fluency_of(answers(math.inf, [5]))) == "none (not finite)"
    assert page.perplexity(chain.fluency_of(answers(math.nan, []))) == "none (no reply has a word)"
    assert page.perplexity(chain.fluency_of(answers(3.0, [5]))) == "3.00"


def test_side_effects_that_are_all_the_same_are_not_held_against_the_circle():
    row = np.zeros(10)
    row[VALUES.index("power")] = 1.0
    assert chain.circle_of(row, "power") is None and chain.circle_of(np.full(10, math.nan), "power") is None
    assert "nothing to hold" in page.circle(None) and "did not move" in page.ratio(None)
    row[0] = 0.5
    assert -1 <= chain.circle_of(row, "power")["correlation"] <= 1


def test_a_model_that_computes_no_numbers_is_refused_in_one_sentence(base_model):
    lm = models.load(str(base_model))
    bench.refuse_broken(lm, np.zeros(3))
    with pytest.raises(ReportError, match="2 of 3 log-probabilities .* --dtype float32"):
        bench.refuse_broken(lm, np.array([1.0, math.nan, math.inf]))


# ------------------------------------------------------------------------- from end to end


def run(command, *arguments):
    app = typer.Typer()
    app.command()(command)
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, found.stdout, found.stderr


def made(model, folder, *options):
    out = folder / "r.html"
    code, _, said = run(report.report_command, "--values", "power", "--model", model, "--items", 8, "--quiet",
                        "--out", out, *options)  # fmt: skip
    assert code == 0, said
    return out, json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nothing(constant_model, tmp_path_factory):
    return made(constant_model, tmp_path_factory.mktemp("nothing"))


def words_of(path):
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL))


def test_a_model_whose_states_are_all_alike_gets_a_report_that_says_so(nothing, parsed):
    out, found = nothing
    one = found["values"]["power"]
    assert [row["layer"] for row in one["probe"]["nothing_to_read"]] == [0, 1]
    assert set(one["not_run"]) == set(chain.METHODS)
    assert list(one["conditions"]) == ["unsteered"] and one["comparisons"] == one["leakage"] == {}
    parsed(out.read_text(encoding="utf-8"))
    told = words_of(out)
    for wanted in (
        "Nothing to read at layers 0, 1 (", "No layer holds anything by which a probe could tell power",
        "power: steering not run",
        "Closed form was not run for power", "Mean difference was not run for power",
        "Anything about closed form for power: it was not run.", "no effect beyond random was shown",
        "Not done, for the reasons under Findings: closed form for power, mean difference for power.",
    ):  # fmt: skip
        assert wanted in told, wanted


def test_a_plan_for_a_method_that_was_not_run_is_told_why(nothing):
    with pytest.raises(ValueError, match="mean difference was not run for power .* do not differ"):
        capstone.model_card(nothing[1], capstone.Plan("power", "mean difference"))


def test_a_card_and_a_comparison_of_such_a_report_say_what_is_missing(nothing, tmp_path):
    source = nothing[0].with_suffix(".json")
    code, _, said = run(compare.card_command, source, "--out", tmp_path / "card.md")
    assert code == 1 and "mean difference was not run for power" in said and not list(tmp_path.iterdir())
    code, _, said = run(compare.compare_command, source, source)
    assert code == 1 and "power, closed form: not run in the first report" in said


def test_pairs_that_the_tokenizer_makes_equal_are_told_and_every_layer_is_accounted_for(deaf_model, tmp_path):
    out, found = made(deaf_model, tmp_path, "--dtype", "bfloat16")
    probe = found["values"]["power"]["probe"]
    unread = [row["layer"] for row in probe["nothing_to_read"]]
    assert unread and sorted([*unread, *map(int, probe["layers"])]) == [0, 1]
    assert found["options"]["dtype"] == "torch.bfloat16" and "as the same tokens" in found["notes"][-1]
    told = words_of(out)
    assert "Nothing to read at layer" in told and "as the same tokens" in told and not NO_NUMBER.findall(told)


@pytest.mark.parametrize("which", ["nothing", "base_report"])
def test_no_page_prints_a_number_that_is_none(which, request, base_model, tmp_path):
    out = request.getfixturevalue("nothing")[0] if which == "nothing" else made(base_model, tmp_path)[0]
    assert not NO_NUMBER.findall(words_of(out))


# ----------------------------------------------------------------------------------- dilemmas


def test_dilemmas_without_a_direction_end_in_one_sentence(constant_model):
    code, said, told = run(dilemmas.dilemmas_command, "--model", constant_model, "--items", 4)
    assert code == 1 and said == "" and "Nothing to read for security at layer 1" in told and told.count("\n") == 1


def test_an_intervention_that_silences_the_model_is_told_and_the_next_one_goes_on(monkeypatch, base_model):
    lm, asked = models.load(str(base_model)), dilemmas.load_dilemmas("course_dilemmas")[:6]
    real, calls = dilemmas.model_battles, []

    def silenced(*args, **options):
        (chosen, neglected, answered), rows = real(*args, **options)
        calls.append(0)
        return (chosen, neglected, answered & (len(calls) != 2)), rows

    monkeypatch.setattr(dilemmas, "model_battles", silenced)
    names = dilemmas.SETS["course_dilemmas"]
    found = dilemmas.rank_changes(lm, asked, names, {"mute": nullcontext(), "nothing": nullcontext()}, draws=20)
    assert found["mute"] == "no ranking, since 0 dilemmas were answered before and after"
    text = dilemmas.lines(found)
    assert text[0].startswith("mute: no ranking") and text[1].startswith("nothing: 6 dilemmas")


def test_only_the_missing_chat_template_is_kept_quiet(monkeypatch, base_model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report.load(str(base_model))

    def load(name, **options):
        warnings.warn("the tokenizer is of another model", stacklevel=2)
        raise models.ModelError("stop here")

    monkeypatch.setattr(models, "load", load)
    for command in (report.report_command, dilemmas.dilemmas_command):
        with pytest.warns(UserWarning, match="another model"):
            assert run(command)[0] == 1
