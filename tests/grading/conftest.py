"""`--lesson` chooses one lesson, and a table of the points stands at the end."""

import pytest
from nbgrader_course import chosen

from valuelab.course.build import root

SLUGS = [p.stem for p in sorted((root() / "solutions").glob("[0-9][0-9]_*.py"))]


def pytest_addoption(parser):
    parser.addoption("--lesson", default="", help="number of the one lesson to grade; all if none is given")


def pytest_generate_tests(metafunc):
    metafunc.parametrize("slug", chosen(SLUGS, metafunc.config.getoption("lesson", "")))


def pytest_configure(config):
    wanted = config.getoption("lesson", "")
    if not chosen(SLUGS, wanted):
        raise pytest.UsageError(f"there is no lesson {wanted}; there are {', '.join(SLUGS)}")


def pytest_terminal_summary(terminalreporter):
    """Points given to each student and, where the plan says otherwise, the planned ones."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    rows = [dict(r.user_properties) | {"ok": r.passed, "seconds": r.duration} for r in reports if r.when == "call"]
    for row in sorted(rows, key=lambda row: row["lesson"]):
        points = [f"{student} {_said(row, student)}" for student in row["planned"]]
        mark = "as planned" if row["ok"] else "NOT AS PLANNED"
        terminalreporter.write_line(f"{row['lesson']:<40}{'   '.join(points)}   {row['seconds']:.0f} s   {mark}")


def _said(row: dict, student: str) -> str:
    given, planned = row.get("given", {}).get(student), row["planned"][student]
    said = "-" if given is None else f"{given[0]:g}/{given[1]:g}"
    return said if given and tuple(given) == tuple(planned) else f"{said} (planned {planned[0]:g}/{planned[1]:g})"
