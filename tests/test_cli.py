"""The command line: it says what is wrong and its cure, opens the course, and runs it without writing to it."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from valuelab import cli
from valuelab.course import build
from valuelab.data import own

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


def test_the_doctor_asks_for_every_requirement_of_the_project(monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line for line in project["dependencies"] if not line.startswith("triton")]
    assert cli._requirements() == wanted and set(cli.NAMED) < {line.split(">=")[0] for line in wanted}
    monkeypatch.setattr(cli, "PROJECT", ROOT / "no such file")  # an installed package: from its metadata
    assert {line.split(">")[0].split("<")[0] for line in cli._requirements()} == {r.split(">=")[0] for r in wanted}


def test_the_doctor_names_what_is_missing_and_its_cure(monkeypatch):
    asked = ["torch>=99.0", "numpy>=1.0,<1.1", "no-such-package>=1.0", "rich>=1"]
    monkeypatch.setattr(cli, "_requirements", lambda: asked)
    result = run("doctor")
    assert result.exit_code == 1
    assert "99.0 or newer is needed; run `make setup`" in result.output
    assert "a version below 1.1 is needed; run `make setup`" in result.output
    assert "FIX  no-such-package is missing; run `make setup`" in result.output
    assert "ok   Python 3." in result.output and "ok   1 other packages" in result.output


def test_outside_a_checkout_the_doctors_cure_is_pips(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "PROJECT", tmp_path / "pyproject.toml")
    assert "run `pip install 'torch>=99.0'`" in cli._package("torch>=99.0")[1]


def test_the_doctor_says_that_the_courses_data_are_missing(monkeypatch, tmp_path):
    assert cli._course_data() == (True, "course data")
    monkeypatch.setattr(own, "FOLDER", tmp_path)
    good, line = cli._course_data()
    assert not good and "sources.toml is missing; install the course again" in line


def test_lab_outside_the_course_says_so_in_a_sentence(monkeypatch):
    def nowhere():
        raise build.LessonError("No folder with solutions/ was found.")

    monkeypatch.setattr(build, "root", nowhere)
    result = run("lab")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit) and "No folder with" in result.output


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The package as `pip install` (not editable) builds it, in a folder outside the checkout."""
    pytest.importorskip("setuptools", minversion="77")  # as build-system asks
    out = tmp_path_factory.mktemp("built")
    command = ["setup.py", "-q", "egg_info", "--egg-base", str(out), "build_py", "--build-lib", str(out / "lib")]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.mark.parametrize("command", [("data", "list"), ("data", "show", "course_pairs", "-n", "1"), ("doctor",)])
def test_an_installed_package_brings_its_data(built, command):
    path = os.pathsep.join([str(ROOT / "tests" / "offline"), str(built / "lib")])
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-m", "valuelab", *command], cwd=built, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = {"list": "course_pairs", "show": '"source": "course_pairs"', "doctor": "ok   course data"}
    assert next(text for word, text in wanted.items() if word in command) in done.stdout


def test_what_is_built_is_a_copy_of_the_courses_data(built):
    def files(base):
        found = (p for p in base.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return {p.relative_to(base): p.read_bytes() for p in found}

    assert files(built / "lib" / "valuelab" / "data" / "registry") == files(ROOT / "datasets")


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
