"""Every lesson has every part, in order: read from its source, nothing is run."""

import ast
import re

import pytest
from nbconvert.filters import markdown2html

from valuelab.course import site
from valuelab.course.build import notebook, root
from valuelab.course.lesson import lookup, names_used, read
from valuelab.course.tracks import TRACKS

LESSONS = {p.stem: read(p) for p in sorted((root() / "solutions").glob("[0-9][0-9]_*.py"))}
each_lesson = pytest.mark.parametrize("slug", LESSONS)

PARTS = ("What you will be able to do", "What this builds on", "A control that must fail", "What we may claim",
         "Questions", "Limits", "Links")  # fmt: skip


def headings(lesson) -> list[tuple[str, int]]:
    """Second-level headings with the number of their cell."""
    return [
        (line[3:].strip(), i)
        for i, c in enumerate(lesson.cells)
        if c.kind == "markdown" and "instructor" not in c.tags
        for line in c.text.splitlines()
        if line.startswith("## ")
    ]


def part(lesson, name: str) -> tuple[str, list]:
    """The text and the code cells under a heading, up to the next one."""
    found = headings(lesson)
    k = next(k for k, (title, _) in enumerate(found) if title == name)
    start = found[k][1]
    stop = next((i for _, i in found[k + 1 :] if i > start), len(lesson.cells))
    cells = [c for c in lesson.cells[start:stop] if "instructor" not in c.tags]
    text = "\n\n".join(c.text for c in cells if c.kind == "markdown").split(f"## {name}", 1)[1]
    return text.split("\n## ")[0], [c for c in cells if c.kind != "markdown"]


