"""Lesson 00 as a learner meets it, and every student notebook run untouched, in a real browser."""

import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from . import lab
from .conftest import ROOT

LESSONS = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))
WRONG = """def without_order(there, back):
    return (there + back) / 2
"""
RIGHT = """def without_order(there, back):
    return (there + 1 - back) / 2
"""


@pytest.fixture
def first(page, link):
    lab.open_notebook(page, link, "00_start_here")
    return page


def test_the_printed_link_opens_lesson_00(page, link):
    page.get(link)
    lab.see(page, f"{lab.NOTEBOOK} .jp-Cell", 90)
    title = lab.see(page, f"{lab.NOTEBOOK} .jp-RenderedMarkdown h1", 30)
    assert "Start here" in title.get_attribute("textContent")


def test_the_first_figure_stands_within_thirty_seconds(first):
    began = time.time()
    lab.menu(first, "Run", "runmenu:run-all")
    lab.wait(lambda: lab.figures(first) or lab.errors(first), 60, "a first figure")
    assert not lab.errors(first)
    assert time.time() - began <= 30
    lab.idle(first, 120)


def test_a_wrong_answer_is_named_and_a_right_one_accepted(first):
    lab.run_all(first)
    assert "○ 0.1 to do" in lab.outputs(first)
    for source, mark in ((WRONG, "✗ 0.1"), (RIGHT, "✓ 0.1")):
        lab.type_into(first, lab.code_cell(first, "def without_order"), source)
        lab.code_cell(first, 'check("0.1"').find_element(By.CSS_SELECTOR, ".cm-content").click()
        lab.run(first)
        assert mark in lab.outputs(first)


def test_a_slider_changes_the_figure_and_the_reply(first):
    lab.run_all(first)
    cell = lab.code_cell(first, "FloatSlider")
    handle = lab.wait(lambda: cell.find_elements(By.CSS_SELECTOR, ".noUi-handle"), 30, "the slider")[0]

    def shown():
        return [e.get_attribute("src") for e in cell.find_elements(By.CSS_SELECTOR, "img")]

    before = lab.wait(shown, 30, "the slider's figure")
    lab.scroll_to(first, handle)
    handle.click()
    first.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    after = lab.wait(lambda: shown() not in ([], before) and shown(), 20, "another figure")
    assert len(after) == len(before)


def test_hints_unfold_and_a_question_answers_a_click(first):
    lab.run_all(first)
    hint = lab.see(first, f"{lab.NOTEBOOK} details summary")
    folded = hint.find_element(By.XPATH, "..")
    assert folded.get_attribute("open") is None
    lab.click(first, hint)
    assert folded.get_attribute("open") is not None
    said = set()
    for button in lab.all_of(first, f"{lab.NOTEBOOK} .jupyter-button")[:3]:
        lab.click(first, button)
        said.add(lab.wait(lambda: _verdict(first), 20, "an answer to the click"))
        time.sleep(0.3)
    lab.wait(lambda: said.add(_verdict(first)) or {"✓", "✗"} <= said, 10, "a right and a wrong answer")


def _verdict(page) -> str:
    texts = [e.get_attribute("textContent").strip() for e in lab.all_of(page, "p[aria-live] b")]
    return next((t[0] for t in texts if t), "")


def test_the_table_of_contents_leads_to_a_heading(first):
    lab.click(first, lab.see(first, '.lm-TabBar-tab[data-id="table-of-contents"]'))

    def entry():
        return [
            e for e in lab.all_of(first, ".jp-tocItem-content") if e.get_attribute("textContent").strip() == "Limits"
        ]

    lab.click(first, lab.wait(entry, 30, "'Limits' in the table of contents")[0])

    def in_view():
        heads = lab.all_of(first, f"{lab.NOTEBOOK} .jp-RenderedMarkdown h2")
        return any("Limits" in h.text and 0 <= h.rect["y"] for h in heads if h.is_displayed())

    lab.wait(in_view, 20, "the heading in view")


def test_restart_and_run_all_ends_as_the_first_run_did(first):
    lab.run_all(first)
    before = lab.outputs(first).count("holds:")
    lab.menu(first, "Run", "runmenu:restart-and-run-all")
    lab.see(first, ".jp-Dialog-button.jp-mod-accept", 20).click()
    time.sleep(2)
    lab.wait(lambda: lab.running(first) or lab.status(first) == "busy", 30, "the notebook has begun to run")
    lab.idle(first, 240)
    assert lab.outputs(first).count("holds:") == before > 0
    assert not lab.errors(first)


@pytest.mark.parametrize("slug", LESSONS)
def test_an_untouched_notebook_runs_to_its_end(page, link, slug):
    lab.open_notebook(page, link, slug)
    lab.run_all(page)
    assert not lab.errors(page)
    assert lab.figures(page)
    assert "to do" in lab.outputs(page)
