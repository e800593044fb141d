"""`valuelab data`: what each command prints, and that failures end with exit code 1."""

from __future__ import annotations

import json

import pytest
from data_damage import write
from data_samples import CASES
from typer.testing import CliRunner

from valuelab.data import names, sources
from valuelab.data import own as own_data
from valuelab.data.cli import app


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("VALUELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("VALUELAB_DATA", raising=False)
    return lambda *args: CliRunner().invoke(app, list(map(str, args)))


@pytest.fixture
def own(tmp_path):
    write(tmp_path / "conva", CASES["conva"].files)
    return tmp_path


def test_list_names_every_dataset_its_state_and_what_is_wanted(run, own):
    done = run("list", "--data", own)
    assert done.exit_code == 0
    assert all(name in done.stdout for name in names())
    assert "local copy" in done.stdout and "normbank" in done.stdout


def test_show_prints_records_as_json(run, own):
    done = run("show", "conva", "-n", 1, "--data", own)
    record = json.loads(done.stdout)
    assert record["source"] == "conva" and record["meta"] == {"part": "question"}
    assert json.loads(run("show", "conva", "-n", 1, "--skip", 1, "--data", own).stdout)["pole"] == 1


def test_stats_counts_records_poles_and_values(run, own):
    out = run("stats", "conva", "--data", own).stdout
    assert "tradition 4" in out and "+1 2, -1 2" in out and "question 1" in out


def test_check_passes_a_good_copy_and_fails_a_damaged_one_with_its_place(run, own):
    assert "✓ conva" in run("check", "--data", own).stdout
    path = own / CASES["conva"].files[0].path.replace("data/", "conva/data/", 1)
    path.write_text("question_1,question_2\nonly one\n", encoding="utf-8")
    done = run("check", "conva", "--data", own)
    assert done.exit_code == 1 and "tradition_hard.csv, line 2" in done.stdout
    done = run("stats", "conva", "--data", own)
    assert done.exit_code == 1 and "tradition_hard.csv, line 2" in done.stderr
    done = run("stats", "conva", "--lenient", "--data", own)
    assert done.exit_code == 0 and "skipped 1 rows" in done.stderr


def test_the_courses_own_data_are_listed_shown_and_checked_without_a_download(run):
    assert "course_preferences" in run("list").stdout
    record = json.loads(run("show", "course_preferences", "-n", 1).stdout)
    assert record["source"] == "course_preferences" and len(record["choices"]) == 2
    assert "200 records read" in run("check", "course_preferences").stdout
    done = run("get", "course_pairs")
    assert done.exit_code == 1 and "comes with the course" in done.stderr


def test_check_compares_checksums(run, tmp_path):
    write(tmp_path / "ealm", CASES["ealm"].files)
    done = run("check", "ealm", "--data", tmp_path)
    assert done.exit_code == 1 and "bytes instead of" in done.stdout


def test_an_unknown_name_lists_the_known_ones(run):
    done = run("show", "nothing")
    assert done.exit_code == 1 and "Choose from: agent_valuebench" in done.stderr
    assert run("get", "conva").exit_code == 1
    assert run("check").exit_code == 1


def test_data_that_are_missing_end_in_a_sentence(run, monkeypatch, tmp_path):
    for cached in (sources.registry, sources.wanted):
        cached.cache_clear()
    monkeypatch.setattr(own_data, "FOLDER", tmp_path)
    try:
        for arguments, told in ((("list",), "sources.toml is neither in"), (("get", "course_pairs"), "is missing")):
            done = run(*arguments)
            assert done.exit_code == 1 and isinstance(done.exception, SystemExit) and told in done.stderr
    finally:
        for cached in (sources.registry, sources.wanted):
            cached.cache_clear()


def test_a_number_of_records_below_one_is_refused(run):
    for option in ("-n", "--skip"):
        done = run("show", "course_pairs", option, -1)
        assert done.exit_code == 2 and "Invalid value" in done.stderr
