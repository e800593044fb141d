"""A static site to read the course without running it: `python -m valuelab.course.site [--out build/site]`.

A page for each executed lesson, the map, the glossary, the pages for teachers and the instructor's notes, joined by
a table of contents and a search over all of them that needs no server. Building runs no lesson and fetches nothing. In
the browser, mathematics is set by MathJax, which comes from its network; without one the formulas stand there as TeX.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import unquote, urlsplit

import nbformat

from .build import on_disk, root, sources
from .lesson import Lesson, LessonError, read

TEXTS = {
    "docs/MAP.md": "Map",
    "docs/GLOSSARY.md": "Glossary",
    "docs/LIBRARY.md": "The library from Python",
    "docs/TEACHING.md": "Teaching",
    "docs/WORKSHOP.md": "Workshops",
    "solutions/INSTRUCTOR.md": "Notes for instructors",
}
NO_TEXT = ("", "No description has been provided for this image")  # the second is what nbconvert puts in
MATHJAX = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"
STYLE = """\
:root { color-scheme: light dark; --page: #fff; --text: #1b1b1b; --soft: #f4f4f2; --line: #d5d5d0; --link: #0b57a4;
  --quiet: #5a5a55; --quote: #0a5c36; --found: #ffe58a; }
@media (prefers-color-scheme: dark) {
  :root { --page: #161616; --text: #e8e8e6; --soft: #222; --line: #444; --link: #8ab8f0;
    --quiet: #a9a9a4; --quote: #97cfab; --found: #5c4a00; }
}
body { margin: 0 auto; max-width: 52rem; padding: 0 1rem 4rem; background: var(--page); color: var(--text);
  font: 1.05rem/1.6 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; }
a { color: var(--link); }
a.anchor-link { font-size: .7em; margin-left: .4em; }
nav { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem 1.2rem; padding: .8rem 0;
  border-bottom: 1px solid var(--line); }
nav form { margin-left: auto; }
input, button { font: inherit; max-width: 11rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; font-size: .88rem; line-height: 1.45; }
.output_area pre, .output pre { border-left: 3px solid var(--line); }
.highlight :is(.c1, .sd) { color: var(--quiet); }
.highlight :is(.s1, .s2) { color: var(--quote); }
.highlight [class^="k"] { font-weight: 600; }
img { max-width: 100%; height: auto; background: #fff; }
table { border-collapse: collapse; width: max-content; max-width: 50rem; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; overflow-wrap: normal; }
.table, mjx-container[display="true"], mjx-container.wide { display: block; overflow: auto hidden; }
mjx-container mjx-assistive-mml { width: 1px !important; }
mark { background: var(--found); color: inherit; }
"""
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="style.css">
<script src="page.js"></script>
<script async src="{mathjax}"></script>
</head>
<body>
<nav aria-label="Course">{navigation}
<form role="search" action="search.html"><label for="q">Search</label> <input id="q" name="q" type="search"></form>
</nav>
<main>
{body}
</main>
</body>
</html>
"""
# What scrolls sideways has to be reachable with the keyboard, and nothing else needs a stop. MathJax gives its formulas
# one; it does not break them, so those within a line that are wider than a phone get a line that scrolls.
PAGE_SCRIPT = """\
window.MathJax = {
  tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]},
  startup: {pageReady: () => MathJax.startup.defaultPageReady().then(fit)},
};

function fit() {
  for (const box of document.querySelectorAll("pre, .table"))
    box.scrollWidth > box.clientWidth ? box.setAttribute("tabindex", 0) : box.removeAttribute("tabindex");
  const edge = document.querySelector("main").getBoundingClientRect().right;
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    formula.classList.remove("wide");
    formula.classList.toggle("wide", formula.getBoundingClientRect().right > edge);
  }
}
addEventListener("load", fit);
addEventListener("resize", fit);
"""
SEARCH = """\
<h1>Search</h1>
<p id="found" role="status">Type words into the field above: sections that hold all of them are listed here.</p>
<ol id="results" class="mathjax_ignore"></ol>
<noscript><p>The search needs JavaScript.</p></noscript>
<script src="search-index.js"></script>
<script src="search.js"></script>
"""
SEARCH_SCRIPT = """\
const field = document.getElementById("q"), hint = document.getElementById("found").textContent;

function find() {
  const words = field.value.toLowerCase().match(/[^ ]+/g) || [];
  const hits = [];
  if (words.length)
    for (const [page, title, sections] of INDEX)
      for (const [anchor, heading, text] of sections) {
        const head = heading.toLowerCase(), all = head + " " + text.toLowerCase();
        const rank = words.filter(w => head.includes(w)).length;
        if (words.every(w => all.includes(w))) hits.push({href: `${page}#${anchor}`, title, heading, text, rank});
      }
  hits.sort((a, b) => b.rank - a.rank);
  document.getElementById("results").replaceChildren(...hits.map(hit => entry(hit, words[0])));
  document.getElementById("found").textContent =
    words.length ? `${hits.length || "No"} section${hits.length === 1 ? "" : "s"} found` : hint;
}

function entry({href, title, heading, text}, word) {
  const item = document.createElement("li"), link = document.createElement("a");
  link.href = href;
  link.textContent = heading === title ? title : `${title}: ${heading}`;
  item.append(link);
  const at = text.toLowerCase().indexOf(word), end = at < 0 ? 0 : at + word.length, from = Math.max(0, at - 60);
  const mark = document.createElement("mark");
  mark.textContent = text.slice(Math.max(0, at), end);
  item.append(document.createElement("br"), from ? "…" : "", text.slice(from, Math.max(0, at)), mark,
    text.slice(end, end + 100), end + 100 < text.length ? "…" : "");
  return item;
}

field.value = new URLSearchParams(location.search).get("q") || "";
field.addEventListener("input", find);
find();
"""


def build(base: Path, out: Path, wanted: Iterable[str] = ()) -> list[Path]:
    """Write the site and return its pages.

    Args:
        base: the course's folder.
        out: folder of the site; what an earlier build left there is removed.
        wanted: beginnings of lesson names; all lessons if none is given.

    Raises:
        LessonError: a lesson has no executed notebook, or a page holds a dead link, a figure without a text, headings
            out of order or Markdown that was not set.
    """
    if out.exists():
        if any(out.iterdir()) and not (out / "style.css").is_file():
            raise LessonError(f"site: {out} holds something else; name an empty folder with --out.")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    for name, text in {"style.css": STYLE, "page.js": PAGE_SCRIPT, "search.js": SEARCH_SCRIPT}.items():
        (out / name).write_text(text, encoding="utf-8")
    lessons = [read(path) for path in sources(base, wanted)]
    pages = {f"solutions/{lesson.slug}.ipynb": f"{lesson.slug}.html" for lesson in lessons}
    pages |= {f"notebooks/{lesson.slug}.ipynb": f"{lesson.slug}.html" for lesson in lessons}
    pages |= {name: f"{PurePosixPath(name).stem.lower()}.html" for name in TEXTS if (base / name).is_file()}
    for k, lesson in enumerate(lessons):
        near = [("index.html", "Contents")]
        near += [(f"{x.slug}.html", f"{arrow} {x.title}") for arrow, x in _neighbours(lessons, k)]
        body = _relinked(_lesson_body(base, lesson), "solutions", pages, base, out)
        _write(out / f"{lesson.slug}.html", lesson.title, near, body)
    for name, title in TEXTS.items():
        if name in pages:
            text = (base / name).read_text(encoding="utf-8")
            body = _relinked(_text_body(name, text), str(PurePosixPath(name).parent), pages, base, out)
            _write(out / pages[name], title, [("index.html", "Contents")], body)
    _write(out / "index.html", "Value alignment of language models, built by hand", [], _index(lessons, pages))
    _write(out / "search.html", "Search", [("index.html", "Contents")], SEARCH)
    (out / "search-index.js").write_text(f"const INDEX = {_search_index(out, pages.values())};\n", encoding="utf-8")
    if faults := check(out):
        raise LessonError("site: " + "; ".join(faults))
    return sorted(out.glob("*.html"))


def _neighbours(lessons: list[Lesson], k: int) -> list[tuple[str, Lesson]]:
    return [(arrow, lessons[i]) for arrow, i in (("←", k - 1), ("→", k + 1)) if 0 <= i < len(lessons)]


def _lesson_body(base: Path, lesson: Lesson) -> str:
    from nbconvert import HTMLExporter

    nb = on_disk(base / "solutions" / f"{lesson.slug}.ipynb")
    if nb is None:
        raise LessonError(f"site: {lesson.slug} has no executed notebook; run `make build` first.")
    nb.cells = [c for c in nb.cells if "widget" not in c.metadata.get("tags", [])]  # a slider needs a kernel
    for output in (o for c in nb.cells for o in c.get("outputs", [])):
        if "text/markdown" in output.get("data", {}):  # a document shown within a section; its title is no second h1
            data = output["data"]
            data["text/markdown"] = _HEADING_OR_CODE.sub(lambda m: m[1] or "##", "".join(data["text/markdown"]))
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body = exporter.from_notebook_node(nbformat.from_dict(nb))[0]
    return _tables(_UNSTYLED.sub(r"\1", body))


_HEADING_OR_CODE = re.compile(r"(```.*?```)|^(?=#)", re.M | re.S)
# Tokens of code that STYLE leaves as they are; without their marks a page has half as many elements.
_UNSTYLED = re.compile(r'<span class="(?!(?:c1|sd|s1|s2)"|k)[^"]*">([^<]*)</span>')


def _tables(body: str) -> str:
    """Tables in boxes that scroll, so that a wide one does not widen the page."""
    return re.sub(r"<table\b.*?</table>", r'<div class="table">\g<0></div>', body, flags=re.S)


def _text_body(name: str, text: str) -> str:
    from nbconvert.filters import markdown2html

    body = _tables(markdown2html(re.sub(r"```mermaid\n(.*?)```", lambda m: _arrows_as_list(m[1]), text, flags=re.S)))
    if name == "docs/GLOSSARY.md":  # each term is a place that a link can name
        body = re.sub(r"<p>(?=<strong>(.+?)\.</strong>)", lambda m: f'<p id="{m[1].lower().replace(" ", "-")}">', body)
    return body


def _arrows_as_list(graph: str) -> str:
    """A graph in mermaid's notation as a list, which needs no script and which a screen reader reads."""
    titles = dict(re.findall(r"(\w+)\[(.+?)\]", graph))
    arrows = re.findall(r"(\w+)(?:\[.+?\])? (-->|-\.->) (\w+)", graph)
    rows = []
    for node, title in titles.items():
        needs, helps = ([titles[a] for a, arrow, b in arrows if (arrow, b) == (kind, node)] for kind in ("-->", "-.->"))
        rows.append(f"- **{title}**" + "".join(
            f"; {word} {' and '.join(from_)}" for word, from_ in (("builds on", needs), ("helped by", helps)) if from_
        ))  # fmt: skip
    return "\n".join(rows)


def _index(lessons: list[Lesson], pages: dict[str, str]) -> str:
    rows = "\n".join(
        f'<li><a href="{x.slug}.html">{html.escape(x.title)}</a>, {x.minutes} minutes</li>' for x in lessons
    )
    texts = "\n".join(f'<li><a href="{pages[n]}">{title}</a></li>' for n, title in TEXTS.items() if n in pages)
    return (
        "<h1>Value alignment of language models, built by hand</h1>\n"
        "<p>The lessons as they run from start to end, exercises solved. To work, open the notebooks.</p>\n"
        f"<h2>Lessons</h2>\n<ul>\n{rows}\n</ul>\n<h2>Beside them</h2>\n<ul>\n{texts}\n</ul>\n"
        "<p>Formulas are drawn with a network, and shown as TeX without.</p>"
    )


def _write(path: Path, title: str, near: list[tuple[str, str]], body: str) -> None:
    navigation = " ".join(f'<a href="{href}">{html.escape(text)}</a>' for href, text in near)
    body = body.replace('<a class="anchor-link"', '<a class="anchor-link" aria-label="Link to this section"')
    page = PAGE.format(title=html.escape(title), mathjax=MATHJAX, navigation=navigation, body=body)
    path.write_text(page, encoding="utf-8")


_LINK = re.compile(r'<a\b[^>]*?\bhref="([^"]+)"[^>]*>(.*?)</a>', re.S)


def _relinked(body: str, folder: str, pages: dict[str, str], base: Path, out: Path) -> str:
    """Links between files of the repository as links between pages; those that have no page become plain text.

    Pictures that lie in the repository are copied beside the pages.
    """

    def link(match: re.Match) -> str:
        target = urlsplit(html.unescape(match[1]))
        if target.scheme or target.netloc or not target.path:
            return match[0]
        page = pages.get(normpath(f"{folder}/{unquote(target.path)}"))
        if page is None:
            return match[2]
        return match[0].replace(match[1], page + (f"#{target.fragment}" if target.fragment else ""), 1)

    def picture(match: re.Match) -> str:
        target = urlsplit(html.unescape(match[2]))
        if target.scheme or target.netloc:
            return match[0]
        shutil.copy(base / normpath(f"{folder}/{unquote(target.path)}"), out)
        return f'{match[1]}"{PurePosixPath(target.path).name}"'

    return re.sub(r'(<img\b[^>]*?\bsrc=)"([^"]+)"', picture, _LINK.sub(link, body))


def _search_index(out: Path, pages: Iterable[str]) -> str:
    """JSON: for each page its file, its title and its sections, each [anchor, heading, text]; code is left out."""
    entries = []
    for name in dict.fromkeys(pages):
        reader = _Reader()
        reader.feed((out / name).read_text(encoding="utf-8"))
        sections = [[anchor, *(" ".join("".join(parts).split()) for parts in texts)]
                    for anchor, *texts in reader.sections]  # fmt: skip
        entries.append([name, sections[0][1], sections])
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":"))


_CODE = ("code", "pre", "script", "style")


class _Reader(HTMLParser):
    """Ids, links, pictures and headings of a page, and its sections: (anchor, parts of heading, parts of text) each.

    A section begins at a heading or at a paragraph with an id, whose heading is what stands in bold.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.unnamed = 0
        self.unset: list[str] = []  # texts with a backtick outside code
        self.levels: list[int] = []
        self.sections: list[tuple[str, list[str], list[str]]] = []
        self._within: list[str] = []  # open elements that decide where a text belongs
        self._code = 0  # open elements whose text is code

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        self._code += tag in _CODE
        self.unnamed += tag == "img" and (found.get("alt") or "").strip() in NO_TEXT
        heading = re.fullmatch(r"h[1-6]", tag)
        if heading:
            self.levels.append(int(tag[1]))
        if (heading or tag == "p") and found.get("id"):
            self.sections.append((found["id"], [], []))
        if heading or tag in ("pre", "script") or (tag == "strong" and self._within == ["p"]):
            self._within.append(tag)
        elif tag == "p" and found.get("id"):
            self._within = ["p"]

    def handle_endtag(self, tag):
        self._code -= tag in _CODE
        if tag in self._within:
            del self._within[self._within.index(tag) :]

    def handle_data(self, data):
        if "`" in data and not self._code:
            self.unset.append(" ".join(data.split()))
        inner = self._within[-1] if self._within else ""
        if self.sections and inner not in ("pre", "script") and data != "¶":
            self.sections[-1][1 if inner not in ("", "p") else 2].append(data)


def check(out: Path) -> list[str]:
    """Dead links (file or anchor; other sites are not asked), figures without a text, headings out of order and
    Markdown that stands there as it was written."""
    pages = {}
    for path in sorted(out.glob("*.html")):
        pages[path.name] = _Reader()
        pages[path.name].feed(path.read_text(encoding="utf-8"))
    faults = []
    for name, page in pages.items():
        if page.unnamed:
            faults.append(f"{name}: {page.unnamed} figures without a text; draw them with show(figure, caption)")
        if page.levels.count(1) != 1 or page.levels[0] != 1:
            faults.append(f"{name}: {page.levels.count(1)} first-level headings; a page begins with its only one")
        faults += [f"{name}: a heading of level {b} follows one of level {a}"
                   for a, b in pairwise(page.levels) if b > a + 1]  # fmt: skip
        faults += [f"{name}: backticks stand in the text {text[:60]!r}; within HTML, Markdown begins after a blank line"
                   for text in page.unset]  # fmt: skip
        for link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            file = unquote(target.path) or name
            anchors = pages[file].ids if file in pages else set()
            named = {target.fragment, unquote(target.fragment)}  # browsers try an anchor as written, then decoded
            if not (out / file).is_file() or (target.fragment and not named & anchors):
                faults.append(f"{name}: nothing at {link}")
    return faults


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None, help="folder of the site (default: build/site)")
    chosen = parser.parse_args(arguments)
    try:
        base = root()
        out = chosen.out or base / "build" / "site"
        pages = build(base, out)
    except LessonError as error:
        sys.exit(str(error))
    print(f"{len(pages)} pages, no dead link; open {out / 'index.html'}")


if __name__ == "__main__":
    main()
