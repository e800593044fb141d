"""The command line: it says what is wrong and its cure, opens the course, and runs it without writing to it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from valuelab import cli
from valuelab.course import build

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "tests" / "course" / "demo" / "00_demo.py"


def run(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "solutions").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    shutil.copy(DEMO, tmp_path / "solutions")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_doctors_floors_are_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, floor in cli.FLOORS.items():
        assert f"{name}>={floor}" in project["dependencies"]


def test_the_doctor_names_what_is_missing_and_its_cure(monkeypatch):
    monkeypatch.setitem(cli.FLOORS, "torch", "99.0")
    monkeypatch.setitem(cli.FLOORS, "no-such-package", "1.0")
    result = run("doctor")
    assert result.exit_code == 1
    assert "99.0 or newer is needed; run `make setup`" in result.output
    assert "FIX  no-such-package is missing; run `make setup`" in result.output
    assert "ok   Python 3." in result.output


@pytest.mark.parametrize(
    ("arguments", "display", "wanted", "unwanted"),
    [
        (("--browser", "none"), ":0", "--no-browser", "--browser="),
        ((), "", "--no-browser", "--browser="),
        ((), ":0", "--port=8888", "--no-browser"),
        (("--browser", "firefox", "--port", "9999"), "", "--browser=firefox", "--no-browser"),
    ],
)
def test_lab_opens_the_first_lesson_and_prints_a_link_where_there_is_no_screen(
    monkeypatch, arguments, display, wanted, unwanted
):
    seen = []
    monkeypatch.setattr(subprocess, "call", lambda command, **_: seen.append(command) or 0)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run("lab", *arguments).exit_code == 0
    [command] = seen
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in command
    assert wanted in command and not any(c.startswith(unwanted) for c in command)


def test_course_runs_a_solved_lesson_and_writes_nothing_in_the_course(course):
    assert build.main([]) == 0
    files = {p: p.read_bytes() for p in course.rglob("*") if p.is_file()}
    result = run("course", "--no-report")
    assert result.exit_code == 0, result.output
    assert "00 · A demo lesson" in result.output and "ok" in result.output
    assert {p: p.read_bytes() for p in course.rglob("*") if p.is_file()} == files


def test_course_ends_non_zero_and_names_the_lesson_that_fails_or_says_something_else(course):
    source = course / "solutions" / "00_demo.py"
    assert build.main([]) == 0
    source.write_text(source.read_text().replace("double(21)", "double(20)"))
    assert cli._run_lesson(build.read(source), course) == (False, "printed results differ from the stored ones")
    (course / "solutions" / "00_demo.ipynb").unlink()
    good, note = cli._run_lesson(build.read(source), course)
    assert not good and "make build" in note
    source.write_text(source.read_text().replace("double(20)", "1 / 0"))
    result = run("course", "--no-report")
    assert result.exit_code == 1 and "ZeroDivisionError" in result.output


def test_course_refuses_a_lesson_that_does_not_exist(course):
    result = run("course", "77")
    assert result.exit_code == 1 and "Traceback" not in result.output
