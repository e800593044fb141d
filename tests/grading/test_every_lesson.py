"""Every lesson through nbgrader itself: released, submitted, collected, marked, given back. `make grade`."""

import importlib

import pytest
from nbgrader_course import Course, answers, mistakes

from valuelab.course.build import root
from valuelab.course.lesson import read


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Course:
    return Course(tmp_path_factory.mktemp("graded") / "course")


def test_nothing_and_mistakes_earn_nothing_a_part_exactly_its_points_and_all_earns_all(course, slug, record_property):
    lesson = read(root() / "solutions" / f"{slug}.py")
    right, wrong = answers(lesson), mistakes(lesson)
    stars = {c.exercise: c.stars for c in lesson.exercises}
    later = list(right)[1::2]  # leaves what comes before each answer undone
    total, part = sum(stars.values()), sum(stars[exercise] for exercise in later)
    planned = {"untouched": (0, total), "wrong": (0, total), "partial": (part, total), "full": (total, total)}
    record_property("lesson", slug)
    record_property("planned", planned)
    assert 0 < part < total

    released = course.release(slug)
    assert "BEGIN SOLUTION" not in released
    handed_in = {"untouched": {}, "wrong": wrong, "partial": {e: right[e] for e in later}, "full": right}
    course.submit(slug, released, handed_in)
    given = course.mark(slug)
    record_property("given", given)
    assert given == planned

    to_do = {student: [e for e in right if f": {e}: to do" in course.feedback(student, slug)] for student in handed_in}
    undone = [e for e in right if e not in later]
    assert to_do == {"untouched": list(right), "wrong": [], "partial": undone, "full": []}
    planted = importlib.import_module(f"mistakes.ex_{lesson.number:02d}").MISTAKES
    unnamed = [e for e in wrong if planted[e][0].says not in course.feedback("wrong", slug)]
    assert not unnamed, f"the feedback on {unnamed} does not name the mistake"
