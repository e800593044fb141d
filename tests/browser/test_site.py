"""The site that `make site` writes, as a browser shows it: searched, on a phone, in the dark, and read by axe.

axe and MathJax come from npm, into build/npm (`.ci/run` does it). Without axe its test is skipped; without MathJax the
formulas stand there as TeX, for nothing is fetched here.
"""

import html
import re
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from valuelab.course import site

from . import lab
from .conftest import ROOT

MODULES = ROOT / "build" / "npm" / "node_modules"
AXE, MATHJAX = MODULES / "axe-core" / "axe.min.js", MODULES / "mathjax" / "es5" / "tex-mml-chtml.js"
PHONE, DESKTOP = 390, 1280
PAGES = [p.stem for p in sorted((ROOT / "solutions").glob("*.ipynb"))]
PAGES += ["index", "search", *(Path(name).stem.lower() for name in site.TEXTS)]

READ_BY_AXE = """
const done = arguments[0];
axe.run({resultTypes: ["violations"]}).then(found => done(found.violations
  .filter(v => ["serious", "critical"].includes(v.impact))
  .map(v => `${v.id} (${v.nodes.length}): ${v.nodes[0].html.slice(0, 200)} ${v.nodes[0].failureSummary.slice(0, 300)}`)
), error => done([String(error)]));
"""
TOO_WIDE = """
const width = document.documentElement.clientWidth, faults = [];
if (document.documentElement.scrollWidth > width) faults.push(`page: ${document.documentElement.scrollWidth}`);
for (const img of document.images) {
  const box = img.getBoundingClientRect();
  if (!img.naturalWidth || !box.width) faults.push(`not drawn: ${img.alt}`);
  if (box.left < 0 || box.right > width) faults.push(`${box.right}: ${img.alt}`);
}
return faults;
"""
COLOURS = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The whole site."""
    out = tmp_path_factory.mktemp("site") / "site"
    with pytest.MonkeyPatch.context() as patch:
        if MATHJAX.is_file():
            patch.setattr(site, "MATHJAX", MATHJAX.as_uri())
        built = site.build(ROOT, out)
    assert {p.stem for p in built} == set(PAGES)
    return out


@pytest.fixture(scope="module")
def browser(chromium):
    """Chromium without a network."""
    chromium.execute_cdp_cmd("Network.enable", {})
    chromium.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
    chromium.set_script_timeout(120)
    yield chromium
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def look(browser, width: int, scheme: str):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def measure(browser, url: str) -> dict[str, list]:
    """What there is to say of a page on a desktop in the light and on a phone in the dark; the page is loaded once."""
    look(browser, DESKTOP, "light")
    browser.get(url)
    if MATHJAX.is_file():
        browser.execute_async_script("const done = arguments[0]; MathJax.startup.promise.then(() => done())")
    if AXE.is_file():
        browser.execute_script(AXE.read_text(encoding="utf-8"))
    found = {"axe": [], "too wide": [], "colours": []}
    for width, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        look(browser, width, scheme)
        browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done))")
        found["colours"].append(browser.execute_script(COLOURS))
        found["too wide"] += [f"{width} px, {x}" for x in browser.execute_script(TOO_WIDE)]
        if AXE.is_file():
            found["axe"] += [f"{width} px, {scheme}: {x}" for x in browser.execute_async_script(READ_BY_AXE)]
    return found


@pytest.fixture(scope="module", params=PAGES)
def measured(browser, folder, request):
    return measure(browser, (folder / f"{request.param}.html").as_uri())


@pytest.mark.skipif(not AXE.is_file(), reason="no axe; npm install --prefix build/npm axe-core@4.14.1 mathjax@3.2.2")
def test_axe_finds_no_serious_fault_in_either_scheme(page, measured):
    assert measured["axe"] == []


def test_nothing_is_wider_than_a_phone_or_a_desktop(page, measured):
    assert measured["too wide"] == []


def test_the_page_is_dark_where_the_reader_asks_for_it(page, measured):
    (paper, ink), (dark_paper, dark_ink) = measured["colours"]
    assert lightness(dark_paper) < 50 < 200 < lightness(paper)
    assert lightness(ink) < 50 < 200 < lightness(dark_ink)


def lightness(colour: str) -> float:
    channels = [float(x) for x in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return sum(channels) / 3


def test_axe_sees_planted_faults_and_the_rulers_a_planted_width(browser, folder):
    bad = folder / "bad.html"
    bad.write_text((folder / "index.html").read_text(encoding="utf-8").replace(
        "</main>", '<p style="color: #ccc; background: #fff; width: 1400px">pale</p><img src="gone.png"></main>'
    ), encoding="utf-8")  # fmt: skip
    found = measure(browser, bad.as_uri())
    bad.unlink()
    assert any("page: 1" in x for x in found["too wide"]) and any("not drawn" in x for x in found["too wide"])
    if AXE.is_file():
        assert {"color-contrast", "image-alt"} <= {x.split(": ")[1].split(" (")[0] for x in found["axe"]}


def test_the_search_leads_from_the_keyboard_to_a_section_of_a_lesson(page, browser, folder):
    look(browser, PHONE, "light")
    page.get((folder / "index.html").as_uri())
    field = page.find_element(By.CSS_SELECTOR, "nav input[type=search]")
    assert field.accessible_name == "Search"
    for _ in range(10):
        if page.switch_to.active_element == field:
            break
        page.switch_to.active_element.send_keys(Keys.TAB)
    page.switch_to.active_element.send_keys("leakage matrix", Keys.ENTER)

    def first():
        return lab.all_of(page, "#results li")[0]

    entry = lab.wait(first, 20, "a result")
    assert entry.text.startswith("04 · Steering") and "the leakage matrix" in entry.text
    assert page.find_element(By.ID, "found").text.endswith("found")
    field = page.find_element(By.ID, "q")
    assert field.get_attribute("value") == "leakage matrix"
    field.clear()
    field.send_keys("no such wordd")
    assert page.find_element(By.ID, "found").text == "No sections found" and not lab.all_of(page, "#results li")
    field.clear()
    field.send_keys("bradley–terry")
    terms = [a for a in lab.all_of(page, "#results a") if "Glossary" in a.text]
    terms[0].send_keys(Keys.ENTER)
    lab.wait(lambda: "glossary.html#" in page.current_url, 20, "the term in the glossary")
    assert page.execute_script("return document.querySelector(':target').textContent").startswith("Bradley–Terry")


def test_every_result_of_a_search_names_a_place_that_is_there(page, browser, folder):
    page.get((folder / "search.html").as_uri())
    places = page.execute_script("return INDEX.flatMap(([file, , parts]) => parts.map(([id]) => [file, id]))")
    assert len({file for file, _ in places}) == len(PAGES) - 2  # all but the contents and the search itself
    ids = {p.name: re.findall(r'\bid="([^"]+)"', p.read_text(encoding="utf-8")) for p in folder.glob("*.html")}
    assert [(file, id_) for file, id_ in places if id_ not in map(html.unescape, ids[file])] == []