def calls(lesson, name: str) -> list[ast.Call]:
    code = [c.text for c in lesson.cells if c.kind in ("code", "check") and not re.search(r"^[%!]", c.text, re.M)]
    nodes = [n for text in code for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    return [n for n in nodes if isinstance(n.func, ast.Name) and n.func.id == name]


@each_lesson
def test_the_parts_stand_in_order(slug):
    found = [title for title, _ in headings(LESSONS[slug]) if title in PARTS]
    assert found == list(PARTS)


@each_lesson
def test_the_head_has_number_title_and_minutes(slug):
    lesson = LESSONS[slug]
    assert re.match(rf"{slug[:2]} · \w", lesson.title)
    assert "{{minutes}}" in lesson.cells[0].text and "{{minutes}} minutes" not in lesson.cells[0].text
    assert lesson.minutes > 0


@each_lesson
def test_a_figure_comes_before_any_theory(slug):
    cells = LESSONS[slug].cells
    first = next(i for i, c in enumerate(cells) if "show(" in c.text and c.kind == "code")
    before = cells[:first]
    assert not [c.place for c in before[1:] if c.minutes or c.kind == "exercise"]
    allowed = {"What you will be able to do", "What this builds on"}
    assert {title for title, i in headings(LESSONS[slug]) if i < first} <= allowed


@each_lesson
def test_goals_are_three_to_five_verbs(slug):
    text, _ = part(LESSONS[slug], "What you will be able to do")
    goals = re.findall(r"^[-*\d.]+ +(\S+)", text.split("\n## ")[0], re.M)
    assert 3 <= len(goals) <= 5, goals
    assert all(g.startswith("**") for g in goals), f"begin each goal with its **verb**: {goals}"


@each_lesson
def test_every_exercise_has_its_number_two_folded_hints_and_what_you_should_see(slug):
    lesson = LESSONS[slug]
    wanted = [f"{lesson.number}.{k + 1}" for k in range(len(lesson.exercises))]
    assert [c.exercise for c in lesson.exercises] == wanted
    assert lesson.exercises or lesson.number == 0, "every lesson but the first has exercises"
    text = ""
    for cell in lesson.cells:
        if cell.kind == "markdown" and "instructor" not in cell.tags:
            text += "\n" + cell.text
        elif cell.kind == "exercise":
            assert len(re.findall(r"<details>\s*<summary>\s*Hint", text)) >= 2, f"{cell.place}: two folded hints"
            assert text.count("<details>") == text.count("</details>"), f"{cell.place}: a fold is not closed"
            assert re.search(r"what you should see", text, re.I), f"{cell.place}: what you should see"
            if cell.function:
                assert (lookup(cell.function, cell.place).__doc__ or "").strip(), f"{cell.function} has no docstring"
            text = ""
        elif cell.kind == "code":
            text = ""


@each_lesson
@pytest.mark.parametrize("kind", ["student", "solution"])
def test_markdown_is_set_everywhere_in_what_is_built_hints_too(slug, kind):
    text = "\n\n".join(c.source for c in notebook(LESSONS[slug], kind).cells if c.cell_type == "markdown")
    page = site._Reader()
    page.feed(markdown2html(text))
    assert not page.unset, "backticks stand in the text"


@each_lesson
def test_there_is_a_widget_with_a_drawing_function_of_its_own(slug):
    lesson = LESSONS[slug]
    widgets = [c for c in lesson.cells if "widget" in c.tags]
    assert widgets and all("interact(" in c.text for c in widgets)
    code = "\n".join(c.text for c in lesson.cells if c.kind == "code")
    assert [c.place for c in lesson.cells if "interact(" in c.text and "widget" not in c.tags] == []
    for cell in widgets:
        drawn = re.search(r"interact\(\s*(\w+)", cell.text)[1]
        assert f"def {drawn}(" in code, f"{cell.place}: interact() is to call a pure function of the lesson"


@each_lesson
def test_a_control_runs_and_claims_are_fixed_text(slug):
    lesson = LESSONS[slug]
    assert part(lesson, "A control that must fail")[1], "the control is a cell that runs"
    _, cells = part(lesson, "What we may claim")
    assert any("claim(" in c.text for c in cells)
    for call in calls(lesson, "claim"):
        text = call.args[0]
        parts = [v.value for v in getattr(text, "values", []) if isinstance(v, ast.FormattedValue)]
        fixed = isinstance(text, ast.Constant | ast.JoinedStr) and all(isinstance(p, ast.Name) for p in parts)
        assert fixed, f"claim({ast.unparse(text)}): the text is fixed, numbers go into captions"


@each_lesson
def test_three_questions_name_the_misconception_of_each_wrong_answer(slug):
    _, cells = part(LESSONS[slug], "Questions")
    found = [n for c in cells for n in ast.walk(ast.parse(c.text)) if isinstance(n, ast.Call)
             and isinstance(n.func, ast.Name) and n.func.id == "quiz"]  # fmt: skip
    assert len(found) == 3
    for call in found:
        answers = ast.literal_eval(call.args[1])
        assert len(answers) >= 3 and sum(right for _, right, _ in answers) == 1
        assert all(len(why.split()) >= 4 for _, right, why in answers if not right), ast.unparse(call.args[0])


@each_lesson
def test_at_most_five_links_and_limits_that_say_something(slug):
    text, _ = part(LESSONS[slug], "Links")
    assert 1 <= len(re.findall(r"https?://|arXiv[: ]\d|\]\(", text)) and len(re.findall(r"^[-*] ", text, re.M)) <= 5
    assert len(part(LESSONS[slug], "Limits")[0].split()) >= 20


@each_lesson
def test_the_instructor_is_told_misconceptions_and_what_to_cut(slug):
    notes = " ".join(c.text for c in LESSONS[slug].cells if "instructor" in c.tags).lower()
    for words in ("misconception", "question|ask|room", r"\bcut\b"):
        assert re.search(words, notes), f"the instructor's cells say nothing of {words!r}"


def test_the_tracks_fit_their_time_and_half_of_each_slot_is_left_for_talking():
    for name, limit in (("90 minutes", 90), ("one day", 360)):
        assert sum(slot.minutes for slot in TRACKS[name]) <= limit
        for slot in TRACKS[name]:
            lesson = next(x for x in LESSONS.values() if x.slug[:2] == slot.lesson)
            minutes = {c.exercise: c.minutes for c in lesson.exercises}
            assert sum(minutes[exercise] for exercise in slot.exercises) <= slot.minutes / 2, (name, slot.lesson)


@pytest.mark.parametrize("page", ["TEACHING.md", "WORKSHOP.md", "MAP.md"])
def test_what_the_pages_link_to_is_there_and_every_paper_they_list_is_one_that_a_lesson_links_to(page):
    text = (root() / "docs" / page).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (root() / "docs" / target).exists(), target
    cited = "\n".join(x.path.read_text() for x in LESSONS.values())
    for number in re.findall(r"\b\d{4}\.\d{5}\b", text):
        assert number in cited, number


@each_lesson
def test_the_last_words_say_where_to_go_from_here(slug):
    last = LESSONS[slug].cells[-1]
    assert last.kind == "markdown" and last.text.startswith("## Where to go from here\n")
    assert "](" in last.text and len(re.findall(r"[.?!](?=\s|$)", last.text)) <= 2


def bound(cell) -> set[str]:
    """Names that a code cell's imports and definitions bind."""
    nodes = list(ast.walk(ast.parse(re.sub(r"^[%!].*$", "", cell.source, flags=re.M))))
    imported = {a.asname or a.name for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    return imported | {n.name for n in nodes if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("kind", ["student", "solution"])
@each_lesson
def test_what_a_learner_wrote_is_what_later_cells_run(slug, kind):
    written = {}
    for cell in (c for c in notebook(LESSONS[slug], kind).cells if c.cell_type == "code"):
        assert not bound(cell) & set(written), f"binds {written} again:\n{cell.source}"
        if found := re.search(r"^(\w+) = check\(", cell.source, re.M):
            written[found[1]] = cell.id


@each_lesson
def test_an_exercise_of_nbgraders_does_not_depend_on_an_earlier_one(slug):
    names = [c.function.rpartition(".")[2] for c in LESSONS[slug].exercises if c.function]
    for cell in notebook(LESSONS[slug], "nbgrader").cells:
        if cell.cell_type == "code" and "exercise" in cell.metadata:
            used = names_used(cell.source) & set(names)
            assert used <= bound(cell), cell.source


@each_lesson
def test_figures_have_the_courses_one_style(slug):
    code = "\n".join(c.text for c in LESSONS[slug].cells if c.kind == "code")
    assert code.index("plots.use()") < code.index("show(")
    assert not re.findall(r"[\"']#[0-9a-fA-F]{6}[\"']", code), "take colours from plots: C0 to C5, plots.GREY"
