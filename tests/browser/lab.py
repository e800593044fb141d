"""What a learner does in JupyterLab, as functions of the browser."""

import time

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"


def wait(until, seconds: float, what: str):
    """The first true answer of `until()`, within `seconds`."""
    end = time.time() + seconds
    while True:
        try:
            if answer := until():
                return answer
        except Exception as error:  # an element that was just replaced; asked again
            if time.time() > end:
                raise AssertionError(f"{what}: not within {seconds:g} s ({error})") from error
        assert time.time() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)


def all_of(page, css: str):
    return page.find_elements(By.CSS_SELECTOR, css)


def see(page, css: str, seconds: float = 60):
    return wait(lambda: all_of(page, css), seconds, css)[0]


def scroll_to(page, element):
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return element


def click(page, element):
    scroll_to(page, element)
    page.execute_script("arguments[0].click()", element)


def open_notebook(page, link: str, slug: str):
    """Open one notebook in a fresh workspace and wait until its kernel can be asked."""
    base, _, token = link.partition("?")
    base = base[: base.index("/lab")]
    page.get(f"{base}/lab/workspaces/auto-{slug[:2]}-{int(time.time() * 10)}/tree/notebooks/{slug}.ipynb?{token}&reset")
    see(page, f"{NOTEBOOK} .jp-Cell", 90)
    idle(page, 90)


def status(page) -> str:
    found = all_of(page, f"{NOTEBOOK} .jp-Notebook-ExecutionIndicator")
    return found[0].get_attribute("data-status") if found else ""


def idle(page, seconds: float):
    """Wait until nothing runs and no cell waits to be run."""

    def quiet():
        return status(page) == "idle" and not running(page)

    wait(quiet, seconds, "the kernel is idle")


def running(page) -> int:
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].filter(x => x.textContent.includes('*')).length",
        f"{NOTEBOOK} .jp-InputPrompt",
    )


def menu(page, name: str, command: str):
    """Choose an entry of the menu bar by its command, as `menu(page, "Run", "runmenu:run-all")`."""

    def opened():
        for item in all_of(page, "#jp-MainMenu .lm-MenuBar-item"):
            if item.text.strip() == name:
                item.click()
                return all_of(page, f'.lm-Menu-item[data-command="{command}"]')

    wait(opened, 20, f"the menu {name}")[0].click()


def run_all(page, seconds: float = 240):
    menu(page, "Run", "runmenu:run-all")
    wait(lambda: running(page) or status(page) == "busy", 20, "the notebook has begun to run")
    idle(page, seconds)


def outputs(page) -> str:
    """Text of all outputs, also of those out of view."""
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(x => x.textContent).join('\\n')",
        f"{NOTEBOOK} .jp-OutputArea-output",
    )


def errors(page) -> list[str]:
    css = ", ".join(
        f'{NOTEBOOK} .jp-OutputArea-output[data-mime-type="application/vnd.jupyter.{kind}"]'
        for kind in ("error", "stderr")
    )
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(x => x.textContent.slice(0, 400))", css
    )


def figures(page) -> list[str]:
    """Sources of all images; read in one step, for JupyterLab may replace one at any moment."""
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(x => x.src)", f"{NOTEBOOK} .jp-OutputArea-output img"
    )


def code_cell(page, holds: str):
    """The code cell whose source holds a text."""
    for cell in all_of(page, f"{NOTEBOOK} .jp-CodeCell"):
        if holds in cell.find_element(By.CSS_SELECTOR, ".jp-InputArea-editor").get_attribute("textContent"):
            return scroll_to(page, cell)
    raise AssertionError(f"no code cell holds {holds!r}")


def type_into(page, cell, source: str):
    """Replace a cell's source and run it."""
    cell.find_element(By.CSS_SELECTOR, ".cm-content").click()
    active = page.switch_to.active_element
    active.send_keys(Keys.CONTROL, "a")
    active.send_keys(Keys.DELETE)
    page.execute_cdp_cmd("Input.insertText", {"text": source})
    run(page)


def run(page):
    page.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ENTER)
    time.sleep(0.5)
    idle(page, 120)
