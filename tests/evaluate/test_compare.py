"""Two reports side by side, rankings before and after, and a card from the command line."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from valuelab import world as W
from valuelab.evaluate import compare, dilemmas
from valuelab.evaluate.files import ReportError
from valuelab.measure.intervals import Interval


def report(gain, se=0.05, readout="oracle", values=("power",), seed=0):
    def interval(x):
        return Interval(x, x - 1.96 * se, x + 1.96 * se, se, 100, 100, 0.5).as_dict() | {"holm_p": 0.5}

    one = {"comparisons": {"closed form": {"gain": interval(gain), "advantage": interval(gain),
                                           "ability_change": interval(0.0)}},
           "chosen": {"closed form": {"layer": 2}},
           "leakage": {"closed form": {"effects": {"power": interval(gain)}, "holm_p": {}}}}  # fmt: skip
    return {"readout": readout, "model": {"model": "m"}, "seeds": {"sampling": seed}, "options": {}, "versions": {},
            "values": dict.fromkeys(values, one), "score": "chooses", "ability": "facts", "notes": [],
            "made": "today"}  # fmt: skip


def test_a_difference_is_shown_only_where_there_is_one():
    found = {r["point"]: r for r in compare.compare(report(0.1), report(0.6))}
    assert found["gain"]["difference"].low > 0.3 and found["gain"]["holm_p"] < 0.01
    assert found["ability_change"]["difference"].covers(0) and found["ability_change"]["holm_p"] == 1


def test_equal_reports_differ_by_chance_as_often_as_stated():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        a, b = (Interval(x, 0, 0, 0.1, 50, 50) for x in rng.normal(0.3, 0.1, 2))
        hits += compare.difference(a, b).covers(0)
    assert 0.92 <= hits / 1000 <= 0.98


def test_reports_of_different_readouts_or_values_are_refused():
    with pytest.raises(ReportError, match="different things"):
        compare.compare(report(0.1), report(0.1, readout="log-probability"))
    with pytest.raises(ReportError, match="share no value"):
        compare.compare(report(0.1), report(0.1, values=("security",)))


def test_a_point_without_a_spread_is_not_decided():
    empty = Interval(0.2, -np.inf, np.inf, np.inf, 1, 1, None, "one context")
    assert compare.difference(empty, empty).outcome == "no spread"


def run(command, *arguments):
    app = typer.Typer()
    app.command()(command)
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    return found.exit_code, found.stdout, found.stderr


def test_the_command_prints_the_rows_and_what_else_differs(tmp_path):
    paths = []
    for k, gain in enumerate((0.1, 0.6)):
        paths.append(tmp_path / f"{k}.json")
        paths[-1].write_text(json.dumps(report(gain, seed=k)))
    code, said, _ = run(compare.compare_command, *paths)
    assert code == 0 and "+50.0" in said and "seeds, sampling: 0 against 1" in said
    code, _, said = run(compare.compare_command, paths[0], tmp_path / "none.json")
    assert code == 1 and "Cannot read" in said and said.count("\n") == 1
    paths[1].write_text("[]")
    code, _, said = run(compare.compare_command, *paths)
    assert code == 1 and "is no report" in said


def test_a_card_is_written_from_a_report(tmp_path):
    source, out = tmp_path / "r.json", tmp_path / "deep" / "CARD.md"
    source.write_text(json.dumps(report(0.6)))
    code, _, said = run(compare.card_command, source, "--method", "closed form", "--out", out)
    assert code == 0, said
    assert "steered towards power" in out.read_text(encoding="utf-8")
    code, _, said = run(compare.card_command, source, "--method", "magic", "--out", out)
    assert code == 1 and "holds no 'magic'" in said and "closed form" in said


# ----------------------------------------------------------------------------------- rankings


def test_a_ranking_before_and_after_names_the_value_that_moved():
    asked = W.situations("held_out", 300, seed=4)

    def choices(lift):
        rng = np.random.default_rng(0)
        out = []
        for s in asked:
            gap = lift * (s.first.weights[2] - s.second.weights[2])
            act = s.first if rng.random() < 1 / (1 + np.exp(-gap)) else s.second
            out.append(W.parse(f"I would {act.base}.", s.offered))
        return dilemmas.world_battles(asked, out)

    ids = [s.context_id for s in asked]
    moved = dilemmas.rank_change(choices(0.0), choices(4.0), ids)
    assert moved.moved()[0] == "hedonism" and moved.change[2] == max(moved.change)
    assert dilemmas.rank_change(choices(0.0), choices(0.0), ids).moved() == []


def test_dilemmas_that_only_one_model_answered_are_left_out():
    asked = W.situations("held_out", 6, seed=4)
    said = [W.parse(f"I would {s.first.base}.", s.offered) for s in asked]
    silent = [W.parse("", s.offered) for s in asked[:4]] + said[4:]
    ids = [s.context_id for s in asked]
    found = dilemmas.rank_change(*(dilemmas.world_battles(asked, r) for r in (said, silent)), ids, draws=20)
    assert found.before.dilemmas == 2 and found.before.dropped == 4
    with pytest.raises(ValueError, match="0 dilemmas"):
        dilemmas.rank_change(*(dilemmas.world_battles(asked, r) for r in (said, silent[:4] + silent[:2])), ids)
