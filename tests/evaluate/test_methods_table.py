"""Every way to align answers through one door, leaves the model as it was, and its table survives a kill."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from valuelab import models, weights
from valuelab import world as W
from valuelab.evaluate import methods, table
from valuelab.evaluate.files import ReportError
from valuelab.evaluate.methods import METHODS, Budget, Kit
from valuelab.values import VALUES

TINY = Budget(situations=8, layers=1, texts=24, steps=2, dpo_steps=2, rl_steps=1, distil_steps=2, draws=2, rehearsals=2)
SMALL = table.Protocol(items=8, repeats=1, others=2, facts=4, doses=(1,), tokens=16)
FEW = (table.PLAIN, "instruction", table.CHANCE)


@pytest.fixture(scope="module")
def lm():
    return models.load(models.EMBEDDED)


@pytest.fixture(scope="module")
def kit(lm):
    return Kit(lm, "security", budget=TINY)


@pytest.fixture(scope="module")
def asked():
    return [s.text for s in W.situations("held_out", 3, 5, value="security")]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_answers_for_both_poles_and_leaves_the_model_as_it_was(kit, asked, method):
    before = {n: w.clone() for n, w in weights.weights_of(kit.lm).items()}
    for sign in (1, -1):
        made = kit.build(method, sign)
        said = made.answer(asked, tokens=12)
        assert len(said) == len(asked) and all(isinstance(r, str) for r in said)
        assert said == made.answer(asked, tokens=12)
        assert made.seconds >= 0 and made.held >= 0
    assert all(torch.equal(before[n], w) for n, w in weights.weights_of(kit.lm).items())
    assert not any(b._forward_hooks for b in kit.lm.blocks)


def test_a_method_acts_differently_on_its_two_poles(kit):
    asked = [s.text for s in W.situations("held_out", 12, 6, value="security")]
    for method in ("instruction", "few-shot", "additive", "distilled", "best-of-n", "self-rehearsal"):
        said = [kit.build(method, sign).answer(asked, tokens=16) for sign in (1, -1)]
        assert said[0] != said[1], method


def test_the_adversary_has_the_last_word_of_the_system_line(kit):
    made = kit.build("instruction", 1)
    text = made.prompt("Would you rest?", "You never rest.")
    assert text.index(made.turns("Would you rest?")[0]) < text.index("You never rest.") < text.index("Would you rest?")


def test_seconds_of_shared_parts_count_for_every_method_that_needs_them(lm):
    kit = Kit(lm, "power", budget=TINY)
    first, second = kit.build("additive", 1), kit.build("random direction", 1)
    assert second.seconds >= kit.seconds["vector"] and first.seconds >= kit.seconds["vector"]
    assert kit.build("unsteered", 1).seconds < kit.seconds["vector"]


def test_an_empty_reply_is_the_worst_for_either_pole(kit, asked):
    for sign in (1, -1):
        score = kit.reward(sign)(asked, ["I would rest.", "", "I would work."])
        assert int(score.argmin()) == 1 and torch.isfinite(score).all()


def test_the_rule_about_the_action_in_question_is_found(kit):
    act = next(a for a in W.ACTIVITIES if a.value == "security")
    rules = kit.rules(1)
    best = rules[methods.rank_rules(f"Would you {act.base} or rest?", rules)[0]]
    assert act.base in best or act.gerund in best


def test_a_kit_refuses_another_model_and_an_unknown_pole(lm, kit):
    with pytest.raises(ValueError, match="not the embedded model"):
        Kit(weights.clone(lm), "power")
    with pytest.raises(ValueError, match="sign=0"):
        kit.build("additive", 0)


# ------------------------------------------------------------------------------------ the table


def make(folder, **options):
    return table.table(folder, values=["security"], methods=FEW, protocol=SMALL, budget=TINY, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("table")
    make(out)
    return out


def test_the_table_holds_a_row_for_each_method_and_every_column(folder):
    whole = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert [r["method"] for r in whole["rows"]] == list(FEW)
    lines = (folder / "table.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(FEW) and set(table.FLAT) < set(lines[0].split(","))
    assert (folder / "table.png").stat().st_size > 5000
    kept = table.plot(whole["rows"]).axes[2]
    assert [list(x.get_xdata()) for x in kept.lines if x.get_linestyle() == ":"] == [[100, 100]]  # all of the gain left
    plain = whole["rows"][0]
    assert plain["gain"]["estimate"] == 0 and plain["gain"].get("holm_p") is None
    for row in whole["rows"][1:]:
        assert row["gain"]["holm_p"] >= row["gain"]["p"] and set(row["by_value"]) == {"security"}
        assert 0 <= row["harmonic"] <= 1 and row["tokens_per_second"] > 0


def test_a_cell_measured_again_gives_the_same_scores(folder, lm):
    stored = json.loads(table.cell_path(folder, "security", "instruction").read_text(encoding="utf-8"))
    again = table.measure_cell(Kit(lm, "security", 0, TINY), "instruction", SMALL)
    for key in ("own_for", "own_against", "others", "doses", "facts", "grammatical"):
        assert again[key] == stored[key], key


def test_a_killed_command_goes_on_and_measures_nothing_twice(tmp_path, monkeypatch):
    real, seen = table.measure_cell, []

    def killed(kit, method, p):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(method)
        return real(kit, method, p)

    monkeypatch.setattr(table, "measure_cell", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    kept = [p.name for p in (tmp_path / "cells" / "security").iterdir()]
    assert kept == ["unsteered.json"] and not (tmp_path / "table.json").exists()
    monkeypatch.setattr(table, "measure_cell", lambda kit, method, p: seen.append(method) or real(kit, method, p))
    make(tmp_path)
    assert seen == list(FEW)


def test_cells_of_another_protocol_and_damaged_ones_are_told(folder, tmp_path, lm):
    card = table.card_of(lm, table.Protocol(items=9), TINY)
    with pytest.raises(ReportError, match="another protocol"):
        table.finished(table.cell_path(folder, "security", "instruction"), card)
    broken = tmp_path / "x.json"
    broken.write_text("{")
    with pytest.raises(ReportError, match="damaged"):
        table.finished(broken, card)
    with pytest.raises(ReportError, match="1 cells are missing"):
        table.read_cells(folder, ["security"], [*FEW, "LoRA"], table.card_of(lm, SMALL, TINY))


def test_a_full_disk_and_bad_options_end_in_one_clear_line(tmp_path, monkeypatch):
    import typer

    app = typer.Typer()
    app.command()(table.table_command)

    def run(*arguments):
        found = CliRunner().invoke(app, [str(a) for a in arguments])
        return found.exit_code, found.stderr

    code, said = run("--out", tmp_path, "--methods", "magic")
    assert code == 1 and "'magic' is unknown" in said and said.count("\n") == 1
    code, said = run("--out", tmp_path, "--items", 3)
    assert code == 1 and "8 or more" in said

    def full(path, text):
        raise ReportError(f"Cannot write {path} (No space left on device); free some space.")

    monkeypatch.setattr(table, "write_whole", full)
    monkeypatch.setattr(table, "measure_cell", lambda kit, method, p: {})
    code, said = run("--out", tmp_path, "--values", "power", "--processes", 1)
    assert code == 1 and "No space left" in said and "Traceback" not in said


def test_the_table_that_is_kept_holds_all_methods_and_values_and_took_less_than_half_an_hour_on_two_cores():
    whole = table.stored()
    record = whole["record"]
    assert record["values"] == list(VALUES) and [r["method"] for r in whole["rows"]] == list(METHODS)
    assert record["machine"]["processors"] == 2
    # the second figure counts cells from before an interruption, too, and one process stands on each core
    assert max(record["seconds_of_this_command"], record["seconds_of_cells"] / 2) <= 30 * 60


def test_a_missing_table_says_how_to_write_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="valuelab table"):
        table.stored(tmp_path / "none.json")


def test_side_effects_of_chance_alone_come_out_near_nothing_and_planted_ones_at_their_size():
    rng = np.random.default_rng(0)
    meant = np.eye(10, dtype=bool)
    se = np.full((10, 10), 0.1)
    chance = [table.side_effect_size(rng.normal(0, 0.1, (10, 10)), se, meant) for _ in range(50)]
    planted = [table.side_effect_size(0.2 + rng.normal(0, 0.1, (10, 10)), se, meant) for _ in range(50)]
    assert np.median(chance) < 0.03 and np.mean(planted) == pytest.approx(0.2, abs=0.02)


def test_opposing_lines_say_that_the_value_means_little(lm):
    lines = table.opposing_lines("power", 2, 3, 0)
    assert len(lines) == 3 and all(line.count(".") == 2 for line in lines)
    assert table.opposing_lines("power", 0, 3, 0) == ["", "", ""]
    assert set(VALUES) == set(table.VALUES)
