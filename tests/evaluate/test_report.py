"""The main job, from the command to the files, on models of every kind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from valuelab import models
from valuelab.data import pairs as contrast
from valuelab.evaluate import bench, chain, metrics, page, report
from valuelab.evaluate.files import ReportError
from valuelab.models import ModelError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "models" / "tinystories-656k"


def command():
    import typer

    app = typer.Typer()
    app.command("report")(report.report_command)
    return app


def run(*arguments):
    """(exit code, standard error) of the command, in this process."""
    found = CliRunner().invoke(command(), [str(a) for a in arguments])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code, found.stderr


@pytest.fixture(scope="module")
def base_report(base_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "deep" / "card.html"
    code, _ = run("--values", "tradition, security", "--model", base_model, "--out", out,
                  "--items", 8, "--quiet")  # fmt: skip
    assert code == 0
    return out


def test_the_report_is_one_page_that_needs_nothing_else_and_a_json_beside_it(base_report, parsed):
    assert sorted(p.name for p in base_report.parent.iterdir()) == ["card.html", "card.json"]
    seen = parsed(base_report.read_text(encoding="utf-8"))
    images = [a for tag, a in seen if tag == "img"]
    assert len(images) == 8 and all(len(a["alt"]) > 20 for a in images)
    assert not any(a.get("href", "#").startswith("http") for _, a in seen)
    levels = [int(tag[1]) for tag, _ in seen if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_the_json_holds_versions_seeds_seconds_and_every_figure(base_report):
    found = json.loads(base_report.with_suffix(".json").read_text(encoding="utf-8"))
    assert found["readout"] == "log-probability" and set(found["values"]) == {"tradition", "security"}
    assert {"torch", "transformers", "python"} <= set(found["versions"])
    assert found["seconds"]["total"] > 0 and found["seeds"]["random directions"] == 4
    one = found["values"]["security"]
    for method in chain.METHODS:
        best = one["comparisons"][method]["advantage"]
        assert best["low"] <= best["estimate"] <= best["high"] and best["clusters"] > 1
        assert best["holm_p"] >= best["p"]
        assert len(one["leakage"][method]["effects"]) == 10
    assert one["conditions"]["unsteered"]["fluency"]["perplexity"] > 1


def test_a_model_of_random_weights_is_not_said_to_have_been_steered(base_report):
    found = json.loads(base_report.with_suffix(".json").read_text(encoding="utf-8"))
    assert not any(page.shown(c) for v in found["values"].values() for c in v["comparisons"].values())
    text = base_report.read_text(encoding="utf-8")
    assert "steering not shown" in text and "did not show an effect" in text


def test_a_model_without_chat_template_is_told_in_the_page(base_report, chat_model):
    assert "has no chat template" in base_report.read_text(encoding="utf-8")
    assert report.notes(models.load(chat_model)) == []


def test_the_same_seed_gives_the_same_numbers(base_report, base_model):
    again = report.measure(["security"], model=str(base_model), items=8)
    before = json.loads(base_report.with_suffix(".json").read_text(encoding="utf-8"))
    for part in ("probe", "chosen", "conditions", "leakage", "examples"):
        assert again["values"]["security"][part] == before["values"]["security"][part], part


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--values", "kindness"], "kindness"),
        (["--values", " , "], "--values is empty"),
        (["--items", "3"], "8 or more"),
        (["--model", "./no/such/folder"], "no folder"),
        (["--out", os.devnull + "/x.html"], "--out"),
        (["--out", "card.json"], ".html"),
    ],
)
def test_bad_input_ends_in_one_clear_line_and_no_file(tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    code, said = run(*arguments, "--quiet")
    assert code == 1 and told in said and said.count("\n") == 1 and "Traceback" not in said
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_model_that_never_says_a_word_is_refused(silent_model, tmp_path):
    code, said = run("--values", "power", "--model", silent_model, "--items", 8, "--quiet",
                     "--out", tmp_path / "r.html")  # fmt: skip
    assert code == 1 and "answers nothing" in said and "end token" in said
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_the_old_files_as_they_were(chat_model, tmp_path):
    out = tmp_path / "r.html"
    out.write_text("old page")
    code = (
        "import signal, sys; from valuelab.evaluate import report; import typer;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "sys.argv[0] = 'report'; typer.run(report.report_command)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, "--values", "power", "--model", str(chat_model), "--out",
         str(out)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "lib")},
    )  # fmt: skip
    said = child.stderr.readline()  # the first stage: the work has begun
    child.send_signal(signal.SIGINT)
    said += child.communicate(timeout=120)[1]
    assert child.returncode == report.INTERRUPTED and "interrupted" in said
    assert "Traceback" not in said
    assert out.read_text() == "old page" and [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_values_finished_before_a_kill_are_kept_and_reused(base_model, base_report, tmp_path, monkeypatch):
    out, seen, real = tmp_path / "r.html", [], chain.one_value

    def killed(lm, bench, value, *rest):
        if value == "security":
            raise KeyboardInterrupt
        return real(lm, bench, value, *rest)

    asked = ("--values", "tradition,security", "--model", base_model, "--out", out, "--items", 8, "--quiet")
    monkeypatch.setattr(chain, "one_value", killed)
    code, said = run(*asked)
    assert code == report.INTERRUPTED and "goes on from them" in said
    assert [p.name for p in tmp_path.iterdir()] == ["r.part.json"]

    def counted(lm, bench, value, *rest):
        seen.append(value)
        return real(lm, bench, value, *rest)

    def full(path, text):
        if path.suffix == ".html":
            raise ReportError(f"Cannot write {path} (No space left on device); free some space.")
        write_whole(path, text)

    write_whole = report.write_whole
    monkeypatch.setattr(chain, "one_value", counted)
    monkeypatch.setattr(report, "write_whole", full)
    code, said = run(*asked)
    assert code == 1 and "No space left" in said and seen == ["security"] and not out.exists()
    monkeypatch.setattr(report, "write_whole", write_whole)
    code, _ = run(*asked)
    assert code == 0 and seen == ["security"] and not (tmp_path / "r.part.json").exists()
    found, whole = (json.loads(p.with_suffix(".json").read_text(encoding="utf-8")) for p in (out, base_report))
    assert found["values"] == whole["values"]


def test_a_disk_that_fills_up_half_way_keeps_the_values_before(base_model, tmp_path, monkeypatch):
    write_whole = report.write_whole

    def full(path, text):
        if "security" in text:
            raise ReportError(f"Cannot write {path} (No space left on device); free some space.")
        write_whole(path, text)

    monkeypatch.setattr(report, "write_whole", full)
    monkeypatch.setattr(chain, "one_value", lambda *_: {"comparisons": {}})
    code, said = run("--values", "tradition,security", "--model", base_model, "--out", tmp_path / "r.html", "--quiet")
    assert code == 1 and "No space left" in said and said.count("\n") == 1
    kept = json.loads((tmp_path / "r.part.json").read_text(encoding="utf-8"))
    assert list(kept["values"]) == ["tradition"]


def test_parts_of_another_run_are_not_reused(tmp_path):
    parts = tmp_path / "r.part.json"
    parts.write_text(json.dumps({"card": {"seed": 1}, "values": {"power": {}}}))
    assert report.finished_values(parts, {"seed": 1}) == {"power": {}}
    assert report.finished_values(parts, {"seed": 2}) == {}
    parts.write_text("{")
    assert report.finished_values(parts, {"seed": 1}) == {} and report.finished_values(None, {}) == {}


def test_a_real_pretrained_model_runs_to_the_end(tmp_path):
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED.name} is not beside the repository; CI needs it.")
        pytest.skip("shared/models/tinystories-656k is not beside the repository")
    out = tmp_path / "r.html"
    code, said = run("--values", "benevolence", "--model", SHARED, "--items", 12, "--out", out, "--quiet")
    assert code == 0, said
    found = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    fluency = found["values"]["benevolence"]["conditions"]["unsteered"]["fluency"]
    assert fluency["perplexity"] < 200 and fluency["empty"] == 0  # it writes English, more or less


# --------------------------------------------------------------------- parts of the pairs bench


@pytest.fixture(scope="module")
def pairs_bench(chat_model):
    return bench.PairsBench(models.load(chat_model), items=12, seed=0)


def test_margins_are_per_token_differences_of_the_two_members(pairs_bench):
    lm, wanted = pairs_bench.lm, pairs_bench.pairs("power", "test")[:3]
    margin, _ = pairs_bench.margins(wanted)
    for pair, found in zip(wanted, margin, strict=True):
        head = bench.common_words(pair.positive, pair.negative)
        scores = []
        for text in (pair.positive, pair.negative):
            tail = text[len(head):]
            whole, starts = models.join(lm, [head or pairs_bench.head], [tail])
            total = models.log_probs(lm, [head or pairs_bench.head], [tail])
            scores.append(float(total) / (len(whole[0]) - starts[0]))
        assert found == pytest.approx(scores[0] - scores[1], abs=1e-4)


def test_the_two_members_of_a_pair_are_read_as_neighbours(pairs_bench):
    wanted = [p for u in ("power", "security") for p in pairs_bench.pairs(u, "test")]
    texts = list(dict.fromkeys(t for p in wanted for t in (p.positive, p.negative)))
    place = {t: k for k, t in enumerate(texts)}
    assert all(place[p.positive] // 2 == place[p.negative] // 2 for p in wanted)


def test_a_part_of_the_pairs_is_about_as_large_as_asked_and_as_balanced_as_the_whole(chat_model):
    lm = models.load(chat_model)
    for items, n in ((8, 12), (30, 36), (None, 54)):
        found = bench.PairsBench(lm, items=items, seed=0).pairs("power", "test")
        texts, labels, contexts = contrast.unpack(found)
        assert len(found) == n and len(set(contexts)) >= 6
        assert {p.form for p in found} == set(contrast.FORMS)
        counts = Counter()
        for text, label in zip(texts, labels, strict=True):
            counts.update({word: 2 * label - 1 for word in re.findall(r"\w+", text.lower())})
        assert not any(counts.values()), "some word stands in more texts for the value than against it"


def test_the_contexts_of_a_bench_are_the_units_of_its_answers(pairs_bench):
    assert pairs_bench.contexts("power").tolist() == [p.context_id for p in pairs_bench.pairs("power", "test")]
    assert (pairs_bench.ask("power").contexts == pairs_bench.contexts("power")).all()
    world = bench.PlantedBench(models.load(models.EMBEDDED), items=12, seed=0)
    assert (world.ask("power").contexts == world.contexts("power")).all() and len(set(world.contexts("power"))) == 12


def test_endings_of_plain_facts_are_right_as_often_as_wrong():
    """So a model that hears only the endings gets half, whichever it likes."""
    heads, rights, wrongs = zip(*bench.PLAIN_FACTS, strict=True)
    assert len(set(heads)) == len(heads)
    assert Counter(zip(rights, wrongs, strict=True)) == Counter(zip(wrongs, rights, strict=True))
    assert all(right != wrong for _, right, wrong in bench.PLAIN_FACTS)


def test_a_model_that_keeps_every_answer_is_shown_to_lose_less_than_the_margin():
    right = (np.arange(len(bench.PLAIN_FACTS)) % 4 > 0).astype(float)
    assert metrics.retention(right, right, margin=chain.MARGIN).change.low > -chain.MARGIN


def test_contexts_of_choosing_and_reporting_are_disjoint(pairs_bench):
    names = [{p.context_id for p in pairs_bench.pairs("power", s)} for s in ("train", "dev", "test")]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    assert len(names[2]) >= 6


def test_fluency_scores_the_reply_to_the_token(pairs_bench):
    lm = pairs_bench.lm
    options = {"temperature": 1.0, "seed": 0, "batch_size": 4}
    replies, tokens = bench.write_replies(lm, pairs_bench.openings(4), 12, **options)
    found = bench.fluency(lm, replies, tokens)
    total = count = 0.0
    for head, tail in tokens:
        ids, mask = models.pad(lm, [head + tail], "right")
        total += float(models.token_log_probs(lm, ids, mask, len(head)).detach().sum())
        count += len(tail)
    assert found["perplexity"] == pytest.approx(np.exp(-total / count), rel=1e-4)


def test_replies_too_short_for_a_figure_have_none(pairs_bench):
    found = bench.fluency(pairs_bench.lm, ["word", ""], [([1], []), ([1], [])])
    assert all(np.isnan(found[k]) for k in ("distinct_2", "repetition", "perplexity")) and found["words"] == 0.5


def test_silence_is_refused_only_where_every_reply_is_empty(pairs_bench):
    bench.refuse_silence(pairs_bench.lm, ["", "a word"])
    with pytest.raises(ReportError, match="answers nothing: all 2"):
        bench.refuse_silence(pairs_bench.lm, ["", " "])


def test_common_words_stop_at_the_first_difference():
    assert bench.common_words("At home, I did a.", "At home, I did b.") == "At home, I did"
    assert bench.common_words("One", "Two") == ""


def test_large_models_try_a_few_layers_spread_over_their_depth():
    assert chain.layers_to_try(4) == [0, 1, 2, 3]
    assert chain.layers_to_try(32) == [0, 6, 12, 19, 25, 31]


def test_a_missing_model_is_one_sentence():
    with pytest.raises(ModelError):
        report.measure(["power"], model="./nowhere/at/all")
