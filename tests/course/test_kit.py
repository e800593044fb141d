"""The offline kit: what goes in, and an installation that asks no network and refuses another Python."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from valuelab.course import kit
from valuelab.course.lesson import LessonError

VERSION = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A kit of a course of three files, its wheels left out."""
    base = tmp_path / "base"
    for name in ("lib/valuelab/world/model/model.safetensors", "datasets/pairs/pairs.csv", "constraints.txt",
                 ".venv/bin/python", "build/kit/old", ".git/config", "lib/valuelab/__pycache__/a.pyc"):  # fmt: skip
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("x")
    monkeypatch.setattr(kit, "fetch", lambda course, wheels: wheels.mkdir())
    kit.build(base, tmp_path / "kit")
    return tmp_path / "kit"


def test_model_and_data_go_in_and_what_machines_left_behind_stays_out(made):
    found = {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()}
    inside = {"lib/valuelab/world/model/model.safetensors", "datasets/pairs/pairs.csv", "constraints.txt"}
    assert found == {f"course/{name}" for name in inside} | {"install.sh"}


def run(made: Path, says: str) -> tuple[subprocess.CompletedProcess, str]:
    """install.sh with a Python that notes what it is asked; `says` is what it takes itself for."""
    log, fake = made / "log", made / "python"
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> "{log}"\n'
        f'case "$*" in *platform*) echo "{says}";; *venv*) mkdir -p .venv/bin; cp "{fake}" .venv/bin/python;; esac\n'
    )
    fake.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(fake)}
    done = subprocess.run([str(made / "install.sh")], env=environment, capture_output=True, text=True)
    return done, log.read_text()


@pytest.mark.skipif(os.name == "nt", reason="install.sh needs a POSIX shell")
def test_it_installs_from_its_wheels_alone(made):
    done, asked = run(made, f"{VERSION} {platform.system()} {platform.machine()}")
    assert done.returncode == 0 and "make lab" in done.stdout, done.stderr
    assert "--no-index --find-links ../wheels" in asked and "--constraint constraints.txt" in asked
    assert (made / "course/.venv/.ready").is_file(), "make would install once more, from the network"


@pytest.mark.skipif(os.name == "nt", reason="install.sh needs a POSIX shell")
def test_another_python_or_system_is_refused_before_anything_is_written(made):
    done, asked = run(made, "3.9 Plan9 pdp11")
    assert done.returncode == 1 and f"for Python {VERSION}" in done.stdout and "3.9 Plan9" in done.stdout
    assert "pip" not in asked and not (made / "course/.venv").exists()


def test_a_folder_that_holds_something_else_is_never_emptied_and_the_course_never_copied_into_itself(tmp_path):
    base, mine = tmp_path / "base", tmp_path / "mine"
    for folder in (base, mine):
        folder.mkdir()
        (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(LessonError, match="holds something else"):
        kit.build(base, mine)
    with pytest.raises(LessonError, match="lies in the course itself"):
        kit.build(base, base / "kit")
    assert (mine / "thesis.txt").is_file()
