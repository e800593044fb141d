"""The static site: pages joined by links that lead somewhere, figures that say what they show."""

import base64
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from valuelab.course import site
from valuelab.course.lesson import LessonError

ROOT = Path(__file__).parents[2]
DOT = base64.b64encode(b"not a real picture").decode()


def made_up(base: Path, text: str, alt: str | None = "A dot.") -> Path:
    """A course of one lesson with one figure, and a map."""
    for folder in ("solutions", "docs"):
        (base / folder).mkdir(exist_ok=True)
    lesson = (ROOT / "tests/course/demo/00_demo.py").read_text(encoding="utf-8")
    (base / "solutions/00_demo.py").write_text(lesson, encoding="utf-8")
    meta = {"image/png": {"alt": alt}} if alt else {}
    figure = new_code_cell(
        "show()", outputs=[new_output("display_data", {"image/png": DOT}, metadata=meta)]
    )
    slider = new_code_cell("interact(draw)", metadata={"tags": ["widget"]})
    nb = new_notebook(cells=[new_markdown_cell(f"# 00 · Demo\n\n{text}"), figure, slider])
    nbformat.write(nb, base / "solutions/00_demo.ipynb")
    (base / "docs/MAP.md").write_text(
        "# Map\n\n[start](../notebooks/00_demo.ipynb) and [code](../lib/thing.py)\n", encoding="utf-8"
    )
    return base


def test_links_between_files_become_links_between_pages_or_plain_text(tmp_path):
    out = tmp_path / "site"
    pages = site.build(made_up(tmp_path, "See the [map](../docs/MAP.md#Map) and $x^2$."), out)
    assert {p.name for p in pages} == {"index.html", "search.html", "00_demo.html", "map.html"}
    lesson, map_ = ((out / f"{n}.html").read_text(encoding="utf-8") for n in ("00_demo", "map"))
    assert 'href="map.html#Map"' in lesson and "$x^2$" in lesson and 'alt="A dot."' in lesson
    assert "interact(draw)" not in lesson, "a slider without a kernel does nothing"
    assert 'href="00_demo.html"' in map_ and "thing.py" not in map_ and "and code" in map_
    assert site.build(tmp_path, out) == pages, "the site of an earlier build is replaced"


def test_a_dead_link_a_dead_anchor_and_a_figure_without_text_stop_the_build(tmp_path):
    with pytest.raises(LessonError, match="00_demo.html: nothing at map.html#nowhere"):
        site.build(made_up(tmp_path, "[map](../docs/MAP.md#nowhere)"), tmp_path / "a")
    with pytest.raises(LessonError, match="00_demo.html: nothing at #gone"):
        site.build(made_up(tmp_path, "[here](#gone)"), tmp_path / "b")
    with pytest.raises(LessonError, match="1 figures without a text"):
        site.build(made_up(tmp_path, "", alt=None), tmp_path / "c")


def test_markdown_that_was_not_set_stops_the_build(tmp_path):
    with pytest.raises(LessonError, match="00_demo.html: backticks stand in the text 'Return `h`.'"):
        site.build(made_up(tmp_path, "<details><summary>Hint</summary>Return `h`.</details>"), tmp_path / "a")
    folded = "<details><summary>Hint</summary>\n\nReturn `h`.\n\n</details>\n\n```\n`shell`\n```"
    site.build(made_up(tmp_path, folded), tmp_path / "b")


def test_headings_that_jump_and_a_second_title_stop_the_build_but_a_document_in_an_output_is_put_in_its_place(tmp_path):
    with pytest.raises(LessonError, match="00_demo.html: a heading of level 4 follows one of level 2"):
        site.build(made_up(tmp_path, "## Part\n\n#### Detail"), tmp_path / "a")
    with pytest.raises(LessonError, match="00_demo.html: 2 first-level headings"):
        site.build(made_up(tmp_path, "# Again"), tmp_path / "b")
    made_up(tmp_path, "## Part")
    nb = nbformat.read(tmp_path / "solutions/00_demo.ipynb", 4)
    nb.cells[1].outputs.append(new_output("display_data", {"text/markdown": "# Model card\n\n```\n# code\n```"}))
    nbformat.write(nb, tmp_path / "solutions/00_demo.ipynb")
    site.build(tmp_path, tmp_path / "c")
    lesson = (tmp_path / "c/00_demo.html").read_text(encoding="utf-8")
    assert re.search("<h3 [^>]*>Model card", lesson) and "##" not in lesson


def test_the_search_knows_headings_text_and_captions_but_no_code_and_each_term_of_the_glossary(tmp_path):
    made_up(tmp_path, "Before.\n\n## A *fine* part\n\nText with `code` and $x^2$.\n\n```\nfenced()\n```")
    (tmp_path / "docs/GLOSSARY.md").write_text("# Glossary\n\n**Closed form.** A push.\n\n**Gate.** A test.\n")
    site.build(tmp_path, tmp_path / "site")
    script = (tmp_path / "site/search-index.js").read_text(encoding="utf-8")
    index = {page: sections for page, _, sections in json.loads(script.removeprefix("const INDEX = ").rstrip(";\n"))}
    assert [s[1:] for s in index["00_demo.html"]] == [
        ["00 · Demo", "Before."],
        ["A fine part", "Text with code and $x^2$."],
    ]
    assert index["glossary.html"][1:] == [["closed-form", "Closed form.", "A push."], ["gate", "Gate.", "A test."]]
    assert 'id="closed-form"' in (tmp_path / "site/glossary.html").read_text(encoding="utf-8")


def test_a_graph_in_a_text_becomes_a_list(tmp_path):
    graph = "```mermaid\ngraph TD\n  A[One] --> B[Two]\n  A --> C[Three]\n  B -.-> C\n```\n"
    made_up(tmp_path, "")
    (tmp_path / "docs/MAP.md").write_text(f"# Map\n\n{graph}", encoding="utf-8")
    site.build(tmp_path, tmp_path / "site")
    text = re.sub("<.*?>", "", (tmp_path / "site/map.html").read_text(encoding="utf-8"))
    assert "Two; builds on One" in text and "Three; builds on One; helped by Two" in text and "-->" not in text


def test_a_folder_that_holds_something_else_is_never_emptied(tmp_path):
    base = made_up(tmp_path, "")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(LessonError, match="holds something else"):
        site.build(base, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_a_real_lesson_and_the_texts_beside_it_make_a_site_without_fault(tmp_path):
    pages = site.build(ROOT, tmp_path / "site", ["00"])
    assert {p.stem for p in pages} == {"index", "search", "00_start_here", "map", "glossary", "library", "teaching",
                                       "workshop", "instructor"}  # fmt: skip
