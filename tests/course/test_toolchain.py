"""The authoring toolchain: what the builder writes, what the checks say, what an interrupted build leaves."""

import ast
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbgrader_course import Course, answers, chosen

from valuelab.course import build, claim, grading, progress, quiz, tracks
from valuelab.course.check import check, verdict
from valuelab.course.checks.lesson_90 import double
from valuelab.course.lesson import LessonError, read
from valuelab.course.run import environment

DEMO = Path(__file__).parent / "demo" / "00_demo.py"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course folder of its own with the demo lesson in it."""
    (tmp_path / "solutions").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    shutil.copy(DEMO, tmp_path / "solutions" / DEMO.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALUELAB_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path


@pytest.fixture(scope="module")
def prebuilt(tmp_path_factory):
    """The demo course, built once for all tests of this file."""
    base = tmp_path_factory.mktemp("prebuilt")
    (base / "solutions").mkdir()
    (base / "pyproject.toml").write_text("")
    (base / "README.md").write_text("# Course\n\n<!-- lessons -->\n<!-- /lessons -->\n\nThe end.\n")
    shutil.copy(DEMO, base / "solutions" / DEMO.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        assert build.main([]) == 0
    return base


@pytest.fixture
def built(course, prebuilt):
    shutil.copytree(prebuilt, course, dirs_exist_ok=True)
    return course


def runs(monkeypatch):
    """Count executions without doing them."""
    seen = []
    real = build.execute
    monkeypatch.setattr(build, "execute", lambda *a: seen.append(a) or real(*a))
    return seen


def rewrite(course, old, new):
    source = course / "solutions/00_demo.py"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))


def files(course):
    names = ("notebooks/00_demo.ipynb", "solutions/00_demo.ipynb", "solutions/INSTRUCTOR.md")
    return [course / name for name in names]


def cells(path):
    return nbformat.read(path, 4).cells


def test_solution_shows_the_librarys_own_source_and_runs(built):
    code = [c for c in cells(built / "solutions/00_demo.ipynb") if c.cell_type == "code"]
    assert "return FACTOR * x" in code[1].source
    assert "from valuelab.course.checks.lesson_90 import FACTOR" in code[1].source
    printed = "".join(o.get("text", "") for c in code[:6] for o in c.outputs)
    assert printed == "✓ 90.1\nholds: twice two is four\n42\n✓ 90.2\n"


def test_student_gets_signature_docstring_and_nothing_else(built):
    student = cells(built / "notebooks/00_demo.ipynb")
    stub = next(c for c in student if c.metadata.get("exercise") == "90.1").source
    assert 'def double(x: float) -> float:\n    """Twice x."""\n    raise NotImplementedError' in stub
    assert "return" not in stub
    assert "x / 2" not in json.dumps(student)
    assert not any(c.get("outputs") for c in student)


def test_untouched_student_notebook_runs_to_its_end(built):
    nb = nbformat.read(built / "notebooks/00_demo.ipynb", 4)
    build.execute(nb, built)
    printed = "".join(o.get("text", "") for c in nb.cells for o in c.get("outputs", []))
    assert "○ 90.1 to do" in printed and "holds: twice two is four" in printed


def test_minutes_are_summed_and_instructor_cells_stay_out_of_both_notebooks(built):
    assert "6 minutes" in cells(built / "notebooks/00_demo.ipynb")[0].source
    for path in files(built)[:2]:
        assert "Only the instructor" not in path.read_text()
    assert "Only the instructor" in files(built)[2].read_text()


def test_building_again_changes_nothing_though_times_and_widget_ids_differ(built, monkeypatch):
    before = [p.read_bytes() for p in files(built)]
    executed = runs(monkeypatch)
    assert build.main([]) == 0 and not executed
    assert build.main(["--execute"]) == 0 and len(executed) == 1
    assert [p.read_bytes() for p in files(built)] == before
    assert build.main(["--check"]) == 0


def test_what_differs_from_run_to_run_is_not_stored(built):
    text = (built / "solutions/00_demo.ipynb").read_text()
    for unwanted in ("model_id", "widget-view", "iopub", "Software", str(built)):
        assert unwanted not in text, unwanted
    stored = cells(built / "solutions/00_demo.ipynb")
    assert not next(c for c in stored if "widget" in c.metadata.get("tags", [])).outputs
    figure = next(c for c in stored if "show(fig" in c.source).outputs
    assert figure[0].data["image/png"] and figure[0].metadata["image/png"]["alt"] == "Twice two is 4.0."
    assert figure[1].data["text/markdown"] == "*Twice two is 4.0.*"


def test_a_change_in_the_library_behind_a_lesson_runs_it_again_and_leaves_the_check_clean(built, monkeypatch):
    executed = runs(monkeypatch)
    real = build.inputs.digest
    monkeypatch.setattr(build.inputs, "digest", lambda *a: real(*a)[::-1])
    assert build.main(["--check"]) == 0  # the stored outputs contradict nothing that was built
    assert build.main([]) == 0 and len(executed) == 1
    assert build.main([]) == 0 and len(executed) == 1
    assert build.main(["--check"]) == 0


def test_the_inputs_of_a_lesson_are_the_modules_it_reaches_and_their_data(tmp_path, monkeypatch):
    package = tmp_path / "valuelab"
    for name, text in {
        "a/__init__.py": "", "a/one.py": "from . import two", "a/two.py": "def f():\n    from ..b.deep import g",
        "b/__init__.py": "", "b/deep.py": "g = 1", "b/data.json": "{}", "unused.py": "",
    }.items():  # fmt: skip
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    monkeypatch.setattr(build.inputs, "PACKAGE", package)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import valuelab.a.one as x")])

    def digest():
        build.inputs._file_digest.cache_clear()
        return build.inputs.digest(nb, 90, tmp_path / "datasets")

    before = digest()
    for name, matters in (("b/deep.py", True), ("b/data.json", True), ("a/two.py", True), ("unused.py", False)):
        path = package / name
        kept = path.read_text()
        path.write_text(kept + "\n# changed")
        assert (digest() != before) == matters, name
        path.write_text(kept)
    assert digest() == before


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("double(2) == 4)", "double(2) == 5)", "DOES NOT HOLD: twice two is four"),
        ("return x / 2", "return x / 4", "✗ 90.2 half of 3 is 1.5, not 0.75"),
        ("print(double(21))", "import warnings; warnings.warn('too small')", "UserWarning: too small"),
    ],
)
def test_a_solution_that_warns_or_whose_claim_or_check_fails_is_not_written(built, capsys, old, new, line):
    before = (built / "solutions/00_demo.ipynb").read_bytes()
    rewrite(built, old, new)
    assert build.main([]) == 1
    assert line in capsys.readouterr().err
    assert (built / "solutions/00_demo.ipynb").read_bytes() == before


def test_a_built_solution_uses_the_embedded_model_whatever_the_shell_says(monkeypatch):
    monkeypatch.setenv("VALUELAB_MODEL", "someone/something")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert "VALUELAB_MODEL" not in environment() and environment()["HF_HUB_OFFLINE"] == "1"
    assert environment(own_model=True)["VALUELAB_MODEL"] == "someone/something"
    assert "HF_HUB_OFFLINE" not in environment(own_model=True)


def test_strict_nbval_accepts_the_solution_and_refuses_a_changed_line(built):
    def nbval():
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"]
        command += [f"--confcutdir={ROOT}", "-p", "conftest", "--nbval", "--nbval-sanitize-with"]
        command += [ROOT / "tests/nbval_sanitize.cfg", "solutions/00_demo.ipynb"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
        return subprocess.run(command, cwd=built, env=env, capture_output=True, text=True)

    path = built / "solutions/00_demo.ipynb"
    path.write_text(path.read_text().replace("Twice two is 4.0.", "Twice two is 4.1."))
    done = nbval()  # a caption's digits do not decide
    assert done.returncode == 0, done.stdout[-3000:]
    path.write_text(path.read_text().replace("42\\n", "43\\n"))
    assert nbval().returncode == 1


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_one_edited_character_in_any_built_file_is_found(built, which, place):
    path = files(built)[which]
    text = path.read_text()
    k = int(place * len(text))
    path.write_text(text[:k] + ("x" if text[k] != "x" else "y") + text[k + 1 :])
    assert build.main(["--check"]) == 1


def test_an_edited_output_of_a_solution_is_found(built, capsys):
    path = built / "solutions/00_demo.ipynb"
    path.write_text(path.read_text().replace("42\\n", "43\\n"))
    assert build.main(["--check"]) == 1
    assert "outputs were edited" in capsys.readouterr().out


def test_a_changed_source_is_out_of_date_until_built(built):
    source = built / "solutions/00_demo.py"
    source.write_text(source.read_text().replace("double(21)", "double(20)"))
    assert build.main(["--check"]) == 1
    assert build.main([]) == 0 and build.main(["--check"]) == 0


def test_the_readmes_table_of_lessons_is_built_and_checked(built):
    path = built / "README.md"
    text = path.read_text()
    assert "| [00 · A demo lesson](notebooks/00_demo.ipynb) | double, halve | 2 | 6 |" in text
    assert text.startswith("# Course\n\n<!-- lessons -->") and text.endswith("<!-- /lessons -->\n\nThe end.\n")
    path.write_text(text.replace("| 6 |", "| 5 |"))
    assert build.main(["--check"]) == 1
    assert build.main([]) == 0 and path.read_text() == text


def test_a_notebook_without_a_source_is_found(built):
    shutil.copy(built / "notebooks/00_demo.ipynb", built / "notebooks/77_orphan.ipynb")
    assert build.main(["--check"]) == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lesson_90.double", "lesson_90.triple", "there is no function"),
        ("minutes=3", "minutes=soon", "cannot be read"),
        ("minutes=3", "minuets=3", "cannot be read"),
        ("minutes=3 stars=2", "stars=2", "says no minutes"),
        ('double = check("90.1", double)', "pass", "exercises"),
        ("### END SOLUTION", "", "END SOLUTION"),
        ("# # 00", "# 00", "first cell"),
    ],
)
def test_a_faulty_source_ends_in_one_sentence_that_names_the_place(course, capsys, old, new, says):
    source = course / "solutions/00_demo.py"
    source.write_text(source.read_text().replace(old, new))
    assert build.main([]) == 1
    message = capsys.readouterr().err
    assert says in message and "00_demo.py" in message and "Traceback" not in message


def test_a_failing_cell_names_lesson_and_error_and_leaves_no_half_written_file(course, capsys):
    source = course / "solutions/00_demo.py"
    source.write_text(source.read_text() + "\n# %%\n1 / 0\n")
    assert build.main([]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not (course / "solutions/00_demo.ipynb").exists()
    assert not list(course.rglob("*.part"))


def test_an_interrupted_build_keeps_the_old_files_whole_and_ends_its_kernel(built):
    before = [p.read_bytes() for p in files(built)]
    note = "import os, pathlib; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    rewrite(built, "print(time.time_ns())", note)
    command = [sys.executable, "-m", "valuelab.course.build"]
    process = subprocess.Popen(command, cwd=built, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    while not (built / "solutions/pid").exists() and time.time() < deadline:
        time.sleep(0.1)
    time.sleep(0.2)
    kernel = int((built / "solutions/pid").read_text())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "build: interrupted; what is on disk is whole.\n")
    assert files(built)[1].read_bytes() == before[1]
    assert not list(built.rglob("*.part"))
    for _ in range(50):
        if not Path(f"/proc/{kernel}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{kernel}").exists()


def test_an_unwritable_place_is_named(course, capsys):
    (course / "notebooks").write_text("a file where the folder should be")
    assert build.main([]) == 1
    assert "cannot write" in capsys.readouterr().err


class Strange:
    """What an answer should never return."""

    def __ne__(self, other):
        raise RuntimeError("no comparing with me")


class TestCheck:
    def test_a_right_answer_is_returned(self, capsys):
        def mine(x):
            return x + x

        assert check("90.1", mine) is mine
        assert capsys.readouterr().out == "✓ 90.1\n"

    def test_a_stub_falls_back_to_the_reference(self, capsys):
        def stub(x):
            raise NotImplementedError

        assert check("90.1", stub) is double
        assert capsys.readouterr().out.startswith("○ 90.1 to do")

    def test_a_mistake_is_named(self, capsys):
        assert check("90.1", lambda x: x * x) is double
        assert capsys.readouterr().out == "✗ 90.1 squared: 3 became 9, twice 3 is 6. The reference runs below\n"

    def test_whatever_the_answer_does_ends_as_a_sentence(self):
        def broken(x):
            return x.upper()

        def other_signature(x, y):
            return 2 * x

        def torchs_own(x):
            raise NotImplementedError("'addmm' is not implemented for 'Half'")

        assert "stops with AttributeError" in verdict("90.1", broken)
        assert "(line: return x.upper())" in verdict("90.1", broken)
        assert "keep the signature" in verdict("90.1", other_signature)
        assert "stops with NotImplementedError" in verdict("90.1", torchs_own)
        assert "cannot be used" in verdict("90.2", lambda x: Strange())
        assert "without calling it" in verdict("90.1", 6)

    def test_a_check_leaves_the_random_states_as_they_were(self):
        import random

        import numpy as np
        import torch

        def noisy(x):
            return 2 * x + 0 * (random.random() + np.random.rand() + float(torch.rand(1)))

        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        wanted = random.random(), np.random.rand(), float(torch.rand(1))
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        assert verdict("90.1", noisy) is None
        assert (random.random(), np.random.rand(), float(torch.rand(1))) == wanted

    def test_under_nbgrader_nothing_falls_back(self, monkeypatch):
        monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
        with pytest.raises(AssertionError, match="squared"):
            check("90.1", lambda x: x * x)

    def test_an_unknown_exercise_is_refused(self):
        with pytest.raises(KeyError, match="no exercise"):
            check("90.9", double)


def test_progress_is_kept_in_the_users_folder_and_done_stays_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VALUELAB_PROGRESS", str(tmp_path / "p" / "progress.json"))
    check("90.1", double)
    check("90.1", lambda x: x * x)
    capsys.readouterr()
    progress()
    assert capsys.readouterr().out == "lesson 90: ✓ 90.1\n"
    (tmp_path / "p" / "progress.json").write_text("{damaged")
    progress()
    assert "Nothing done yet" in capsys.readouterr().out


def test_progress_never_replaces_a_device_by_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("VALUELAB_PROGRESS", os.devnull)
    check("90.1", double)
    assert Path(os.devnull).is_char_device()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(importlib.import_module("valuelab.course.progress"), "read", dict)
    monkeypatch.setenv("VALUELAB_PROGRESS", str(pipe))
    check("90.1", double)
    assert pipe.is_fifo()


def test_claims_print_fixed_text(capsys):
    claim("a is above b", True)
    claim("a is above b", False)
    assert capsys.readouterr().out == "holds: a is above b\nDOES NOT HOLD: a is above b\n"
    import torch

    with pytest.raises(ValueError, match="truth value"):
        claim("all", torch.tensor([True, False]))


def test_quiz_wants_one_right_answer_and_reasons():
    with pytest.raises(ValueError, match="exactly one"):
        quiz("q?", [("a", True, "x"), ("b", True, "y")])
    with pytest.raises(ValueError, match="explanation"):
        quiz("q?", [("a", True, "x"), ("b", False, " ")])


HIDDEN = '# %% exercise="90.1" points=4\nassert double(10 + SEED) == 2 * (10 + SEED), "kept secret"\n'


@pytest.mark.slow
def test_nbgrader_gives_nothing_part_and_full_marks_and_hidden_tests_stay_hidden(built, tmp_path_factory):
    """The whole path with nbgrader itself: build, release, submit, collect, autograde, feedback."""
    secret = tmp_path_factory.mktemp("secret")
    (secret / "00.py").write_text(HIDDEN)
    graded = Course(built / "graded", ["--hidden", str(secret), "--seed", "5"])
    released = graded.release("00_demo")
    assert "Points: 90.1 (2), 90.2 (1), and hidden tests: 4." in released
    for unwanted in ("FACTOR * x", "kept secret", "SEED", "BEGIN"):
        assert unwanted not in released, unwanted
    right = answers(read(built / "solutions/00_demo.py"))
    handed_in = {
        "nothing": {},
        "part": {"90.1": "def double(x):\n    return x * x", "90.2": right["90.2"]},
        "fitted": {"90.1": "def double(x):\n    return 2 * x if x < 12 else 0"},  # to the public check alone
        "full": right,
    }
    graded.submit("00_demo", released, handed_in)
    wanted = {"nothing": 0, "part": 1, "fitted": 2, "full": 7}
    assert graded.mark("00_demo") == {student: (points, 7) for student, points in wanted.items()}
    assert "squared: 3 became 9" in graded.feedback("part", "00_demo")
    assert "kept secret" in graded.feedback("fitted", "00_demo")


def test_make_grade_chooses_a_lesson_by_its_whole_number():
    slugs = ["01_a", "03_b", "11_c", "13_d"]
    assert chosen(slugs, "3") == chosen(slugs, "03") == ["03_b"]
    assert chosen(slugs, "1") == ["01_a"] and chosen(slugs, "") == slugs and chosen(slugs, "4") == []


@pytest.mark.parametrize(
    ("cell", "says"),
    [('exercise="90.7" points=4', "90.1, 90.2"), ('exercise="90.1"', "points=None"), ("points=4", "exercise=''")],
)
def test_a_hidden_test_without_its_exercise_or_points_is_refused(built, tmp_path_factory, capsys, cell, says):
    secret = tmp_path_factory.mktemp("secret")
    (secret / "00.py").write_text(f"# %% {cell}\nassert double(1) == 2\n")
    assert build.main(["--nbgrader", "graded", "--hidden", str(secret)]) == 1
    assert says in capsys.readouterr().err


def test_hidden_tests_inside_the_course_are_refused(built, capsys):
    for folder, says in (("solutions", "outside"), ("nowhere", "no such folder")):
        assert build.main(["--nbgrader", "graded", "--hidden", str(built / folder)]) == 1
        assert says in capsys.readouterr().err
    assert not (built / "graded").exists()


def test_a_seed_deals_the_answers_of_a_quiz_and_changes_nothing_else(built):
    lesson = read(ROOT / "solutions" / "00_start_here.py")
    quizzes = [c.text for c in lesson.cells if c.text.startswith("quiz(")]
    for text in [*quizzes, 'quiz("é?", [("é", True, "a"), ("b", False, "c")])']:
        variants = {grading.dealt(text, str(seed)) for seed in range(20)}
        assert len(variants) > 1 and grading.dealt(text, "3") == grading.dealt(text, "3")
        for variant in variants:
            asked, dealt = (ast.literal_eval(ast.parse(t).body[0].value.args[1]) for t in (text, variant))
            assert sorted(asked) == sorted(dealt) and sorted(text) == sorted(variant)


def test_a_track_runs_what_participants_get_and_says_where_the_machine_takes_too_long(built, monkeypatch, capsys):
    slot = tracks.Slot("00", 10, ("90.1",), say="", spare="")
    monkeypatch.setattr(tracks, "TRACKS", {"short": (slot,)})
    assert slot.seconds == 60
    assert tracks.main([]) == 0
    assert "00_demo: " in (said := capsys.readouterr().out) and "within its time" in said
    for seconds, code in ((60, 0), (61, 1)):
        monkeypatch.setattr("valuelab.course.run.execute", lambda nb, folder, label, took=seconds: took)
        assert tracks.main(["short"]) == code
    assert "short: 61 s in all, TOO LONG: 00_demo" in capsys.readouterr().out
    assert tracks.main(["two weeks"]) == 1
    assert "there are short" in capsys.readouterr().err


def test_a_timetable_adds_up_the_clock_and_the_minutes_of_its_exercises(course):
    slots = [tracks.Slot("00", minutes, ("90.1", "90.2"), say="hello", spare="90.2") for minutes in (65, 20)]
    rows = tracks.timetable(slots, {"00": read(course / "solutions/00_demo.py")})
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 0:00", "| 1:05", "| 1:25"]
    assert "90.1, 90.2 (4 minutes) | hello | 90.2 |" in rows[2]


def test_the_page_for_lecturers_quotes_what_was_measured_or_says_that_nothing_was(tmp_path):
    path = tmp_path / "lessons.json"
    assert "Not measured yet" in build.machine_table(path)[0]
    rows = {"00_demo": {"peak_mb": 512.4, "cpu_seconds": 7.6, "seconds": 9.1},
            "01_demo": {"peak_mb": 700, "cpu_seconds": 20, "seconds": 18}}  # fmt: skip
    versions = {"date": "2026-01-01", "cpu": "a processor", "python": "3.12.1", "torch": "2.13.0"}
    path.write_text(json.dumps({"lessons": rows, **versions}))
    table = "\n".join(build.machine_table(path))
    assert "| 00_demo | 512 | 8 | 9 |" in table and "takes 700 MB" in table and "a processor" in table


def test_reading_an_empty_source_is_refused(tmp_path):
    path = tmp_path / "01_empty.py"
    path.write_text("")
    with pytest.raises(LessonError, match="first cell"):
        read(path)
