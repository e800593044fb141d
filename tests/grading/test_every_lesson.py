"""Every lesson through nbgrader itself: released, submitted, collected, marked, given back. `make grade`."""

import pytest
from nbgrader_course import Course, answers

from valuelab.course.build import root
from valuelab.course.lesson import read

SOURCES = {p.stem: p for p in sorted((root() / "solutions").glob("[0-9][0-9]_*.py"))}


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Course:
    return Course(tmp_path_factory.mktemp("graded") / "course")


@pytest.mark.parametrize("slug", SOURCES)
def test_nothing_earns_nothing_a_part_exactly_its_points_and_all_earns_all(course, slug):
    right = answers(SOURCES[slug])
    stars = {c.exercise: c.stars for c in read(SOURCES[slug]).exercises}
    later = list(right)[1::2]  # leaves what comes before each answer undone
    released = course.release(slug)
    assert "BEGIN SOLUTION" not in released
    for student, done in {"untouched": [], "partial": later, "full": list(right)}.items():
        course.submit(student, slug, released, {exercise: right[exercise] for exercise in done})
    total, part = sum(stars.values()), sum(stars[exercise] for exercise in later)
    assert 0 < part < total
    assert course.mark(slug) == {"untouched": (0, total), "partial": (part, total), "full": (total, total)}
    first = next(iter(right))
    for student in ("untouched", "partial"):
        assert f"{first}: to do" in course.feedback(student, slug)
    assert "to do" not in course.feedback("full", slug)
