"""Every check accepts the reference, calls the stub "to do", and names each planted mistake."""

import importlib
from pathlib import Path

import pytest

from valuelab.course.build import root
from valuelab.course.check import find, verdict
from valuelab.course.lesson import read

LESSONS = [read(p) for p in sorted((root() / "solutions").glob("[0-9][0-9]_*.py"))]
EXERCISES = [c.exercise for x in LESSONS for c in x.exercises]


def planted(exercise: str):
    lesson = int(exercise.split(".")[0])
    path = Path(__file__).with_name(f"ex_{lesson:02d}.py")
    assert path.is_file(), f"{path.name} is missing: plant at least five mistakes for exercise {exercise}"
    return importlib.import_module(f"mistakes.ex_{lesson:02d}").MISTAKES.get(exercise, [])


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_reference_passes(exercise):
    assert verdict(exercise, find(exercise).reference) is None


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_stub_is_to_do_and_an_empty_body_is_refused(exercise):
    def stub(*args, **kwargs):
        raise NotImplementedError

    def empty(*args, **kwargs):
        pass

    assert verdict(exercise, stub) == ""
    assert verdict(exercise, empty)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_at_least_five_mistakes_are_planted_and_each_is_refused_by_its_own_message(exercise):
    mistakes = planted(exercise)
    assert len(mistakes) >= 5, f"{exercise}: {len(mistakes)} planted mistakes, wanted 5"
    said = {}
    for m in mistakes:
        message = verdict(exercise, m.function)
        assert message, f"{exercise}: the mistake {m.name!r} is accepted"
        assert m.says in message, f"{exercise}, {m.name!r}: expected {m.says!r} in {message!r}"
        said[m.name] = message
    for m in mistakes:
        others = [n for n, message in said.items() if n != m.name and m.says in message]
        assert not others, f"{exercise}: {m.says!r} also answers {others}, so it does not name {m.name!r}"


def test_no_mistakes_are_planted_for_exercises_that_do_not_exist():
    for path in Path(__file__).parent.glob("ex_[0-9][0-9].py"):
        assert set(importlib.import_module(f"mistakes.{path.stem}").MISTAKES) <= set(EXERCISES)
